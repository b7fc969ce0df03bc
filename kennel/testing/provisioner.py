"""What every provisioner must do, written as tests; and one that keeps everything in a dict."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

import pytest
import pytest_asyncio

from kennel.domain import Env, Ref, Secret, Tenant, names
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Provisioner
from kennel.testing.contract import Contract

MakeProvisioner: TypeAlias = Callable[[], Provisioner]

ADA = Tenant("lovelace", Ref.branch("main"))
BOB = Tenant("lovelace", Ref.pull_request(42))

LOOKALIKES = {
    "two refs": (ADA, BOB),
    "where the project ends": (
        Tenant("a-b", Ref.branch("c")),
        Tenant("a", Ref.branch("b-c")),
    ),
    "a branch called like a pull request": (BOB, Tenant("lovelace", Ref.branch("pr-42"))),
    "a slash and a dash": (
        Tenant("p", Ref.branch("feature/x")),
        Tenant("p", Ref.branch("feature-x")),
    ),
    "an underscore and a dash": (
        Tenant("p", Ref.branch("feature_x")),
        Tenant("p", Ref.branch("feature-x")),
    ),
    "capitals": (Tenant("p", Ref.branch("Fix")), Tenant("p", Ref.branch("fix"))),
    "other alphabets": (Tenant("p", Ref.branch("日本")), Tenant("p", Ref.branch("中国"))),
    "the end of 200 characters": (
        Tenant("p", Ref.branch("x" * 199 + "a")),
        Tenant("p", Ref.branch("x" * 199 + "b")),
    ),
    "a branch called like a full name": (
        ADA,
        Tenant("lovelace", Ref.branch("refs/heads/main")),
    ),
}
"""Pairs that a careless provider takes for one."""

TENANTS = {tenant for pair in LOOKALIKES.values() for tenant in pair}
PAIRS = pytest.mark.parametrize(("one", "other"), LOOKALIKES.values(), ids=LOOKALIKES)
UNKNOWN_OPTION = "no-such-option"


class ProvisionerContract(Contract):
    """The conformance suite of a provisioner.

        class TestRedis(ProvisionerContract):
            @pytest.fixture
            def make_provisioner(self, redis_url: str) -> MakeProvisioner:
                return lambda: RedisProvisioner(RedisConfig(url=redis_url))

    Whatever the fixture returns is called more than once: each call stands for a start of
    Kennel, and all that it returns must work with the same server. It is opened and closed here.
    """

    @pytest.fixture
    def make_provisioner(self) -> MakeProvisioner:
        """Return what makes a provisioner, not yet opened, for one and the same server."""
        self.needs("make_provisioner", returns="what makes a Provisioner: () -> Provisioner")

    def inventory(self) -> set[str]:
        """Return the name of everything on the server (databases, users …), whoever made it."""
        raise NotImplementedError

    def make_foreign(self) -> None:
        """Make something that is not Kennel's, and looks as much like it as anything could."""
        raise NotImplementedError

    def unreachable(self) -> Provisioner:
        """Return a provisioner, not yet opened, whose server does not answer."""
        raise NotImplementedError

    def put(self, env: Env, text: str) -> None:
        """Keep a text in the resource that `env` leads to, as a service would."""
        raise NotImplementedError

    def get(self, env: Env) -> str | None:
        """Return the text that `put` kept, or None if there is none."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def provisioner(self, make_provisioner: MakeProvisioner) -> AsyncIterator[Provisioner]:
        async with make_provisioner() as provisioner:
            yield provisioner
            for tenant in await provisioner.observe() & TENANTS:
                await provisioner.remove(tenant)

    async def test_says_what_it_is(self, provisioner: Provisioner) -> None:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", provisioner.name)
        assert isinstance(provisioner.variables, frozenset)
        assert provisioner.variables
        assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in provisioner.variables)

    async def test_is_well(self, provisioner: Provisioner) -> None:
        await provisioner.check()

    async def test_ensured_tenants_are_observed(self, provisioner: Provisioner) -> None:
        assert not await provisioner.observe() & {ADA, BOB}
        await provisioner.ensure(ADA, {})
        assert ADA in await provisioner.observe()
        await provisioner.ensure(BOB, {})
        assert await provisioner.observe() >= {ADA, BOB}

    async def test_whoever_has_nothing_lacks_it(self, provisioner: Provisioner) -> None:
        assert await provisioner.lacking({ADA, BOB}) == {ADA, BOB}
        await provisioner.ensure(ADA, {})
        assert await provisioner.lacking({ADA, BOB}) == {BOB}
        await provisioner.remove(ADA)
        assert await provisioner.lacking({ADA}) == {ADA}
        assert await provisioner.lacking(set()) == set()

    async def test_resources_are_those_of_the_tenants_observed(
        self, provisioner: Provisioner
    ) -> None:
        for tenant in (ADA, BOB):
            await provisioner.ensure(tenant, {})
        found = await provisioner.resources()
        assert {one.tenant for one in found} == await provisioner.observe()
        assert all(one.name and one.name.isprintable() for one in found)
        assert all(one.size is None or one.size >= 0 for one in found)

    async def test_commands_can_be_told_apart(self, provisioner: Provisioner) -> None:
        called = [one.name for one in provisioner.commands]
        assert len(set(called)) == len(called)
        assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in called)
        assert all(one.help for one in provisioner.commands)

    async def test_ensure_may_be_repeated(self, provisioner: Provisioner) -> None:
        assert await provisioner.ensure(ADA, {}) == await provisioner.ensure(ADA, {})

    async def test_sets_the_variables_it_declares(self, provisioner: Provisioner) -> None:
        env = await provisioner.ensure(ADA, {})
        assert env.keys() == provisioner.variables
        for name, secret in env.items():
            assert isinstance(secret, Secret), name
            assert isinstance(secret.value, str), name
            assert secret.value.isprintable(), f"{name} cannot be an environment variable"
            assert secret.value, f"{name} is empty"

    @PAIRS
    async def test_tenants_share_nothing(
        self, provisioner: Provisioner, one: Tenant, other: Tenant
    ) -> None:
        first, second = await provisioner.ensure(one, {}), await provisioner.ensure(other, {})
        assert first.keys() == second.keys()
        assert first != second
        assert await provisioner.observe() >= {one, other}

    @PAIRS
    async def test_removing_one_leaves_the_other(
        self, provisioner: Provisioner, one: Tenant, other: Tenant
    ) -> None:
        await provisioner.ensure(one, {})
        kept = await provisioner.ensure(other, {})
        await provisioner.remove(one)
        observed = await provisioner.observe()
        assert one not in observed
        assert other in observed
        assert await provisioner.ensure(other, {}) == kept

    async def test_remove_may_be_repeated(self, provisioner: Provisioner) -> None:
        await provisioner.remove(ADA)
        await provisioner.ensure(ADA, {})
        await provisioner.remove(ADA)
        await provisioner.remove(ADA)
        assert ADA not in await provisioner.observe()

    async def test_removed_tenants_may_come_back(self, provisioner: Provisioner) -> None:
        await provisioner.ensure(ADA, {})
        await provisioner.remove(ADA)
        env = await provisioner.ensure(ADA, {})
        assert ADA in await provisioner.observe()
        assert await provisioner.ensure(ADA, {}) == env

    async def test_one_tenant_may_be_ensured_twice_at_once(
        self, provisioner: Provisioner, make_provisioner: MakeProvisioner
    ) -> None:
        async with make_provisioner() as successor:
            same = await asyncio.gather(
                *(p.ensure(ADA, {}) for p in (provisioner, successor, provisioner))
            )
            assert same[0] == same[1] == same[2] == await provisioner.ensure(ADA, {})

    async def test_tenants_may_be_ensured_and_removed_side_by_side(
        self, provisioner: Provisioner
    ) -> None:
        tenants = sorted(TENANTS)
        envs = await asyncio.gather(*(provisioner.ensure(tenant, {}) for tenant in tenants))
        assert await provisioner.observe() >= TENANTS
        assert all(one != other for i, one in enumerate(envs) for other in envs[:i])
        await asyncio.gather(*(provisioner.remove(tenant) for tenant in tenants))
        assert not await provisioner.observe() & TENANTS

    async def test_a_new_start_changes_no_value(
        self, provisioner: Provisioner, make_provisioner: MakeProvisioner
    ) -> None:
        env = await provisioner.ensure(ADA, {})
        async with make_provisioner() as successor:
            assert ADA in await successor.observe()
            assert await successor.ensure(ADA, {}) == env

    async def test_a_new_start_can_remove_what_an_earlier_one_made(
        self, provisioner: Provisioner, make_provisioner: MakeProvisioner
    ) -> None:
        await provisioner.ensure(ADA, {})
        async with make_provisioner() as successor:
            await successor.remove(ADA)
            assert ADA not in await successor.observe()

    @pytest.mark.parametrize("part", [0.0, 0.2, 0.4, 0.6, 0.8], ids="after {:.0%}".format)
    async def test_goes_on_where_it_was_cut_off(
        self, provisioner: Provisioner, make_provisioner: MakeProvisioner, part: float
    ) -> None:
        took = await _seconds_of_an_ensure(provisioner)
        task = asyncio.create_task(provisioner.ensure(ADA, {}))
        await asyncio.wait({task}, timeout=took * part)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(took)  # a thread that was under way cannot be cut off
        async with make_provisioner() as successor:
            env = await successor.ensure(ADA, {})
            assert env.keys() == successor.variables
            assert ADA in await successor.observe()
            await successor.remove(ADA)
            assert ADA not in await successor.observe()

    @pytest.mark.parametrize("part", [0.0, 0.2, 0.4, 0.6, 0.8], ids="after {:.0%}".format)
    async def test_what_is_there_in_part_is_observed(
        self, provisioner: Provisioner, part: float
    ) -> None:
        took = await _seconds_of_an_ensure(provisioner)
        before = await self.optional(self.inventory)
        task = asyncio.create_task(provisioner.ensure(ADA, {}))
        await asyncio.wait({task}, timeout=took * part)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if await self.optional(self.inventory) != before:
            assert ADA in await provisioner.observe()
        await asyncio.sleep(took)
        await provisioner.remove(ADA)
        assert await self.optional(self.inventory) == before

    async def test_remove_leaves_nothing(self, provisioner: Provisioner) -> None:
        before = await self.optional(self.inventory)
        await provisioner.ensure(ADA, {})
        assert await self.optional(self.inventory) > before
        await provisioner.remove(ADA)
        assert await self.optional(self.inventory) == before

    async def test_an_unknown_option_is_rejected(self, provisioner: Provisioner) -> None:
        with pytest.raises(Rejected, match=UNKNOWN_OPTION):
            await provisioner.ensure(ADA, {UNKNOWN_OPTION: 1})
        assert ADA not in await provisioner.observe()

    async def test_options_are_checked_before_anything_is_made(
        self, provisioner: Provisioner
    ) -> None:
        provisioner.check_options({})
        with pytest.raises(Rejected, match=UNKNOWN_OPTION):
            provisioner.check_options({UNKNOWN_OPTION: 1})

    async def test_what_is_not_kennels_is_left_alone(self, provisioner: Provisioner) -> None:
        mine = await provisioner.observe()
        await self.optional(self.make_foreign)
        foreign = await self.optional(self.inventory)
        assert await provisioner.observe() == mine
        for tenant in (ADA, BOB):
            await provisioner.ensure(tenant, {})
        for tenant in (ADA, BOB):
            await provisioner.remove(tenant)
        assert await self.optional(self.inventory) >= foreign

    async def test_a_server_out_of_reach_is_unavailable(self) -> None:
        away = await self.optional(self.unreachable)
        await self.says_so(
            Unavailable,
            away,
            away.observe,
            lambda: away.ensure(ADA, {}),
            lambda: away.remove(ADA),
            away.check,
        )

    async def test_data_stays_when_ensured_again(
        self, provisioner: Provisioner, make_provisioner: MakeProvisioner
    ) -> None:
        await self.optional(self.put, await provisioner.ensure(ADA, {}), "hello")
        async with make_provisioner() as successor:
            assert await self.optional(self.get, await successor.ensure(ADA, {})) == "hello"

    @PAIRS
    async def test_data_is_its_tenants_own(
        self, provisioner: Provisioner, one: Tenant, other: Tenant
    ) -> None:
        await self.optional(self.put, await provisioner.ensure(one, {}), "hello")
        assert await self.optional(self.get, await provisioner.ensure(other, {})) is None

    async def test_data_goes_with_its_tenant(self, provisioner: Provisioner) -> None:
        await self.optional(self.put, await provisioner.ensure(ADA, {}), "hello")
        await provisioner.remove(ADA)
        assert await self.optional(self.get, await provisioner.ensure(ADA, {})) is None


async def _seconds_of_an_ensure(provisioner: Provisioner) -> float:
    before = monotonic()
    await provisioner.ensure(ADA, {})
    took = monotonic() - before
    await provisioner.remove(ADA)
    return took


@dataclass
class Box:
    """A resource of the `MemoryProvisioner`. `tenant`: None if it is somebody else's."""

    tenant: Tenant | None
    text: str | None = None


class MemoryProvisioner(Provisioner):
    """Gives each tenant a box in a dict.

    `server`: the boxes by name; give the same dict to another one and it stands for a new start
    with the same server. `problem`: what every call raises, to play a server that is out of
    reach.
    """

    name = "memory"
    variables = frozenset({"MEMORY_URL"})

    def __init__(self, server: dict[str, Box] | None = None) -> None:
        self.server: dict[str, Box] = {} if server is None else server
        self.problem: ProviderError | None = None

    @property
    def tenants(self) -> set[Tenant]:
        return {box.tenant for box in self.server.values() if box.tenant}

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def observe(self) -> set[Tenant]:
        await self.check()
        return self.tenants

    def check_options(self, options: Mapping[str, object]) -> None:
        if options:
            raise Rejected(f"{self.name}: unknown option {', '.join(options)}; there are none")

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        await self.check()
        self.check_options(options)
        name = names.database(tenant)
        box = self.server.setdefault(name, Box(tenant))
        if box.tenant != tenant:
            raise Rejected(f"memory: there is a box {name} that is not Kennel's: remove it")
        return {"MEMORY_URL": Secret(f"memory:///{name}")}

    async def remove(self, tenant: Tenant) -> None:
        await self.check()
        name = names.database(tenant)
        if name in self.server and self.server[name].tenant == tenant:
            del self.server[name]
