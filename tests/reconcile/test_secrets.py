"""Secrets of deployments: looked up at every start, and never started without."""

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kennel.domain import Env, Manifest, Ref, Reference, Secret, SecretSpec, Tenant, Unit
from kennel.errors import Rejected, Unavailable
from kennel.secrets import Grants, read
from kennel.store import builds, tenants
from kennel.testing.memory_supervisor import Say
from kennel.testing.secret_source import MemorySecretSource

if TYPE_CHECKING:
    from tests.reconcile.conftest import Eventually, Serving, Town

MAIN, PULL = Ref.branch("main"), Ref.pull_request(42)
SHOP = Tenant("shop", MAIN)
PROD = ("shop", "prod")
SHARED = Reference(item="shared/smtp", field="password")


class Store(MemorySecretSource):
    """A source that shares, too, and notes what it is asked for."""

    def __init__(self, **values: str) -> None:
        super().__init__({PROD: values})
        self.asked: list[tuple[str, str, list[str]]] = []
        self.common: dict[Reference, str] = {}

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        self.asked.append((project, profile, sorted(names)))
        return await super().resolve(project, profile, names)

    async def shared(
        self, project: str, profile: str, wanted: Collection[Reference]
    ) -> Mapping[Reference, Secret]:
        await self.check()
        return {one: Secret(self.common[one]) for one in wanted if one in self.common}

    def set(self, **values: str) -> None:
        self.kept[PROD] = {**self.kept[PROD], **values}


class Second(Store):
    name = "second"


@pytest.fixture
def source(town: "Town") -> Store:
    store = Store(KEY="k-1")
    use(town, store)
    return store


def use(town: "Town", *sources: Store, forks: bool = False) -> None:
    names = tuple(sorted(one.name for one in sources))
    town.secrets = sources
    town.grants = lambda project: Grants(
        project=project, sources=names, shared=("shared/*",), forks=forks
    )
    town.restarted()


def spec(text: str) -> SecretSpec:
    return read(text, Grants(project="shop", sources=("memory", "second"), shared=("shared/*",)))


NEEDED = spec("[secrets]\nKEY = {}\n")


def envs(town: "Town") -> dict[str, dict[str, str]]:
    """Return what each service that runs found in its environment."""
    return {
        one.unit.key.name: {name: secret.value for name, secret in one.env.items()}
        for one in town.supervisor.host.units.values()
    }


async def deployed(town: "Town", manifest: Manifest, secrets: SecretSpec, **more: object) -> str:
    """Deploy, and return why it failed, or "" if it did not."""
    number = await town.built(manifest, secrets=secrets, **more)  # type: ignore[arg-type]
    await town.settle()
    return (await town.build(number)).reason


async def test_a_service_finds_its_secrets(town: "Town", source: Store, serving: "Serving") -> None:
    secrets = spec('[secrets]\nKEY = {}\nLEVEL = { default = "info" }\nNOT = { required = false }')
    assert await deployed(town, serving("api"), secrets) == ""
    found = envs(town)["api"]
    assert (found["KEY"], found["LEVEL"]) == ("k-1", "info")
    assert "NOT" not in found
    assert source.asked == [("shop", "prod", ["KEY", "LEVEL", "NOT"])]


async def test_who_declares_none_asks_nobody(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    await town.built(serving("api"))
    await town.settle()
    assert source.asked == []


async def test_the_order_of_variables(town: "Town", source: Store, serving: "Serving") -> None:
    """Manifest, then secrets, then what is provisioned, then Kennel's own."""
    source.set(MEMORY_URL="mine", BOTH="secret", ONLY="s")
    manifest = serving("api", resources=("memory",))
    environment = {"BOTH": "manifest", "PLAIN": "manifest"}
    service = type(manifest.services["api"])(
        name="api", package="api", ready=manifest.services["api"].ready, environment=environment
    )
    manifest = Manifest(services={"api": service}, resources=manifest.resources)
    given = next(iter(town.provisioner.variables))
    secrets = spec(f"[secrets]\nBOTH = {{}}\nONLY = {{}}\n{given} = {{ default = 'mine' }}")
    assert await deployed(town, manifest, secrets) == ""
    found = envs(town)["api"]
    assert (found["PLAIN"], found["BOTH"], found["ONLY"]) == ("manifest", "secret", "s")
    assert found[given] != "mine"
    assert found["KENNEL_ENVIRONMENT"] == "prod"


async def test_all_that_is_missing_is_told_and_what_is_live_stays(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    assert await deployed(town, serving("api"), NEEDED) == ""
    before = await town.live()
    more = spec('[secrets]\nKEY = {}\nA = {}\nB = { required = true }\nC = { composed = "${A}!" }')
    why = await deployed(town, serving("api"), more, version=2)
    assert why.startswith("secrets are missing in the profile prod:\n")
    assert "\n  A: looked for at memory shop/prod/A\n  B: looked for at memory shop/prod/B\n" in why
    assert why.endswith("`secretspec set -P prod A`, then `kennel redeploy shop main`")
    assert "k-1" not in why
    assert "KEY" not in why
    assert await town.live() == before
    assert envs(town)["api"]["KEY"] == "k-1"


async def test_nothing_is_made_for_what_lacks_its_secrets(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    manifest = serving("api", resources=("memory",))
    assert "OTHER" in await deployed(town, manifest, spec("[secrets]\nOTHER = {}"))
    assert await town.provisioner.observe() == set()


async def test_no_source_is_on(town: "Town", serving: "Serving") -> None:
    why = await deployed(town, serving("api"), NEEDED)
    assert "KEY: no source of secrets is on: an operator turns one on" in why
    assert await deployed(town, serving("api"), spec("[secrets]\nKEY = {required = false}")) == ""


@pytest.mark.parametrize("required", ["true", "false"])
async def test_a_source_that_cannot_tell_is_waited_for(
    town: "Town",
    source: Store,
    serving: "Serving",
    eventually: "Eventually",
    required: str,
) -> None:
    """It is never taken for a secret that is not there, not even for an optional one."""
    source.problem = Unavailable("memory: it is sealed")
    number = await town.built(
        serving("api"), secrets=spec(f"[secrets]\nKEY = {{ required = {required} }}")
    )

    async def waits() -> bool:
        return town.reconciler.troubles == {SHOP: "memory: it is sealed"}

    async with asyncio.TaskGroup() as group:
        run = group.create_task(town.reconciler.run())
        await eventually(waits)
        assert (await town.build(number)).state == "built"
        assert await town.units() == set()
        source.problem = None
        await eventually(partial(_is_done, town, number))
        run.cancel()
    assert envs(town)["api"]["KEY"] == "k-1"


async def _is_done(town: "Town", number: int) -> bool:
    return (await town.build(number)).state == "done"


async def test_a_source_that_refuses_fails_the_deployment(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.problem = Rejected("memory: permission denied for shop/prod")
    assert await deployed(town, serving("api"), NEEDED) == "memory: permission denied for shop/prod"


async def test_after_a_reboot_nothing_starts_without_its_secrets(
    town: "Town", source: Store, serving: "Serving", eventually: "Eventually"
) -> None:
    """Who needs none starts at once; who does starts as soon as the store is unsealed."""
    assert await deployed(town, serving("api"), NEEDED) == ""
    assert await deployed(town, serving("api"), SecretSpec(), project="plain") == ""
    for unit in await town.units():
        await town.supervisor.remove(unit)
    source.problem = Unavailable("memory: it is sealed")
    town.restarted()

    async def others_run() -> bool:
        return len(await town.units()) == 1 and SHOP in town.reconciler.troubles

    async def all_run() -> bool:
        return len(await town.units()) == 2

    async with asyncio.TaskGroup() as group:
        run = group.create_task(town.reconciler.run())
        await eventually(others_run)
        await asyncio.sleep(1.2)  # it is tried again meanwhile
        assert await others_run()
        source.problem = None
        source.set(KEY="k-2")
        await eventually(all_run)
        run.cancel()
    found = [one.env for one in town.supervisor.host.units.values() if "KEY" in one.env]
    assert [env["KEY"].value for env in found] == ["k-2"]


async def test_what_runs_goes_on_while_the_source_is_sealed(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    assert await deployed(town, serving("api"), NEEDED) == ""
    running = await town.units()
    source.problem = Unavailable("memory: it is sealed")
    town.restarted()
    await town.settle()
    assert await town.units() == running
    assert town.reconciler.troubles == {}


async def again(town: "Town", number: int) -> None:
    assert await town.store.write(partial(builds.again, build_id=number, now=9.0))
    await town.settle()
    assert (await town.build(number)).state == "done"


async def test_only_what_changed_is_replaced(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.set(OTHER="o-1")
    secrets = spec(
        '[secrets]\nKEY = {}\nOTHER = {}\n[scopes.api]\nsecrets = ["KEY"]\n'
        '[scopes.web]\nsecrets = ["OTHER"]'
    )
    number = await town.built(serving("api", "web"), secrets=secrets)
    await town.settle()
    before = await town.units()
    assert envs(town)["api"].keys() & {"KEY", "OTHER"} == {"KEY"}
    assert envs(town)["web"].keys() & {"KEY", "OTHER"} == {"OTHER"}
    await again(town, number)
    assert await town.units() == before, "nothing has changed"
    source.set(KEY="k-2")
    await again(town, number)
    found = envs(town)
    assert (found["api"]["KEY"], found["web"]["OTHER"]) == ("k-2", "o-1")
    left = before & await town.units()
    assert [unit for unit in left if "--web--" in unit] == [*left]
    assert len(left) == 1


async def test_a_value_that_becomes_a_file_is_a_change(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    await deployed(town, serving("api"), NEEDED)
    before = await town.units()
    await deployed(town, serving("api"), spec("[secrets]\nKEY = { as_path = true }"))
    assert await town.units() & before == set()
    [unit] = town.supervisor.host.units.values()
    assert unit.env["KEY"] == Secret("k-1", as_path=True)


async def test_references_reach_what_is_shared_and_what_is_its_own(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.common[SHARED] = "mail"
    secrets = spec(
        '[secrets]\nMAIL = { ref = { item = "shared/smtp", field = "password" } }\n'
        '[profiles.prod]\nOLD = { ref = { item = "secretspec/shop/prod/KEY" } }'
    )
    assert await deployed(town, serving("api"), secrets) == ""
    assert (envs(town)["api"]["MAIL"], envs(town)["api"]["OLD"]) == ("mail", "k-1")
    town.grants = lambda project: Grants(project=project, sources=("memory",))
    town.restarted()
    why = await deployed(town, serving("api"), secrets, version=2)
    assert "MAIL refers to shared/smtp, which is not shared with shop" in why
    del source.common[SHARED]
    use(town, source)
    why = await deployed(town, serving("api"), secrets, version=3)
    assert "  MAIL: looked for at memory shared/smtp, field password\n" in why


async def test_sources_are_asked_in_order_for_what_is_still_missing(
    town: "Town", serving: "Serving"
) -> None:
    first, second = Store(A="1"), Second(A="2", B="2")
    second.kept[PROD] = {"A": "2", "B": "2", "C": "2"}
    use(town, first, second)
    secrets = spec('[secrets]\nA = {}\nB = {}\nC = { providers = ["second"] }')
    assert await deployed(town, serving("api"), secrets) == ""
    found = envs(town)["api"]
    assert (found["A"], found["B"], found["C"]) == ("1", "2", "2")
    assert first.asked == [("shop", "prod", ["A", "B"])]
    assert second.asked == [("shop", "prod", ["C"]), ("shop", "prod", ["B"])]
    use(town, first)
    why = await deployed(town, serving("api"), secrets, version=2)
    assert "the secret C is kept in 'second', which is not on here" in why


async def test_forks_get_none_unless_the_operator_says_so(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.kept["shop", "preview"] = {"KEY": "of previews"}
    why = await deployed(town, serving("api"), NEEDED, ref=PULL, trusted=False)
    assert "secrets are required: KEY. Pull requests from forks get none" in why
    assert source.asked == []
    optional = spec('[secrets]\nKEY = { required = false }\nLEVEL = { default = "info" }')
    assert await deployed(town, serving("api"), optional, ref=PULL, trusted=False) == ""
    assert "KEY" not in envs(town)["api"]
    assert envs(town)["api"]["LEVEL"] == "info"
    use(town, source, forks=True)
    assert await deployed(town, serving("api"), NEEDED, ref=PULL, trusted=False) == ""
    assert source.asked == [("shop", "preview", ["KEY"])]


async def test_what_a_service_says_of_its_secrets_is_not_kept(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.set(KEY="correct-horse")

    async def tells(unit: Unit, env: Env, say: Say) -> None:
        say(f"the key is {env['KEY'].value}")
        raise RuntimeError("it failed")

    town.supervisor._program = tells
    why = await deployed(town, serving("api"), NEEDED)
    assert "the key is [secret]" in why
    assert "correct-horse" not in why


async def test_a_rollback_has_the_secrets_its_build_declares(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.set(NEW="n-1")
    old = await town.built(serving("api"), secrets=NEEDED)
    await town.settle()
    await deployed(town, serving("api"), spec("[secrets]\nNEW = {}"), version=2)
    assert "KEY" not in envs(town)["api"]
    await again(town, old)
    assert envs(town)["api"]["KEY"] == "k-1"
    assert "NEW" not in envs(town)["api"]


async def test_the_store_holds_names_and_no_values(
    town: "Town", source: Store, serving: "Serving"
) -> None:
    source.set(KEY="correct-horse-battery")
    assert await deployed(town, serving("api"), NEEDED) == ""
    record = await town.store.read(partial(tenants.find, tenant=SHOP))
    assert record is not None
    kept = b"".join(path.read_bytes() for path in town.folder.rglob("*") if path.is_file())
    assert b"KEY" in kept
    assert b"correct-horse" not in kept
