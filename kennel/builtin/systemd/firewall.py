"""Keeps services from ports of this machine that are not their business.

One table of nftables holds for all services, whoever starts or stops: one service more is one
element more, which says whose port is whose. The table stays when Kennel stops, because services go
on.
"""

import asyncio
import contextlib
import grp
import logging
import pwd
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from kennel.builtin.systemd import nft
from kennel.builtin.systemd.config import SystemdConfig
from kennel.builtin.systemd.nft import Changes, NftError
from kennel.builtin.systemd.ruleset import Users, can_spare_others, parted, rules_for
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import in_thread
from kennel.plugin.settings import Host

log = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")
BUILDERS = "nixbld"
"""The group whose members Nix builds as."""

PAUSE = 0.25
"""Seconds between looks at the table, when one change follows another."""
RETRY = 2.0
"""Seconds until what did not succeed is tried again."""

LACKING = "nft is not installed. Install nftables (Debian: apt-get install nftables)"
OPEN = (
    "services are not kept from each other's ports, nor from Kennel's: %s. To live with that, set"
    ' firewall = "off" in [plugins.systemd]'
)
ELSEWHERE = (
    "services are not kept from each other's ports: [plugins.systemd] bus may be another machine's."
    ' Set firewall = "required" if it is this one\'s, else "off"'
)


class Firewall:
    """The table of this Kennel's. `users` answers with whom it tells apart."""

    def __init__(
        self,
        config: SystemdConfig,
        host: Host,
        users: Callable[[], Awaitable[Users]],
    ) -> None:
        self._config = config
        self._ask = users
        self._changes = Changes(self.wake)
        self._woken = asyncio.Event()
        self._settling = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._program = ""
        self._rules = rules_for(config, host)
        self._problem = ""
        self._text = ""
        self._users: dict[str, int] = {}

    async def open(self) -> None:
        """Write the table and keep it. Raises Rejected where it is required and cannot be."""
        if self._config.firewall == "off":
            await self._take_away()
        elif self._config.firewall == "auto" and self._config.bus is not None:
            log.warning(ELSEWHERE)
        else:
            await self._begin()
            if self._problem and self._config.firewall == "required":
                raise Rejected(f'[plugins.systemd] firewall = "required": {self._problem}')
            if self._problem:
                log.warning(OPEN, self._problem)

    async def close(self, in_use: Callable[[], Awaitable[bool]]) -> None:
        """Let go of the table; take it away if no service is left that it is for."""
        self._changes.close()
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            if not await in_use():
                await self._take_away()

    async def check(self) -> None:
        """Look at the table and mend it. Raises Rejected while services are not kept apart."""
        if self._keeper:
            await self._try(self._settle)
        elif self._problem:
            await self._begin()
        if self._problem:
            raise Rejected(OPEN % self._problem)

    def demand(self) -> None:
        """Raise Unavailable while nothing may be started, for want of a table."""
        if self._problem and self._config.firewall == "required":
            raise Unavailable(OPEN % self._problem)

    def wake(self) -> None:
        """Look at the table soon: it, or what should be in it, may have changed."""
        self._woken.set()

    def heard(self, unit: str, user: int) -> None:
        """Take note of the user that a unit runs as."""
        if self._users.get(unit) != user:
            self._users[unit] = user
            self.wake()

    def forget(self, unit: str) -> None:
        """Take note that a unit is gone: what its user was allowed, nobody is any more."""
        self._users.pop(unit, None)
        self.wake()

    async def _begin(self) -> None:
        await self._try(self._prepare)
        if self._problem:
            self._changes.close()
            return
        self._keeper = asyncio.create_task(self._keep(), name="systemd-firewall")
        log.info("table inet %s keeps services from each other's ports", self._rules.table)

    async def _prepare(self) -> None:
        if not await self._has_program():
            raise NftError(LACKING)
        self._rules = replace(
            self._rules,
            builders=await in_thread(_members, BUILDERS),
            spares_others=await in_thread(can_spare_others, self._config, CGROUPS),
        )
        self._changes.open()
        try:
            await self._settle()
        except NftError:
            if not self._rules.spares_others:
                raise
            self._rules = replace(self._rules, spares_others=False)
            await self._settle()
            log.warning(
                "nft cannot tell control groups here: other programs with dynamic users are kept"
                " from services' ports as well"
            )

    async def _has_program(self) -> bool:
        found: str | None = await in_thread(nft.find)
        self._program = found or ""
        return bool(self._program)

    async def _try(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do something, and know afterwards whether services are kept apart."""
        try:
            await action()
        except NftError as error:
            self._problem = str(error)
        else:
            self._problem = ""

    async def _keep(self) -> None:
        """Mend the table whenever somebody changes it, and let new services reach themselves."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await asyncio.sleep(PAUSE if await self._mended() else RETRY)

    async def _mended(self) -> bool:
        """Return whether all is as it should be; it is tried again where it is not."""
        before = self._problem
        try:
            await self._try(self._settle)
        except ProviderError as error:  # systemd is away: nobody starts anything either
            log.debug("cannot tell whose port is whose: %s", error)
        else:
            if not self._problem:
                return True
            if self._problem != before:
                log.warning(OPEN, self._problem)
        self.wake()
        return False

    async def _settle(self) -> None:
        """Make the table say what it should; write nothing where it does."""
        async with self._settling:
            users = await self._ask()
            text, told = await self._look()
            if text and text == self._text:
                if told != users:
                    await self._write(self._rules.changed(users))
                return
            if self._text:
                log.warning("somebody changed table inet %s: written again", self._rules.table)
            await self._write(self._rules.whole(users))
            if not self._text:  # what was written, in nft's own words
                self._text, _ = await self._look()

    async def _look(self) -> tuple[str, Users]:
        """Return the table as it is, less what was counted, and the users apart.

        "" if there is no table.
        """
        listing = ("--stateless", "list", "table", "inet", self._rules.table)
        try:
            return parted(await nft.run(self._program, *listing))
        except NftError as error:
            if "No such file or directory" in str(error):
                return "", Users()
            raise

    async def _write(self, commands: str) -> None:
        await nft.run(self._program, "--file", "-", text=commands)

    async def _take_away(self) -> None:
        with contextlib.suppress(NftError):  # whoever may not see it has not written it
            if await self._has_program() and (await self._look())[0]:
                await self._write(self._rules.nothing())


def _members(group: str) -> frozenset[int]:
    """Return the users in a group; none if there is no such group."""
    try:
        names = grp.getgrnam(group).gr_mem
    except KeyError:
        return frozenset()
    return frozenset(_numbers(names))


def _numbers(names: Iterable[str]) -> Iterable[int]:
    for name in names:
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(name).pw_uid
