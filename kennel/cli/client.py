"""The daemon, as the command line talks to it: HTTP on the control socket."""

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from kennel.cli.outcome import Exit, Failure
from kennel.views import (
    ApproveOrder,
    Build,
    Command,
    CommandOrder,
    Delivery,
    Deployment,
    DeployRequest,
    Done,
    Health,
    NewProject,
    Order,
    PinOrder,
    Problem,
    Project,
    Removal,
    Resources,
    RollbackOrder,
    Step,
    SweepOrder,
    Swept,
    Told,
)

T = TypeVar("T")
Query: TypeAlias = Mapping[str, str | int | None]
PATIENCE = httpx.Timeout(30.0, connect=5.0)
LONG = httpx.Timeout(600.0, connect=5.0)
FOR_EVER = httpx.Timeout(None, connect=5.0)
"""For streams: a build may be silent for a long time."""


class Daemon:
    """A connection to a running `kennel serve`.

    Every method raises Failure: `UNREACHABLE` when nobody listens, `NOT_FOUND` and others for
    what the daemon refuses, in its own words.
    """

    def __init__(self, control_socket: Path) -> None:
        self._socket = control_socket
        self._reached = False
        # there is no TLS on a socket: an empty context spares us reading every certificate
        nothing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx.HTTPTransport(uds=str(control_socket), verify=nothing)
        self._http = httpx.Client(
            transport=transport, base_url="http://kennel", timeout=PATIENCE, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def health(self) -> Health:
        return self._get("/api/health", Health)

    def status(self, project: str | None = None) -> list[Deployment]:
        return self._get("/api/status", list[Deployment], project=project)

    def projects(self) -> list[Project]:
        return self._get("/api/projects", list[Project])

    def add_project(self, project: NewProject) -> Project:
        return self._post("/api/projects", project, Project)

    def remove_project(self, name: str) -> None:
        self._ask("DELETE", _path("api", "projects", name))

    def builds(
        self, project: str | None = None, ref: str | None = None, limit: int = 20
    ) -> list[Build]:
        return self._get("/api/builds", list[Build], project=project, ref=ref, limit=limit)

    def build(self, number: int) -> Build:
        return self._get(f"/api/builds/{number}", Build)

    def cancel(self, number: int) -> None:
        self._ask("POST", f"/api/builds/{number}/cancel")

    def deploy(self, project: str, ref: str) -> Build:
        return self._post("/api/deploy", DeployRequest(project=project, ref=ref), Build)

    def rollback(self, project: str, ref: str, to: int | None) -> Build:
        return self._post("/api/rollback", RollbackOrder(project=project, ref=ref, to=to), Build)

    def restart(self, project: str, ref: str) -> Build:
        return self._post("/api/restart", Order(project=project, ref=ref), Build)

    def redeploy(self, project: str, ref: str) -> Build:
        return self._post("/api/redeploy", Order(project=project, ref=ref), Build)

    def stop(self, project: str, ref: str) -> Done:
        return self._post("/api/stop", Order(project=project, ref=ref), Done)

    def start(self, project: str, ref: str) -> Done:
        return self._post("/api/start", Order(project=project, ref=ref), Done)

    def pin(self, project: str, ref: str, *, pinned: bool = True) -> Done:
        return self._post("/api/pin", PinOrder(project=project, ref=ref, pinned=pinned), Done)

    def approve(self, order: ApproveOrder) -> Done:
        return self._post("/api/approve", order, Done)

    def purge(self, project: str, ref: str) -> Done:
        return self._post("/api/purge", Order(project=project, ref=ref), Done)

    def removals(self) -> list[Removal]:
        return self._get("/api/removals", list[Removal])

    def allow_removals(self) -> list[Removal]:
        return _decoded(self._ask("POST", "/api/removals/allow"), list[Removal])

    def sweep(self, project: str | None, *, force: bool = False) -> list[Swept]:
        """Have repositories looked at. They may take long to answer."""
        body = msgspec.json.encode(SweepOrder(project=project, force=force))
        return _decoded(self._ask("POST", "/api/sweep", content=body, within=LONG), list[Swept])

    def resources(self, project: str | None = None) -> Resources:
        return self._get("/api/resources", Resources, project=project)

    def commands(self, *, within: float | None = None) -> list[Command]:
        """Return the commands of provisioners. `within`: seconds the daemon may take to answer."""
        patience = PATIENCE if within is None else httpx.Timeout(within)
        return _decoded(self._ask("GET", "/api/commands", within=patience), list[Command])

    def command(self, order: CommandOrder) -> Iterator[Told]:
        """Have a command carried out. Yield what it tells; the last one is over."""
        body = msgspec.json.encode(order)
        headers = {"Content-Type": "application/json"}
        with (
            self._explained(),
            self._http.stream(
                "POST", "/api/commands", content=body, headers=headers, timeout=FOR_EVER
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            for line in answer.iter_lines():
                yield _read(line, Told)

    def plan(self) -> list[Step]:
        return self._get("/api/plan", list[Step])

    def deliveries(self, limit: int = 20) -> list[Delivery]:
        return self._get("/api/deliveries", list[Delivery], limit=limit)

    def service_log(self, project: str, ref: str, name: str | None, lines: int) -> str:
        """Return the last lines that a service wrote."""
        query: Query = {"project": project, "ref": ref, "name": name, "lines": lines}
        return self._ask("GET", "/api/logs", query=query).text

    def build_log(self, number: int, *, follow: bool) -> Iterator[str]:
        """Yield the log of a build in pieces; with `follow`, until the build is over."""
        path = f"/api/builds/{number}/log"
        params = {"follow": "true"} if follow else {}
        with (
            self._explained(),
            self._http.stream("GET", path, params=params, timeout=FOR_EVER) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield from answer.iter_text()

    def _get(self, path: str, shape: type[T], **query: str | int | None) -> T:
        return _decoded(self._ask("GET", path, query=query), shape)

    def _post(self, path: str, body: msgspec.Struct, shape: type[T]) -> T:
        return _decoded(self._ask("POST", path, content=msgspec.json.encode(body)), shape)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        query: Query | None = None,
        within: httpx.Timeout = PATIENCE,
    ) -> httpx.Response:
        params = {key: str(value) for key, value in (query or {}).items() if value is not None}
        headers = {"Content-Type": "application/json"} if content is not None else {}
        with self._explained():
            answer = self._http.request(
                method, path, params=params, content=content, headers=headers, timeout=within
            )
        if answer.is_error:
            raise _refusal(answer)
        return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        self._reached = self._reached or _listens(self._socket)
        try:
            yield
        except httpx.ConnectError as error:
            raise _unreachable(self._socket) from error
        except httpx.TimeoutException as error:
            raise Failure(
                f"Kennel does not answer on {self._socket}",
                "it may be starting or overloaded: see its log",
                code=Exit.UNREACHABLE,
            ) from error
        except httpx.TransportError as error:
            raise Failure(
                f"the connection to Kennel broke off ({self._socket}): {error}",
                "it may have been stopped: see its log",
                code=Exit.UNREACHABLE,
            ) from error


def _path(*parts: str) -> str:
    """Return a path of these parts, whatever is in them."""
    return "".join("/" + quote(part, safe="").replace(".", "%2E") for part in parts)


def _listens(path: Path) -> bool:
    """Return True when somebody listens on a socket. Raises Failure that says what is wrong.

    httpx does not close a socket that it cannot connect, so the first attempt is ours.
    """
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.connect(str(path))
        except OSError as error:
            raise _unreachable(path) from error
    return True


def _unreachable(path: Path) -> Failure:
    if path.exists() and not os.access(path, os.W_OK):
        return Failure(
            f"you may not talk to Kennel: {path} belongs to another user",
            "use sudo, or become a member of its group",
            code=Exit.UNREACHABLE,
        )
    why = f"nobody listens on {path}" if path.exists() else f"no {path}"
    return Failure(
        f"Kennel is not running here ({why})",
        "start it with `kennel serve`, or point --config at its kennel.toml",
        code=Exit.UNREACHABLE,
    )


def _refusal(answer: httpx.Response) -> Failure:
    """Return what the daemon said, with the exit status that goes with it."""
    try:
        said = msgspec.json.decode(answer.content, type=Problem).error
    except msgspec.MsgspecError:
        said = f"Kennel answered {answer.status_code} {answer.reason_phrase}"
    codes = {400: Exit.USAGE, 404: Exit.NOT_FOUND, 422: Exit.USAGE}
    hint = "see the daemon's log" if answer.is_server_error else ""
    return Failure(said, hint, code=codes.get(answer.status_code, Exit.FAILED))


def _decoded(answer: httpx.Response, shape: type[T]) -> T:
    return _read(answer.content, shape)


def _read(text: bytes | str, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.MsgspecError as error:
        raise Failure(
            f"Kennel's answer cannot be read: {error}",
            "the daemon and this command may be of different versions: restart the daemon",
        ) from error
