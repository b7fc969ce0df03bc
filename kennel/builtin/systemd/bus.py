"""The one connection to systemd, over D-Bus (man 5 org.freedesktop.systemd1)."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError, InvalidAddressError

from kennel.errors import Rejected, Unavailable

log = logging.getLogger(__name__)

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
OBJECT = "/org/freedesktop/systemd1"

PARALLEL = 20
"""Calls at a time. dbus-daemon takes 128 of one connection, then it refuses. But those it has not
read yet have to find room in the kernel: 200 kB, two pages for each; dbus_fast takes a full buffer
for a lost connection."""
TIMEOUT = 30.0
"""Seconds a single call may take. systemd answers in milliseconds, but runs one at a time."""

MATCHES = (
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'",
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='UnitRemoved'",
    (
        f"type='signal',sender='{SYSTEMD}',interface='org.freedesktop.DBus.Properties',"
        f"member='PropertiesChanged',path_namespace='{OBJECT}/unit',arg0='{SYSTEMD}.Service'"
    ),
)

GONE = {
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.LimitsExceeded",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.Timeout",
}
FORBIDDEN = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.AuthFailed",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}


class Refused(Rejected):
    """systemd answered with an error. `name`: D-Bus' name of it."""

    def __init__(self, member: str, name: str, text: str) -> None:
        super().__init__(f"systemd refuses {member}: {text} ({name.rpartition('.')[2]})")
        self.name = name
        self.text = text

    def is_named(self, *last: str) -> bool:
        """Return whether the error's name ends in one of these words."""
        return self.name.rpartition(".")[2] in last


class Bus:
    """Calls systemd and hears its signals, for as long as there is one to talk to.

    A lost connection is made again by itself, with everything it was subscribed to; `on_loss` is
    told of it, because signals were missed.
    """

    def __init__(
        self,
        address: str | None,
        *,
        on_signal: Callable[[Message], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._address = address
        self._on_signal = on_signal
        self._on_loss = on_loss
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(PARALLEL)
        self._keeper: asyncio.Task[None] | None = None
        self._watchers: set[asyncio.Task[None]] = set()
        self._lost = asyncio.Event()
        self._closing = False

    async def open(self) -> None:
        """Connect, and stay connected until `close`. Raises Unavailable or Rejected."""
        await self._connected()
        self._keeper = asyncio.create_task(self._keep(), name="systemd-bus")

    async def close(self) -> None:
        self._closing = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._bus and self._bus.connected:
            self._bus.disconnect()
        if self._watchers:
            await asyncio.wait(self._watchers)

    async def call(self, member: str, signature: str = "", *body: object) -> Sequence[Any]:
        """Call a method of the manager and return what it returns.

        It is called again where the connection was lost before the answer: whoever calls must
        know how to live with the second of two. Raises Unavailable, Rejected, and Refused with
        systemd's own error.
        """
        return await self._send(member, lambda: _manager(member, signature, body))

    async def properties(self, unit: str) -> Mapping[str, Any]:
        """Return the properties that a unit has as a service. `unit`: its whole name.

        Of a unit that is not loaded they are what a new one has. Raises as `call` does.
        """
        (found,) = await self._send("GetAll", lambda: _get_all(unit))
        return {name: value.value for name, value in found.items()}

    async def _send(self, member: str, make: Callable[[], Message]) -> Sequence[Any]:
        async with self._slots:
            for attempt in (1, 2):
                reply = await self._attempt(make())
                if reply is not None:
                    return _read(member, reply)
                log.info("lost D-Bus during %s, attempt %d", member, attempt)
        raise Unavailable(f"the connection to D-Bus broke twice during {member}")

    async def _attempt(self, message: Message) -> Message | None:
        """Return the answer; None if the connection broke before there was one."""
        bus = await self._connected()
        try:
            async with asyncio.timeout(TIMEOUT):
                return await bus.call(message)
        except TimeoutError as error:
            raise Unavailable(
                f"systemd did not answer {message.member} within {TIMEOUT:.0f} s"
            ) from error
        except (OSError, EOFError, DBusError):
            return None

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                self._bus = await self._connect()
            return self._bus

    async def _connect(self) -> MessageBus:
        try:
            async with asyncio.timeout(TIMEOUT):
                bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
                self._watch(bus)
                await self._subscribe(bus)
        except (OSError, EOFError, TimeoutError, AuthError, DBusError) as error:
            raise Unavailable(
                f"cannot reach systemd at {self._address or 'the system bus'}: {error}."
                ' Is D-Bus running? Without systemd, set supervisor = "process"'
            ) from error
        except InvalidAddressError as error:
            raise Rejected(f"[plugins.systemd] bus: {error}") from error
        return bus

    async def _subscribe(self, bus: MessageBus) -> None:
        """Ask for signals before anything is started, so that none can be missed."""
        bus.add_message_handler(self._heard)
        try:
            for rule in MATCHES:
                _read("AddMatch", await bus.call(_add_match(rule)))
            _read("Subscribe", await bus.call(_manager("Subscribe", "", ())))
        except BaseException:
            bus.disconnect()
            raise

    def _heard(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            self._on_signal(message)

    def _watch(self, bus: MessageBus) -> None:
        watcher = asyncio.create_task(self._wait(bus), name="systemd-bus-connection")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _wait(self, bus: MessageBus) -> None:
        """Tell everybody when a connection is gone, for whatever reason."""
        gone: Callable[[], Coroutine[object, object, None]] = bus.wait_for_disconnect
        with contextlib.suppress(OSError, EOFError, DBusError):
            await gone()
        if not self._closing:
            log.warning("lost the connection to D-Bus; connecting again")
            self._on_loss()
            self._lost.set()

    async def _keep(self) -> None:
        """Connect again after every loss, so that signals are heard."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            await self._reconnect()

    async def _reconnect(self) -> None:
        delay = 0.05
        while True:
            try:
                await self._connected()
            except (Unavailable, Rejected) as error:
                log.warning("%s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 10.0)
            else:
                return


def _manager(member: str, signature: str, body: Sequence[object]) -> Message:
    return Message(
        destination=SYSTEMD,
        path=OBJECT,
        interface=MANAGER,
        member=member,
        signature=signature,
        body=list(body),
    )


def _get_all(unit: str) -> Message:
    return Message(
        destination=SYSTEMD,
        path=path_of(unit),
        interface="org.freedesktop.DBus.Properties",
        member="GetAll",
        signature="s",
        body=[f"{SYSTEMD}.Service"],
    )


def path_of(unit: str) -> str:
    """Return the path of a unit's object: every byte but letters and digits as `_2d`."""
    return f"{OBJECT}/unit/" + re.sub("[^A-Za-z0-9]", lambda byte: f"_{ord(byte[0]):02x}", unit)


def unit_of(path: str) -> str:
    """Return the whole name of a unit from its object's path."""
    escaped = path.removeprefix(f"{OBJECT}/unit/")
    return re.sub("_([0-9a-f]{2})", lambda byte: chr(int(byte[1], 16)), escaped)


def _add_match(rule: str) -> Message:
    return Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member="AddMatch",
        signature="s",
        body=[rule],
    )


def _read(member: str, reply: Message | None) -> Sequence[Any]:
    if reply is None:
        raise Unavailable(f"the connection to D-Bus broke during {member}")
    if reply.message_type is MessageType.ERROR:
        _refuse(member, reply.error_name or "", str(reply.body[0]) if reply.body else "no reason")
    body: Sequence[Any] = reply.body
    return body


def _refuse(member: str, name: str, text: str) -> NoReturn:
    if name in GONE:
        raise Unavailable(f"systemd is not there to answer {member}: {text}")
    if name in FORBIDDEN:
        raise Rejected(
            f"systemd does not let Kennel's user call {member}: {text.rstrip('.')}. Run Kennel as"
            " root, or allow its user the action org.freedesktop.systemd1.manage-units with the"
            " polkit rule of docs/supervisors.md"
        )
    raise Refused(member, name, text)
