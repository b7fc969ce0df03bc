"""Garage 1's admin API in front of a Garage 2, which speaks most of it itself.

What Garage 2 does not translate any more, this does: the two DELETEs. What Garage 1 did not know is
refused as it did. Source: src/api/admin/router_v1.rs of Garage 1.2, and router_v2.rs of 2.x.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from kennel.testing.garage import GarageServer

DELETES = {"/v1/key": "/v2/DeleteKey", "/v1/bucket": "/v2/DeleteBucket"}


class OldGarage:
    """A server that speaks version 1 alone. `calls`: what it was asked, method and path."""

    def __init__(self, behind: GarageServer) -> None:
        self.calls: list[tuple[str, str]] = []
        client = httpx.Client(base_url=behind.admin, trust_env=False, timeout=30)
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *words: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = urlsplit(self.path)
                calls.append((self.command, target.path))
                if not target.path.startswith("/v1/"):
                    said = f"Bad request: Unknown API endpoint: {self.command} {target.path}"
                    self.send(400, f'{{"code":"InvalidRequest","message":"{said}"}}'.encode())
                    return
                method, path, gone = self.command, target.path, False
                if self.command == "DELETE":
                    method, path, gone = "POST", DELETES[target.path], True
                answer = client.request(
                    method,
                    f"{path}?{target.query}",
                    content=body,
                    headers={"Authorization": self.headers["Authorization"]},
                )
                if gone and answer.is_success:
                    self.send(204, b"")
                else:
                    self.send(answer.status_code, answer.content)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  http.server's

            def send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._client = client
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

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
        self._client.close()
