"""Who may speak to Kennel."""

from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from kennel.domain import Ref, Repository, Secret
from kennel.domain.record import Project
from kennel.errors import ConfigError
from kennel.registry import Registry, full_name_of, register_configured
from kennel.settings import ProjectTable, Settings
from kennel.store import Store, builds, departures, projects, tenants
from kennel.store.tables import builds as build_rows


def settings(**tables: ProjectTable) -> Settings:
    return Settings(allow=("acme/*",), projects=tables)


async def add(store: Store, full_name: str = "acme/shop", **more: object) -> Project:
    values = {"forge": "forgejo", "full_name": full_name, "clone_url": "https://x", "now": 1.0}
    return await store.write(partial(projects.register, **{**values, **more}))  # type: ignore[arg-type]


async def loaded(store: Store, settings: Settings) -> Registry:
    await register_configured(store, settings, now=1.0)
    registry = Registry(store, settings)
    await registry.load()
    return registry


def sent(full_name: str = "acme/shop", number: str = "7", forge: str = "forgejo") -> Repository:
    return Repository(forge=forge, id=number, full_name=full_name, clone_url="https://x")


def see(db: sa.Connection, project_id: int, ref: Ref) -> None:
    """Let a ref be there, with a build that waits to be deployed."""
    tenants.seen(db, project_id=project_id, ref=ref, trusted=True, now=1.0)
    builds.queue(
        db, project_id=project_id, ref=ref, commit="1" * 40, trusted=True, now=1.0, again=True
    )
    queued = build_rows.c.state == "queued"
    db.execute(sa.update(build_rows).where(queued).values(state="built", built_at=2.0))


async def only(store: Store) -> Project:
    [project] = await store.read(projects.every)
    return project


class TestSecrets:
    async def test_the_shared_one_speaks_for_all_and_an_own_one_for_its_project(
        self, sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOP_SECRET", "own")
        (tmp_path / "secret").write_text("shared\n")
        await add(sqlite_store, secret="env:SHOP_SECRET")
        await add(sqlite_store, "acme/till")
        there = Settings(webhook_secret_file=tmp_path / "secret")
        registry = await loaded(sqlite_store, there)
        assert list(registry.secrets()) == [(None, Secret("shared")), ("shop", Secret("own"))]

    async def test_one_that_cannot_be_read_signs_nothing(self, sqlite_store: Store) -> None:
        """Or whoever knows the shared secret could speak for the project."""
        await add(sqlite_store, secret="env:NOT_THERE")
        with structlog.testing.capture_logs() as logs:
            registry = await loaded(sqlite_store, Settings())
        assert list(registry.secrets()) == [("shop", Secret(""))]
        assert any("NOT_THERE" in str(line.get("reason")) for line in logs)

    @pytest.mark.parametrize("content", [None, " \n"])
    async def test_a_shared_one_that_cannot_be_read_stops_the_start(
        self, sqlite_store: Store, tmp_path: Path, content: str | None
    ) -> None:
        if content is not None:
            (tmp_path / "secret").write_text(content)
        with pytest.raises(ConfigError, match="webhook_secret_file"):
            Registry(sqlite_store, Settings(webhook_secret_file=tmp_path / "secret"))


class TestProjects:
    async def test_they_are_known_by_number_then_by_name_in_any_case(
        self, sqlite_store: Store
    ) -> None:
        await add(sqlite_store, "acme/shop", forge_id="7")
        await add(sqlite_store, "acme/till")
        registry = await loaded(sqlite_store, settings())
        assert registry.project_of(sent("acme/renamed", "7")) == "shop"
        assert registry.project_of(sent("Acme/Till", "8")) == "till"
        assert registry.project_of(sent("acme/shop", "9")) is None
        assert registry.project_of(sent("acme/shop", "7", forge="github")) is None

    async def test_some_may_register_themselves(self, sqlite_store: Store) -> None:
        registry = await loaded(sqlite_store, settings())
        assert registry.admits(sent("Acme/New"))
        assert not registry.admits(sent("eve/new"))

    async def test_hosts_are_those_in_the_table(self, sqlite_store: Store) -> None:
        registry = await loaded(sqlite_store, settings())
        assert not registry.knows_host("shop.example.net")
        registry.serve(frozenset({"shop.example.net"}))
        assert registry.knows_host("shop.example.net")


class TestTheFile:
    async def test_what_it_lists_is_registered(self, sqlite_store: Store) -> None:
        table = ProjectTable(url="https://git.example/acme/shop.git", domains=("shop.example",))
        await loaded(sqlite_store, settings(store=table))
        project = await only(sqlite_store)
        assert (project.name, project.full_name) == ("store", "acme/shop")
        assert project.domains == ("shop.example",)

    async def test_what_it_says_changes_what_is_known(self, sqlite_store: Store) -> None:
        await add(sqlite_store, domains=("old.example",), token="env:OLD")
        table = ProjectTable(url="https://new.example/acme/shop.git", previews=False)
        await loaded(sqlite_store, settings(shop=table))
        project = await only(sqlite_store)
        assert (project.domains, project.token, project.previews) == ((), None, False)
        assert project.clone_url == "https://new.example/acme/shop.git"

    async def test_a_project_that_registers_itself_has_what_it_grants_at_once(
        self, sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its own secret above all: until it is known, the shared one would do."""
        monkeypatch.setenv("SHOP_SECRET", "own")
        table = ProjectTable(secret="env:SHOP_SECRET", domains=("shop.example",))
        registry = await loaded(sqlite_store, settings(shop=table))
        await add(sqlite_store, forge_id="7")
        await registry.load()
        assert (await only(sqlite_store)).domains == ("shop.example",)
        assert list(registry.secrets()) == [("shop", Secret("own"))]
        before = sqlite_store.changes
        await registry.load()
        assert sqlite_store.changes == before

    @pytest.mark.parametrize("when", ["at-the-start", "once-it-is-registered"])
    async def test_previews_that_are_there_go_when_they_are_switched_off(
        self, sqlite_store: Store, when: str
    ) -> None:
        off = settings(shop=ProjectTable(previews=False))
        registry = await loaded(sqlite_store, off) if when != "at-the-start" else None
        shop = await add(sqlite_store, forge_id="7")
        refs = [Ref.branch("main"), Ref.branch("fix"), Ref.pull_request(7)]
        for ref in refs:
            await sqlite_store.write(partial(see, project_id=shop.id, ref=ref))
        await (registry.load() if registry else loaded(sqlite_store, off))
        found = {one.tenant.ref: one for one in await sqlite_store.read(tenants.every)}
        assert [found[ref].wanted for ref in refs] == [True, False, False]
        assert all(found[ref].confirmed for ref in refs[1:]), "nobody is asked again"
        states = [build.state for build in await sqlite_store.read(builds.recent)]
        assert sorted(states) == ["built", "cancelled", "cancelled"]

    async def test_previews_come_back_when_they_are_switched_on_again(
        self, sqlite_store: Store
    ) -> None:
        """With the next look at the repository: nothing says that they left."""
        shop = await add(sqlite_store, forge_id="7")
        await sqlite_store.write(partial(see, project_id=shop.id, ref=Ref.branch("fix")))
        await loaded(sqlite_store, settings(shop=ProjectTable(previews=False)))
        await loaded(sqlite_store, settings(shop=ProjectTable()))
        assert (await only(sqlite_store)).previews
        assert await sqlite_store.read(partial(departures.of_project, project_id=shop.id)) == {}

    async def test_another_repository_of_that_name_is_granted_nothing(
        self, sqlite_store: Store
    ) -> None:
        await add(sqlite_store, "evil/shop", forge_id="666")
        table = ProjectTable(url="https://git.example/acme/shop.git", token="env:TOKEN")
        with structlog.testing.capture_logs() as logs:
            await loaded(sqlite_store, settings(shop=table))
        project = await only(sqlite_store)
        assert (project.token, project.clone_url) == (None, "https://x")
        assert [line["repository"] for line in logs] == ["evil/shop"]

    async def test_what_was_removed_and_is_listed_is_there_again(self, sqlite_store: Store) -> None:
        await add(sqlite_store)
        await sqlite_store.write(partial(projects.remove, name="shop"))
        await loaded(sqlite_store, settings(shop=ProjectTable(url="https://x/acme/shop")))
        assert not (await only(sqlite_store)).removed

    async def test_one_repository_under_two_names_stops_the_start(
        self, sqlite_store: Store
    ) -> None:
        table = ProjectTable(url="https://git.example/acme/shop.git")
        with pytest.raises(ConfigError, match=r"\[projects.b\]: .*registered already"):
            await loaded(sqlite_store, settings(a=table, b=table))


@pytest.mark.parametrize(
    ("url", "full_name"),
    [
        ("https://git.example/acme/shop.git", "acme/shop"),
        ("git@git.example:acme/shop.git", "acme/shop"),
        ("ssh://git@git.example:2222/acme/shop", "acme/shop"),
        ("/srv/git/acme/shop.git/", "acme/shop"),
    ],
)
def test_what_a_url_says_of_its_repository(url: str, full_name: str) -> None:
    assert full_name_of(url) == full_name


@pytest.mark.parametrize("url", ["shop", "https://", ""])
def test_a_url_that_says_nothing_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="full_name"):
        full_name_of(url)
