"""The head of a request, as Caddy sends it. Pure.

It is read strictly. Caddy has read it before us and writes it anew, so what is odd in it comes
from somebody else.
"""

import re
from dataclasses import dataclass

from kennel.waker.body import Body, Chunked, Counted, Malformed

END = b"\r\n\r\n"
REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) (HTTP/1\.[01])")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
ONE_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection"})
"""What is said of a connection and not of the request."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its fields, in order, as they came."""

    method: str
    line: bytes
    fields: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        """Return a head. `raw` ends with the empty line. Raises Malformed."""
        line, *rest = raw.removesuffix(END).split(b"\r\n")
        found = REQUEST.fullmatch(line)
        if not found:
            raise Malformed("this is no request")
        fields = []
        for text in rest:
            field = FIELD.fullmatch(text)
            if not field:
                raise Malformed("a header field cannot be read")
            fields.append((field[1].decode().lower(), text))
        head = cls(found[1].decode(), line, tuple(fields))
        if len(head.all("host")) != 1:
            raise Malformed("exactly one Host is needed")
        return head

    def all(self, name: str) -> list[str]:
        """Return the values of a field, wherever it stands."""
        raw = [text.partition(b":")[2] for field, text in self.fields if field == name]
        return [value.strip(b" \t").decode("latin-1") for value in raw]

    def get(self, name: str) -> str:
        """Return the values of a field in one, "" if there are none."""
        return ", ".join(self.all(name))

    @property
    def host(self) -> str:
        """Return the host in lower case, without its port."""
        host = self.get("host").lower()
        return host if host.endswith("]") else re.sub(r":[0-9]*$", "", host)

    @property
    def upgrades(self) -> bool:
        """Return whether the connection is to become something else, such as a WebSocket."""
        tokens = {token.strip().lower() for token in self.get("connection").split(",")}
        return "upgrade" in tokens and bool(self.get("upgrade"))

    def body(self) -> Body:
        """Return what follows the body. Raises Malformed if its end can be read in two ways."""
        lengths, codings = self.all("content-length"), self.all("transfer-encoding")
        if not codings and not lengths:
            return Counted()
        if codings == ["chunked"] and not lengths:
            return Chunked()
        if not codings and len(lengths) == 1 and re.fullmatch("[0-9]{1,18}", lengths[0]):
            return Counted(int(lengths[0]))
        raise Malformed("the length of the body is not clear")

    def for_service(self) -> bytes:
        """Return the head for a service, which is to answer this request and no other."""
        fields = [text for name, text in self.fields if name not in ONE_CONNECTION]
        if self.upgrades:
            fields += [text for name, text in self.fields if name == "connection"]
        else:
            fields.append(b"Connection: close")
        return b"\r\n".join([self.line, *fields]) + END
