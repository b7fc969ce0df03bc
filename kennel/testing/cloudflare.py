"""The part of Cloudflare's API that has to do with DNS records, played by a server on this machine.

It holds tokens to their rights, names to their zones and records to each other, has pages, and
locks out who comes too often. Source: https://developers.cloudflare.com/api and, for the numbers
of errors, the issue threads of external-dns, octodns and the Terraform provider.
"""

import ipaddress
import json
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

EXCLUSIVE = "CNAME"
ADDRESSES = ("A", "AAAA", EXCLUSIVE)
COMMENT_MOST = 100
"""Characters of a comment on a free zone."""
RECORDS = re.compile(r"/zones/([0-9a-f]{32})/dns_records(?:/([0-9a-f]{32}))?")
NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]+")


class Refused(Exception):
    """The API says no: an HTTP status, a code of its own, a message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Zone:
    id: str
    name: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)


class CloudflareServer:
    """A server with some zones.

    `token`: one that may edit all of them; `reading`: one that may only read. `throttled`: seconds
    that it asks who comes to wait; `broken`: how many requests it answers with an error of its own.
    `requests`: what it was asked, method and path. `page`: the most that it puts on a page.
    """

    def __init__(self, *zones: str, page: int = 5000) -> None:
        self.zones = {name: Zone(secrets.token_hex(16), name) for name in zones}
        self.token, self.reading = secrets.token_urlsafe(30), secrets.token_urlsafe(30)
        self.throttled: int | None = None
        self.broken = 0
        self.page = page
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/client/v4"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, zone: str, type_: str, name: str, content: str, **more: object) -> None:
        """Make a record as a person does on the web page."""
        self._create(self.zones[zone], {"type": type_, "name": name, "content": content, **more})

    def records(self) -> list[dict[str, Any]]:
        """Return every record of every zone."""
        return [dict(one) for zone in self.zones.values() for one in zone.records.values()]

    # What is asked.

    def answer(
        self, method: str, target: str, token: str, body: bytes
    ) -> tuple[int, Mapping[str, Any], Mapping[str, str]]:
        """Return a status, an envelope and headers."""
        parts = urlsplit(target)
        with self._lock:
            self.requests.append((method, parts.path.removeprefix("/client/v4")))
            if self.throttled is not None:
                errors = [{"code": 971, "message": "Please wait and consider throttling"}]
                headers = {"Retry-After": str(self.throttled)}
                return 429, {"success": False, "errors": errors, "result": None}, headers
            if self.broken > 0:
                self.broken -= 1
                return 502, {}, {}
            try:
                given = json.loads(body) if body else None
                path = parts.path.removeprefix("/client/v4")
                query = dict(parse_qsl(parts.query))
                result = self._result(method, path, query, token, given)
            except Refused as refused:
                errors = [{"code": refused.code, "message": str(refused)}]
                envelope = {"success": False, "errors": errors, "messages": [], "result": None}
                return refused.status, envelope, {}
        return 200, {"success": True, "errors": [], "messages": [], **result}, {}

    def _result(
        self, method: str, path: str, query: Mapping[str, str], token: str, given: Any
    ) -> dict[str, Any]:
        if token not in {self.token, self.reading}:
            raise Refused(403, 9109, "Invalid access token")
        if path == "/user/tokens/verify":
            return {"result": {"id": "0" * 32, "status": "active"}}
        if path == "/zones":
            return self._paged(self._zones(query, token), query)
        found = RECORDS.fullmatch(path)
        zone = next((z for z in self.zones.values() if found and z.id == found[1]), None)
        if found is None or zone is None:
            raise Refused(404, 7003, f"Could not route to {path}, perhaps your object identifier")
        if method == "GET":
            return self._paged(self._listed(zone, query), query)
        if token == self.reading:
            raise Refused(403, 10000, "Authentication error")
        return {"result": self._changed(zone, method, found[2], given)}

    def _zones(self, query: Mapping[str, str], token: str) -> Sequence[Mapping[str, Any]]:
        edit = ["#dns_records:edit"] if token == self.token else []
        may = [*edit, "#dns_records:read", "#zone:read"]
        return [
            {"id": zone.id, "name": zone.name, "status": "active", "permissions": may}
            for zone in self.zones.values()
            if query.get("name") in {None, zone.name}
        ]

    def _listed(self, zone: Zone, query: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        begins = query.get("comment.startswith", "")
        return [
            one
            for one in zone.records.values()
            if query.get("name.exact") in {None, one["name"]}
            and query.get("type") in {None, one["type"]}
            and (one["comment"] or "").startswith(begins)
        ]

    def _paged(
        self, found: Sequence[Mapping[str, Any]], query: Mapping[str, str]
    ) -> dict[str, Any]:
        page, per_page = int(query.get("page", 1)), int(query.get("per_page", 100))
        size = min(per_page, self.page)
        shown = found[(page - 1) * size : page * size]
        info = {
            "page": page,
            "per_page": size,
            "count": len(shown),
            "total_count": len(found),
            "total_pages": -(-len(found) // size),
        }
        return {"result": shown, "result_info": info}

    def _changed(self, zone: Zone, method: str, record: str | None, given: Any) -> Any:
        if method == "POST" and record is None:
            return self._create(zone, given)
        if record not in zone.records:
            raise Refused(404, 81044, "Record does not exist.")
        if method == "DELETE":
            del zone.records[record]
            return {"id": record}
        if method == "PUT":
            before = zone.records.pop(record)
            try:
                return self._create(zone, given, id_=record)
            except Refused:
                zone.records[record] = before
                raise
        raise Refused(405, 10405, "Method not allowed for this authentication scheme")

    def _create(self, zone: Zone, given: Mapping[str, Any], *, id_: str = "") -> dict[str, Any]:
        made = _checked(zone, given) | {"id": id_ or secrets.token_hex(16)}
        same = [one for one in zone.records.values() if one["name"] == made["name"]]
        if any(one["type"] == made["type"] and one["content"] == made["content"] for one in same):
            raise Refused(400, 81058, "An identical record already exists.")
        kinds = {one["type"] for one in same} | {made["type"]}
        if EXCLUSIVE in kinds and same:
            raise Refused(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
        zone.records[made["id"]] = made
        return made


def _checked(zone: Zone, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as it is kept. Raises Refused for what cannot be one."""
    name, kind, content = given["name"], given["type"], given["content"]
    if name != zone.name and not name.endswith(f".{zone.name}"):
        name = f"{name}.{zone.name}"
    if not NAME.fullmatch(name):
        raise Refused(400, 9000, "DNS name is invalid.")
    if kind in {"A", "AAAA"} and not _is_address(content, 4 if kind == "A" else 6):
        raise Refused(400, 9005, f"Content for {kind} record must be a valid address.")
    comment, proxied = given.get("comment"), bool(given.get("proxied", False))
    if len(comment or "") > COMMENT_MOST:
        raise Refused(400, 9204, f"Comment is longer than {COMMENT_MOST} characters.")
    ttl = given.get("ttl", 1)
    if ttl != 1 and not 60 <= ttl <= 86400:
        raise Refused(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1.")
    return {
        "name": name,
        "type": kind,
        "content": content,
        "proxied": proxied,
        "proxiable": kind in ADDRESSES,
        "ttl": 1 if proxied else ttl,
        "comment": comment,
        "tags": [],
    }


def _is_address(content: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(content).version == version
    except ValueError:
        return False


def _handler(server: CloudflareServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *words: object) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, envelope, headers = server.answer(self.command, self.path, token, body)
            text = json.dumps(envelope).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  http.server's

    return Handler
