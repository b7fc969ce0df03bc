"""The contracts catch careless providers: each of these breaks one rule, and a test says so."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from hashlib import sha256

import pytest
from blockbuster import BlockingError, blockbuster_ctx

from kennel.domain import Env, Secret, Tenant, names
from kennel.errors import Rejected
from kennel.plugin import DnsProvider
from kennel.testing.dns import IPV4, NAME, DnsProviderContract, MemoryDnsProvider
from kennel.testing.provisioner import (
    LOOKALIKES,
    Box,
    MemoryProvisioner,
    ProvisionerContract,
)
from kennel.testing.secret_source import (
    KEPT,
    MakeSecretSource,
    MemorySecretSource,
    SecretSourceContract,
)

pytest_plugins = ["pytester"]

caught = pytest.raises((AssertionError, BlockingError, pytest.fail.Exception))
PROVISIONER = ProvisionerContract()
SOURCE = SecretSourceContract()
DNS = DnsProviderContract()


class Named(MemoryProvisioner):
    """Names its boxes as the subclass says, and does not look whose they are."""

    def name_of(self, tenant: Tenant) -> str:
        return names.database(tenant)

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        name = self.name_of(tenant)
        self.server[name] = Box(tenant)
        return {"MEMORY_URL": Secret(f"memory:///{name}")}

    async def remove(self, tenant: Tenant) -> None:
        self.server.pop(self.name_of(tenant), None)


class Slugs(Named):
    def name_of(self, tenant: Tenant) -> str:
        return f"{names.slug(tenant.project)}-{names.slug(tenant.ref.short)}"


class Truncated(Named):
    def name_of(self, tenant: Tenant) -> str:
        return f"{tenant.project}/{tenant.ref}"[:63]


class ShortNames(Named):
    def name_of(self, tenant: Tenant) -> str:
        return f"{tenant.project}/{tenant.ref.short}"


class FoldsCase(Named):
    def name_of(self, tenant: Tenant) -> str:
        return str(tenant).lower()


@pytest.mark.parametrize(
    ("careless", "pair"),
    [
        (Slugs, "where the project ends"),
        (Slugs, "a slash and a dash"),
        (Slugs, "an underscore and a dash"),
        (Slugs, "other alphabets"),
        (Truncated, "the end of 200 characters"),
        (ShortNames, "a branch called like a pull request"),
        (FoldsCase, "capitals"),
    ],
)
async def test_names_that_meet(careless: type[Named], pair: str) -> None:
    with caught:
        await PROVISIONER.test_tenants_share_nothing(careless(), *LOOKALIKES[pair])
    with caught:
        await PROVISIONER.test_removing_one_leaves_the_other(careless(), *LOOKALIKES[pair])


class ParsesItsNames(MemoryProvisioner):
    """Reads tenants back from text that does not say everything."""

    async def observe(self) -> set[Tenant]:
        return {Tenant.parse(f"{t.project}/{t.ref.short}") for t in self.tenants}


async def test_a_tenant_that_is_read_back_as_another() -> None:
    for pair in ("a branch called like a pull request", "a branch called like a full name"):
        with caught:
            await PROVISIONER.test_tenants_share_nothing(ParsesItsNames(), *LOOKALIKES[pair])


class Forgetful(MemoryProvisioner):
    """Keeps a password in memory, where a new start does not find it."""

    def __init__(self, server: dict[str, Box] | None = None) -> None:
        super().__init__(server)
        self.password = sha256(str(id(self)).encode()).hexdigest()

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        await super().ensure(tenant, options)
        return {"MEMORY_URL": Secret(self.password + str(tenant))}


async def test_values_that_do_not_survive() -> None:
    server: dict[str, Box] = {}
    with caught:
        await PROVISIONER.test_a_new_start_changes_no_value(
            Forgetful(server), lambda: Forgetful(server)
        )


class Wipes(MemoryProvisioner):
    """Makes everything anew each time."""

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        self.server.pop(names.database(tenant), None)
        return await super().ensure(tenant, options)


class OnServer(ProvisionerContract):
    """The optional methods, for a server that is a dict."""

    def __init__(self) -> None:
        self.server: dict[str, Box] = {}

    def inventory(self) -> set[str]:
        return set(self.server)

    def make_foreign(self) -> None:
        self.server["kennel_lovelace_old"] = Box(None)

    def put(self, env: Env, text: str) -> None:
        self.server[env["MEMORY_URL"].value.rpartition("/")[2]].text = text

    def get(self, env: Env) -> str | None:
        return self.server[env["MEMORY_URL"].value.rpartition("/")[2]].text


async def test_data_that_is_lost() -> None:
    on = OnServer()
    with caught:
        await on.test_data_stays_when_ensured_again(Wipes(on.server), lambda: Wipes(on.server))


class KeepsData(MemoryProvisioner):
    """Forgets who a box belongs to, and keeps what is in it for the next one."""

    async def remove(self, tenant: Tenant) -> None:
        if box := self.server.get(names.database(tenant)):
            box.tenant = None

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        self.server.setdefault(names.database(tenant), Box(tenant)).tenant = tenant
        return await super().ensure(tenant, options)


async def test_data_that_the_next_tenant_finds() -> None:
    on = OnServer()
    with caught:
        await on.test_data_goes_with_its_tenant(KeepsData(on.server))
    with caught:
        await on.test_remove_leaves_nothing(KeepsData(on.server))


class Sweeps(MemoryProvisioner):
    """Takes everything that is called like Kennel's things for Kennel's."""

    async def remove(self, tenant: Tenant) -> None:
        for name in [n for n in self.server if n.startswith(f"kennel_{tenant.project}_")]:
            del self.server[name]


async def test_foreign_things_that_are_swept_away() -> None:
    on = OnServer()
    with caught:
        await on.test_what_is_not_kennels_is_left_alone(Sweeps(on.server))


class MarksLast(MemoryProvisioner):
    """Makes the box first and marks it a little later."""

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        box = self.server.setdefault(names.database(tenant), Box(None))
        await asyncio.sleep(0.05)
        box.tenant = tenant
        return await super().ensure(tenant, options)


async def test_things_that_are_not_observed_in_part() -> None:
    on = OnServer()
    with caught:
        await on.test_what_is_there_in_part_is_observed(MarksLast(on.server), part=0.4)


class ChecksThenMakes(MemoryProvisioner):
    """Falls over when somebody else is quicker."""

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        there = names.database(tenant) in self.server
        await asyncio.sleep(0)
        if not there:
            assert names.database(tenant) not in self.server, "exists already"
        return await super().ensure(tenant, options)


async def test_two_at_once() -> None:
    server: dict[str, Box] = {}
    with caught:
        await PROVISIONER.test_one_tenant_may_be_ensured_twice_at_once(
            ChecksThenMakes(server), lambda: ChecksThenMakes(server)
        )


class Undeclared(MemoryProvisioner):
    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        return {**await super().ensure(tenant, options), "EXTRA": Secret("1")}


class Multiline(MemoryProvisioner):
    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        return {"MEMORY_URL": Secret("a\nB=c")}


@pytest.mark.parametrize("careless", [Undeclared, Multiline])
async def test_variables_that_were_not_promised(careless: type[MemoryProvisioner]) -> None:
    with caught:
        await PROVISIONER.test_sets_the_variables_it_declares(careless())


class Lenient(Named):
    """Takes any option for granted."""


async def test_options_that_nobody_reads() -> None:
    with caught:
        await PROVISIONER.test_an_unknown_option_is_rejected(Lenient())


class Blocks(MemoryProvisioner):
    async def observe(self) -> set[Tenant]:
        time.sleep(0.001)
        return self.tenants


async def test_blocking_the_loop() -> None:
    with blockbuster_ctx(), caught:
        await PROVISIONER.test_ensured_tenants_are_observed(Blocks())


async def test_removing_too_little() -> None:
    class Keeps(MemoryProvisioner):
        async def remove(self, tenant: Tenant) -> None: ...

    with caught:
        await PROVISIONER.test_remove_may_be_repeated(Keeps())


def test_the_one_fixture_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from kennel.testing import (
            DnsProviderContract, ProvisionerContract, SecretSourceContract
        )

        class TestRedis(ProvisionerContract): ...
        class TestPass(SecretSourceContract): ...
        class TestBind(DnsProviderContract): ...
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", "-k", "is_well")
    result.stdout.fnmatch_lines_random(
        [
            "*TestRedis needs a fixture called make_provisioner that returns what makes a Prov*",
            "*TestPass needs a fixture called make_source that returns what makes a SecretSource*",
            "*TestBind needs a fixture called make_dns_provider that returns what makes a Dns*",
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_optional_methods_are_skipped_with_their_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from kennel.testing import MemoryProvisioner, ProvisionerContract

        class TestBare(ProvisionerContract):
            @pytest.fixture
            def make_provisioner(self):
                server = {}
                return lambda: MemoryProvisioner(server)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", "-rs")
    for method in ("inventory", "make_foreign", "unreachable", "put"):
        result.stdout.fnmatch_lines([f"*TestBare has no method {method}()"])
    assert result.ret == pytest.ExitCode.OK


class OneDrawer(MemorySecretSource):
    """Looks in every project."""

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        everything = {k: v for kept in self.kept.values() for k, v in kept.items()}
        return {name: Secret(everything[name]) for name in names if name in everything}


class Paths(MemorySecretSource):
    """Builds a path from the name, as one would for a folder or an HTTP API."""

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        found = {}
        for name in names:
            parts: list[str] = []
            for part in f"{project}/{profile}/{name}".split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            match parts:
                case [one, two, key] if key in self.kept.get((one, two), {}):
                    found[name] = Secret(self.kept[one, two][key])
        return found


class Everything(MemorySecretSource):
    """Answers more than it was asked."""

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        return {name: Secret(v) for name, v in self.kept.get((project, profile), {}).items()}


class Blanks(MemorySecretSource):
    """Answers with something for what is not there."""

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        kept = self.kept.get((project, profile), {})
        return {name: Secret(kept.get(name, "")) for name in names}


class Strips(MemorySecretSource):
    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        env = await super().resolve(project, profile, names)
        return {name: Secret(secret.value.splitlines()[0]) for name, secret in env.items()}


class Shows(MemorySecretSource):
    def __repr__(self) -> str:
        return f"Shows({self.kept})"


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (OneDrawer, lambda m: SOURCE.test_others_see_nothing(m, "shop", "staging")),
        (OneDrawer, lambda m: SOURCE.test_a_project_and_profile_see_their_own(m, "shop", "prod")),
        (Paths, lambda m: SOURCE.test_no_name_leads_elsewhere(m, "../prod/PLAIN")),
        (Everything, SOURCE.test_only_what_was_asked_for_comes_back),
        (Blanks, SOURCE.test_names_that_are_not_there_are_left_out),
        (Strips, lambda m: SOURCE.test_values_come_back_as_they_are(m, "LINES")),
        (Shows, SOURCE.test_values_are_never_shown),
        (lambda _: MemorySecretSource(KEPT), SOURCE.test_a_new_value_is_seen_by_a_new_start),
    ],
)
async def test_careless_sources(
    make: MakeSecretSource, check: Callable[[MakeSecretSource], Awaitable[None]]
) -> None:
    with caught:
        await check(make)


async def test_a_source_that_takes_sealed_for_empty() -> None:
    class Sealed(SecretSourceContract):
        def unreachable(self) -> MemorySecretSource:
            return MemorySecretSource()

    with caught:
        await Sealed().test_a_source_that_cannot_tell_says_so()


class EndsWith(MemoryDnsProvider):
    def covers(self, host: str) -> bool:
        return any(host.endswith(zone) for zone in self.zones)


class TakesOver(MemoryDnsProvider):
    async def ensure(self, host: str, target: str) -> None:
        self.server[host] = target, True


class RemovesAnything(MemoryDnsProvider):
    async def remove(self, host: str) -> None:
        self.server.pop(host, None)


class ShowsAll(MemoryDnsProvider):
    async def observe(self) -> Mapping[str, str]:
        return {host: target for host, (target, _) in self.server.items()}


class FirstWins(MemoryDnsProvider):
    async def ensure(self, host: str, target: str) -> None:
        await super().ensure(host, self.server.get(host, (target, True))[0])


class Adds(MemoryDnsProvider):
    """Takes a second record of a host for a mistake."""

    async def ensure(self, host: str, target: str) -> None:
        if host in self.server:
            raise Rejected(f"{host} exists")
        await super().ensure(host, target)


def zone_of(kind: type[MemoryDnsProvider]) -> Callable[[Mapping[str, str]], DnsProvider]:
    server: dict[str, tuple[str, bool]] = {}

    def make(foreign: Mapping[str, str]) -> DnsProvider:
        server.update({host: (target, False) for host, target in foreign.items()})
        return kind(["example.org"], server)

    return make


@pytest.mark.parametrize(
    ("careless", "check"),
    [
        (EndsWith, DNS.test_a_zone_ends_where_a_label_does),
        (TakesOver, lambda m: DNS.test_foreign_records_are_rejected_and_stay(m, NAME)),
        (TakesOver, DNS.test_a_host_outside_its_zones_is_rejected),
        (RemovesAnything, lambda m: DNS.test_foreign_records_are_rejected_and_stay(m, IPV4)),
        (ShowsAll, lambda m: DNS.test_foreign_records_are_rejected_and_stay(m, IPV4)),
        (FirstWins, lambda m: DNS.test_a_target_may_change(m, IPV4, NAME)),
    ],
)
async def test_careless_dns_providers(
    careless: type[MemoryDnsProvider],
    check: Callable[[Callable[[Mapping[str, str]], DnsProvider]], Awaitable[None]],
) -> None:
    with caught:
        await check(zone_of(careless))


async def test_a_record_that_cannot_be_repeated() -> None:
    with pytest.raises(Rejected):
        await DNS.test_ensure_may_be_repeated(zone_of(Adds), IPV4)
