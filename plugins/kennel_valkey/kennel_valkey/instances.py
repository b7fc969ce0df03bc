"""The provisioner that gives each tenant a server of its own, as a unit of the supervisor's.

What keeps others from it. A service, and so the server, runs as a user that is made when it
starts: neither can be given a file of the other's, and no group is theirs together. The one place
that both may write to is the shared memory of the machine. There Kennel has a folder that anybody
may enter and nobody else may list; in it the socket has a name that cannot be guessed, and whoever
had found it would need the password still.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import ClassVar
from weakref import WeakValueDictionary

from kennel.domain import Env, Key, Limits, Secret, Tenant, Unit, UnitState, names
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Provisioner, Resource, Supervisor, in_thread
from kennel_valkey import access
from kennel_valkey.address import Account, Address
from kennel_valkey.config import ValkeyConfig, size
from kennel_valkey.key import Key as KeyFile
from kennel_valkey.key import digest
from kennel_valkey.ledger import Change, Entry, Ledger
from kennel_valkey.options import InstanceOptions, read_options
from kennel_valkey.server import Server

SERVICE = "valkey (resource)"
"""What its unit is called after: no service can have this name."""

PROGRAMS = ("valkey-server", "redis-server")
HIDDEN = 32
"""Hexadecimal digits of a socket's name."""

OVERHEAD = 128 * 2**20
"""Bytes for the server itself and its clients' buffers, besides half as much as its data.

It uses some 10 MB; but a supervisor may count what is only set aside, for threads and their heaps.
"""

OPEN_UNLISTED = 0o1733
"""Anybody may make and find a file of which they know the name; nobody else may see names."""

LONGEST = 107
"""Bytes of the path of a socket; see unix(7)."""

PATIENCE = 10.0
"""Seconds from the start of a server to its first answer; it takes some hundredths."""

UP = {UnitState.STARTING, UnitState.RUNNING, UnitState.RESTARTING}

CONFIG = """\
exec "$0" - <<END
port 0
unixsocket $KENNEL_VALKEY_SOCKET
unixsocketperm 777
databases 16
maxmemory $KENNEL_VALKEY_MEMORY
save ""
appendonly no
set-proc-title no
loglevel warning
user default off
user $KENNEL_VALKEY_USER on #$KENNEL_VALKEY_PASSWORD_SHA256 ~* &* +@all -@admin -@dangerous \
+info +keys +sort +flushdb +flushall +swapdb +role +restore +client|list +client|kill +config|get
END
"""
"""What a shell runs. Everything of a tenant comes from the environment, which is nobody else's: the
words of a command can be read by all. Neither its title nor its log tells where it listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One tenant's server, as it should be. `memory`: bytes for data."""

    tenant: Tenant
    memory: int
    socket: Path
    password: Secret

    @property
    def unit(self) -> str:
        key = Key(self.tenant, SERVICE)
        way = f"{self.memory} {digest(self.password)}"  # another key is another server, too
        return names.unit(key, sha256(way.encode()).hexdigest()[:12])

    @property
    def account(self) -> Account:
        return Account(user=access.user(self.tenant), password=self.password)

    def run_by(self, program: Path) -> tuple[Unit, Env]:
        """Return the unit, and the environment that says the rest."""
        unit = Unit(
            name=self.unit,
            key=Key(self.tenant, SERVICE),
            command=("/bin/sh", "-c", CONFIG, str(program)),
            port=None,
            limits=Limits(memory_max=self.memory * 3 // 2 + OVERHEAD),
        )
        return unit, {
            "KENNEL_VALKEY_SOCKET": Secret(str(self.socket)),
            "KENNEL_VALKEY_MEMORY": Secret(str(self.memory)),
            "KENNEL_VALKEY_USER": Secret(self.account.user),
            "KENNEL_VALKEY_PASSWORD_SHA256": Secret(digest(self.password)),
        }


class InstanceProvisioner(Provisioner):
    """Gives each tenant a small server that nobody else reaches, and that keeps nothing on disk.

    The book says who has one; which memory it has is in the name of its unit.
    """

    name: ClassVar[str] = "valkey"
    variables: ClassVar[frozenset[str]] = access.VARIABLES

    def __init__(self, config: ValkeyConfig, ledger: Ledger, key: KeyFile) -> None:
        self._config = config
        self._folder = config.instance_dir
        self._ledger = ledger
        self._key = key
        self._supervisor: Supervisor | None = None
        self._locks: WeakValueDictionary[Tenant, asyncio.Lock] = WeakValueDictionary()

    def use(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave all servers as they are."""

    async def check(self) -> None:
        await in_thread(self._program)
        await in_thread(self._prepare)
        await self._units.observe()

    async def observe(self) -> set[Tenant]:
        await self._units.observe()
        return set((await in_thread(self._ledger.read)).entries)

    async def lacking(self, tenants: Collection[Tenant]) -> set[Tenant]:
        """Ask the supervisor once, for all units."""
        units = await self._units.observe()
        entries = (await in_thread(self._ledger.read)).entries
        whole = {
            tenant
            for tenant, entry in entries.items()
            if not entry.leaving and (status := units.get(str(entry.place))) and status.state in UP
        }
        return set(tenants) - whole

    async def resources(self) -> Sequence[Resource]:
        units = await self._units.observe()
        entries = (await in_thread(self._ledger.read)).entries
        sizes = await asyncio.gather(*(self._size(tenant) for tenant in sorted(entries)))
        return [
            Resource(
                tenant=tenant,
                name=str(entries[tenant].place),
                size=used,
                detail=units[str(entries[tenant].place)].state.value
                if str(entries[tenant].place) in units
                else "not running",
            )
            for tenant, used in zip(sorted(entries), sizes, strict=True)
        ]

    async def _size(self, tenant: Tenant) -> int | None:
        instance = await in_thread(self._instance, tenant, InstanceOptions())
        try:
            return await self._asked(instance, lambda server: server.memory())
        except ProviderError:
            return None

    def check_options(self, options: Mapping[str, object]) -> None:
        read_options(options, InstanceOptions)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        read = read_options(options, InstanceOptions)
        instance = await in_thread(self._instance, tenant, read)
        program = await in_thread(self._program)
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            await in_thread(self._prepare)
            entry = (await in_thread(self._ledger.read)).entries.get(tenant)
            if entry and (entry.leaving or entry.place != instance.unit):
                await self._clear(entry, instance.socket)
            await self._change(lambda book: book.having(tenant, Entry(instance.unit)))
            await self._start(instance, program)
        url = Address("unix", str(instance.socket)).url(instance.account, read.url)
        return {
            "VALKEY_URL": url,
            "REDIS_URL": url,
            "VALKEY_CHANNELS": Secret(access.channels(tenant)),
        }

    async def remove(self, tenant: Tenant) -> None:
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            entry = (await in_thread(self._ledger.read)).entries.get(tenant)
            if entry is None:
                await self._units.observe()  # whoever cannot tell says so
                return
            instance = await in_thread(self._instance, tenant, InstanceOptions())
            leaving = Entry(entry.place, leaving=True)
            await self._change(lambda book: book.having(tenant, leaving))
            await self._clear(leaving, instance.socket)
            await self._change(lambda book: book.without(tenant))

    @property
    def _units(self) -> Supervisor:
        if self._supervisor is None:
            raise Rejected('valkey: isolation = "instance" takes a supervisor, and there is none')
        return self._supervisor

    async def _change(self, change: Change) -> None:
        await in_thread(self._ledger.change, change)

    async def _clear(self, entry: Entry, socket: Path) -> None:
        await self._units.remove(str(entry.place))
        await in_thread(socket.unlink, missing_ok=True)

    async def _start(self, instance: Instance, program: Path) -> None:
        """Start the server, and wait for its answer. One that is not of this key is replaced."""
        unit, env = instance.run_by(program)
        await self._units.ensure(unit, env)
        if await self._answers(instance, PATIENCE):
            return
        await self._units.remove(unit.name)
        await in_thread(instance.socket.unlink, missing_ok=True)
        await self._units.ensure(unit, env)
        if not await self._answers(instance, PATIENCE):
            said = " / ".join(await self._units.logs(unit.name, 3))
            raise Unavailable(f"valkey: {unit.name} does not answer; it said: {said or 'nothing'}")

    async def _answers(self, instance: Instance, patience: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    try:
                        await self._asked(instance, lambda server: server.memory())
                    except Unavailable:
                        await asyncio.sleep(0.01)
                    except Rejected:
                        return False  # somebody listens who does not know this password
                    else:
                        return True
        return False

    async def _asked(self, instance: Instance, ask: Callable[[Server], Awaitable[int]]) -> int:
        server = Server(Address("unix", str(instance.socket)).url(instance.account))
        try:
            return await ask(server)
        finally:
            await server.close()

    def _instance(self, tenant: Tenant, options: InstanceOptions) -> Instance:
        memory = size(options.memory or self._config.instance_memory)
        if memory > size(self._config.instance_memory_max):
            raise Rejected(
                f"resource valkey: memory = {options.memory!r} is more than"
                f" {self._config.instance_memory_max}, which is what an operator allows"
                " (instance_memory_max in [plugins.valkey])"
            )
        hidden = self._key.password(tenant, purpose="socket").value[:HIDDEN]
        return Instance(
            tenant=tenant,
            memory=memory,
            socket=self._folder / f"{hidden}.sock",
            password=self._key.password(tenant, purpose="instance"),
        )

    def _program(self) -> Path:
        named = [str(self._config.program)] if self._config.program else PROGRAMS
        for name in named:
            if found := shutil.which(name):
                return Path(found).absolute()
        raise Rejected(
            f"valkey: there is no program {' or '.join(named)}: install valkey, or set program in"
            " [plugins.valkey]"
        )

    def _prepare(self) -> None:
        """Make the folder of sockets. One that is another user's is not used: they list it."""
        if len(os.fsencode(self._folder)) + len("/.sock") + HIDDEN > LONGEST:
            raise Rejected(
                f"valkey: instance_dir {self._folder} is too long for the path of a socket, which"
                f" has {LONGEST} bytes at most: set a shorter one in [plugins.valkey]"
            )
        try:
            with suppress(FileExistsError):
                self._folder.mkdir(mode=0o700, parents=True)
            found = self._folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise Rejected(
                    f"valkey: {self._folder} is not Kennel's own folder: see whose it is and remove"
                    " it, or set instance_dir in [plugins.valkey]"
                )
            if stat.S_IMODE(found.st_mode) != OPEN_UNLISTED:
                self._folder.chmod(OPEN_UNLISTED)
        except OSError as error:
            raise Rejected(
                f"valkey: instance_dir {self._folder}: {error.strerror}: set it to a folder that"
                " Kennel may make"
            ) from error
