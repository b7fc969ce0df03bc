"""Answers for tenants that sleep, until they answer themselves."""

import asyncio
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from kennel.domain import Environment, Tenant, Upstream
from kennel.errors import KennelError
from kennel.plugin import in_thread
from kennel.waker import pages, visitor
from kennel.waker.body import Malformed
from kennel.waker.head import END, Head
from kennel.waker.line import Farewells, Line
from kennel.waker.pages import Answer
from kennel.waker.relay import NoAnswer, relay
from kennel.waker.residents import NotWoken, Resident, Residents
from kennel.waker.rooms import Full, Rooms
from kennel.web import Listener, listen_unix

log = structlog.get_logger(__name__)

LONGEST_HEAD = 32 * 1024
"""Bytes of the head of a request. Not much more of a body is taken in before it can be sent on."""
SLOWEST_HEAD = 10.0
"""Seconds until a head must be complete. Caddy sends it at once."""
MOST, MOST_OF_ONE = 2000, 1000
"""Requests at a time, in all and of one tenant."""
RECORDED = 10.0
"""Seconds for which a visit is recorded: others in that time are not recorded again."""
LAST_MOMENT = 0.01
"""Seconds in which those are let in who came just before the socket was taken away."""
GRACE = 3.0
"""Seconds that answers under way get when Kennel stops."""


class Waker:
    """Listens on a socket, to which Caddy sends what is for tenants that sleep or are stopped.

    A request is held until its service runs, then answered by it. Whoever waits in front of a
    screen gets a page after `patience` seconds that asks again by itself; others are held for
    `most_wait` seconds at most. `group`: who may connect besides Kennel's own user; -1: everybody.
    """

    def __init__(
        self,
        socket: Path,
        residents: Residents,
        *,
        patience: float = 2.0,
        most_wait: float = 60.0,
        group: int = -1,
    ) -> None:
        self._socket = socket
        self._residents = residents
        self._patience = patience
        self._most_wait = most_wait
        self._group = group
        self._rooms = Rooms(MOST, MOST_OF_ONE)
        self._farewells = Farewells()
        self._visits: set[asyncio.Task[None]] = set()
        self._waits: set[asyncio.Task[Upstream]] = set()
        self._recorded: dict[Tenant, asyncio.Task[None]] = {}
        self._closing = False

    # Opening and closing

    async def __aenter__(self) -> Self:
        """Listen. Raises ConfigError where the socket cannot be made."""
        mode = 0o660 if self._group >= 0 else 0o666
        self._listener: Listener = await in_thread(
            listen_unix, self._socket, mode=mode, group=self._group
        )
        self._server = await asyncio.start_unix_server(
            self._accept, sock=self._listener.socket, limit=LONGEST_HEAD
        )
        self._looking = asyncio.create_task(self._farewells.run(), name="waker")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what is held, and give what is being answered a moment to end."""
        self._closing = True
        await in_thread(self._socket.unlink, missing_ok=True)
        await asyncio.sleep(LAST_MOMENT)  # who is being let in would be lost if it closed now
        self._server.close()
        await in_thread(self._listener.close)
        for wait in self._waits:
            wait.cancel()
        if self._visits:
            await asyncio.wait(self._visits, timeout=GRACE)
        rest = [*self._visits, *self._recorded.values(), self._looking]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # A request

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._visits) >= self._rooms.total + self._rooms.total // 2:
            writer.transport.abort()  # no file is left to be polite with
            return
        caddy = Line.of(reader, writer)
        visit = asyncio.create_task(self._visit(caddy))
        self._visits.add(visit)
        self._farewells.watch(caddy, visit.cancel)
        visit.add_done_callback(lambda visit: self._ended(caddy, visit))

    def _ended(self, caddy: Line, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        self._farewells.forget(caddy)
        caddy.cut()

    async def _visit(self, caddy: Line) -> None:
        try:
            await self._serve(caddy)
        except ConnectionError:
            pass  # Caddy went: nobody to be told
        except Exception:
            log.exception("a request for a tenant that sleeps could not be handled")

    async def _serve(self, caddy: Line) -> None:
        try:
            head = await _read_head(caddy)
        except _Unread as error:
            await self._say(caddy, None, None, error.answer)
            return
        if head is None:
            return
        resident = self._residents.find(head.host)
        answer = await self._answered(caddy, head, resident)
        if answer:
            await self._say(caddy, head, resident, answer)

    async def _answered(self, caddy: Line, head: Head, resident: Resident | None) -> Answer | None:
        """Have the request answered; return what is to be said if the service does not."""
        if resident is None:
            return pages.NOBODY
        if resident.stopped:
            return pages.STOPPED
        if resident.environment is not Environment.PROD and not visitor.may_wake(head):
            return pages.ASLEEP
        try:
            with self._rooms.room(resident.key.tenant):
                return await self._held(caddy, head, resident)
        except Full:
            return pages.FULL

    async def _held(self, caddy: Line, head: Head, resident: Resident) -> Answer | None:
        try:
            body = head.body()
        except Malformed:
            return pages.MALFORMED
        upstream = await self._woken(resident, page=visitor.wants_page(head))
        if isinstance(upstream, Answer):
            return upstream
        try:
            await relay(head, body, caddy, upstream)
        except NoAnswer as error:
            log.info("a service that is awake does not answer", key=str(resident.key), why=error)
            return pages.NOT_ANSWERING
        await caddy.finish()
        return None

    async def _say(
        self, caddy: Line, head: Head | None, resident: Resident | None, answer: Answer
    ) -> None:
        page = head is not None and visitor.wants_page(head)
        body = head is None or head.method != "HEAD"
        index = resident is not None and resident.environment is Environment.PROD
        await caddy.send(pages.render(answer, page=page, body=body, index=index))
        await caddy.finish()

    # Waking

    async def _woken(self, resident: Resident, *, page: bool) -> Upstream | Answer:
        """Return where a service takes requests, or what to say to who waits for that."""
        try:
            return await self._wait(resident, self._patience if page else self._most_wait)
        except TimeoutError:
            return pages.WAKING if page else pages.LATE
        except NotWoken as error:
            return pages.not_woken(str(error), error.again)
        except _Closing:
            return pages.STARTING_ANEW
        except KennelError as error:
            tenant = str(resident.key.tenant)
            log.warning("cannot wake a tenant", tenant=tenant, reason=str(error))
        except Exception:
            log.exception("cannot wake a tenant", tenant=str(resident.key.tenant))
        return pages.NOT_RUNNING

    async def _wait(self, resident: Resident, seconds: float) -> Upstream:
        """Return where a service takes requests. Raises TimeoutError, NotWoken, _Closing."""
        if self._closing:
            raise _Closing
        wait = asyncio.create_task(self._wake(resident))
        self._waits.add(wait)
        try:
            await asyncio.wait({wait}, timeout=seconds)
            if not wait.done():
                raise TimeoutError
            if wait.cancelled():
                raise _Closing
            return wait.result()
        finally:
            self._waits.discard(wait)
            wait.cancel()

    async def _wake(self, resident: Resident) -> Upstream:
        await self._record(resident.key.tenant)
        return await self._residents.awake(resident.key.tenant, resident.key.name)

    async def _record(self, tenant: Tenant) -> None:
        """Ask for a tenant to be woken, together with whoever asked a moment ago."""
        asked = self._recorded.get(tenant)
        if asked is None:
            asked = asyncio.create_task(self._residents.wake(tenant))
            self._recorded[tenant] = asked
            asked.add_done_callback(lambda task: self._recall(tenant, task))
        await asyncio.shield(asked)

    def _recall(self, tenant: Tenant, asked: asyncio.Task[None]) -> None:
        failed = asked.cancelled() or asked.exception() is not None
        later = 0.0 if failed else RECORDED
        asyncio.get_running_loop().call_later(later, self._recorded.pop, tenant, None)


class _Closing(Exception):
    """Kennel stops while a request is held."""


class _Unread(Exception):
    """There was no head that could be read."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.text)
        self.answer = answer


async def _read_head(caddy: Line) -> Head | None:
    """Return the head of a request, None if Caddy went before it sent one. Raises _Unread."""
    try:
        async with asyncio.timeout(SLOWEST_HEAD):
            return Head.parse(await caddy.reader.readuntil(END))
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise _Unread(pages.TOO_LONG) from None
    except TimeoutError:
        raise _Unread(pages.TOO_SLOW) from None
    except Malformed:
        raise _Unread(pages.MALFORMED) from None
