"""Somebody who opens the URLs, and does not close an eye to certificates."""

import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from kennel.cli.outcome import Failure

TIMEOUT = 10.0
PAUSE = 0.05
"""Seconds between the requests of a crowd."""


class Visitor:
    """A browser that knows the demo's certificate authority and finds `*.localhost` here."""

    def __init__(self, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._http = httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False)

    def get(self, url: str) -> tuple[int, str]:
        """Return status and text of a page. Raises Failure when there is no answer at all."""
        wanted = httpx.URL(url)
        here = wanted.copy_with(host="127.0.0.1")
        try:
            answer = self._http.get(
                here,
                headers={"Host": wanted.netloc.decode()},
                extensions={"sni_hostname": wanted.host},
            )
        except httpx.TransportError as error:
            raise Failure(f"{url} does not answer: {error}") from error
        return answer.status_code, answer.text

    def close(self) -> None:
        self._http.close()


class Crowd:
    """Asks for one page over and over, while something else happens."""

    def __init__(self, authority: Path, url: str) -> None:
        self._visitor = Visitor(authority)
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self.asked = 0
        self.failed = 0
        self.seen: dict[str, float] = {}
        """First line of the page → when it was first seen, in seconds of `time.monotonic`."""

    def _go_on(self) -> None:
        while not self._over.wait(PAUSE):
            self.asked += 1
            try:
                status, text = self._visitor.get(self._url)
            except Failure:
                self.failed += 1
                continue
            self.failed += status != httpx.codes.OK
            self.seen.setdefault(text.partition("\n")[0], time.monotonic())

    def wait_for(self, line: str, seconds: float) -> float:
        """Return when the page first began with this line. Raises Failure if it does not."""
        deadline = time.monotonic() + seconds
        while line not in self.seen:
            if time.monotonic() > deadline:
                raise Failure(f"{self._url} does not say {line!r} but {', '.join(self.seen)!r}")
            time.sleep(PAUSE)
        return self.seen[line]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._visitor.close()
