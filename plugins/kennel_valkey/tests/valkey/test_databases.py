"""One database of a server for each tenant, on every release."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from kennel_valkey import DatabaseProvisioner
from kennel_valkey.server import MARK
from valkey import exceptions

from kennel.domain import Env, Ref, Tenant
from kennel.errors import Rejected
from kennel.plugin import Provisioner
from kennel.plugin.settings import Host
from kennel.testing import MakeProvisioner, ProvisionerContract, valkey_server
from kennel.testing.valkey import Release, ValkeyServer
from kennel.testing.valkey_client import admin, keys, number_in, opened, url_of, users

MakeDatabases: TypeAlias = Callable[..., DatabaseProvisioner]
GONE = (exceptions.ConnectionError, exceptions.AuthenticationError)

ADA = Tenant("lovelace", Ref.branch("main"))
BOB = Tenant("lovelace", Ref.pull_request(42))
MANY = [Tenant("many", Ref.branch(f"b-{number}")) for number in range(100)]


def book(host: Host) -> Path:
    return host.state_dir / "valkey" / "databases.json"


class TestContract(ProvisionerContract):
    server: ValkeyServer
    make: MakeDatabases
    host: Host

    @pytest.fixture(autouse=True)
    def scene(self, make: MakeDatabases, host: Host) -> None:
        self.make, self.host = make, host

    @pytest.fixture
    def make_provisioner(self, server: ValkeyServer) -> MakeProvisioner:
        self.server = server
        return lambda: self.make(server)

    def inventory(self) -> set[str]:
        file = book(self.host)
        entries = json.loads(file.read_text())["tenants"] if file.exists() else {}
        there = {f"{number}: {key}" for number, names in keys(self.server).items() for key in names}
        return users(self.server) | set(entries) | there

    def make_foreign(self) -> None:
        with admin(self.server) as client:
            for name in ("kennel_lovelace_mai", "kennel_lovelace_main_", "kennelX_lovelace_main"):
                client.execute_command("ACL", "SETUSER", name, "on", "nopass", "~*", "+@all")
        for number in (1, 3):
            with admin(self.server, number) as client:
                client.execute_command("SET", "kennel_lovelace_main", "foreign")

    def unreachable(self) -> Provisioner:
        return self.make("unix:///nowhere/valkey.sock")

    def put(self, env: Env, text: str) -> None:
        with opened(url_of(env)) as client:
            client.execute_command("SET", "word", text)

    def get(self, env: Env) -> str | None:
        with opened(url_of(env)) as client:
            word: str | None = client.execute_command("GET", "word")
            return word


async def test_a_hundred_at_once_get_a_hundred_numbers(
    release: Release, make: MakeDatabases, host: Host
) -> None:
    with valkey_server(release, databases=101) as server:
        async with make(server) as one, make(server) as other:
            envs = await asyncio.gather(
                *((one, other)[i % 2].ensure(tenant, {}) for i, tenant in enumerate(MANY))
            )
            assert sorted(map(number_in, envs)) == list(range(1, 101))
            again = await asyncio.gather(*(other.ensure(tenant, {}) for tenant in MANY))
            assert again == envs
            assert await one.observe() == set(MANY)
            with pytest.raises(Rejected, match=r"all 101 databases .* larger `databases`"):
                await one.ensure(ADA, {})
            assert ADA not in await one.observe()
            await asyncio.gather(*(one.remove(tenant) for tenant in MANY[:50]))
            assert await other.observe() == set(MANY[50:])
        assert len(users(server)) == 52
        assert len(json.loads(book(host).read_text())["tenants"]) == 50


async def test_the_last_number_is_freed_and_empty(release: Release, make: MakeDatabases) -> None:
    with valkey_server(release, databases=2) as server:
        async with make(server) as provisioner:
            ada = await provisioner.ensure(ADA, {})
            with opened(url_of(ada)) as client:
                client.execute_command("SET", "word", "hers")
            with pytest.raises(Rejected, match="all 2 databases"):
                await provisioner.ensure(BOB, {})
            await provisioner.remove(ADA)
            bob = await provisioner.ensure(BOB, {})
            assert number_in(bob) == number_in(ada) == 1
            with opened(url_of(bob)) as client:
                assert client.execute_command("DBSIZE") == 0


async def test_removal_touches_no_other_database(server: ValkeyServer, make: MakeDatabases) -> None:
    async with make(server, reserved=[1, 2]) as provisioner:
        with admin(server, 7) as client:
            client.execute_command("SET", "others", "stays")
        envs = [await provisioner.ensure(tenant, {}) for tenant in (ADA, BOB)]
        assert [number_in(env) for env in envs] == [3, 4]
        for env in envs:
            with opened(url_of(env)) as client:
                client.execute_command("SET", "word", "mine")
        await provisioner.remove(ADA)
        assert keys(server) == {4: {"word"}, 7: {"others"}}


async def test_a_database_with_keys_is_never_given_out(
    server: ValkeyServer, make: MakeDatabases
) -> None:
    for number in (1, 3):
        with admin(server, number) as client:
            client.execute_command("SET", "others", "stays")
    async with make(server) as provisioner:
        envs = [await provisioner.ensure(tenant, {}) for tenant in (ADA, BOB)]
        assert [number_in(env) for env in envs] == [2, 4]


async def test_removal_ends_the_connections_of_the_tenant_alone(
    server: ValkeyServer, make: MakeDatabases
) -> None:
    async with make(server) as provisioner:
        ada, bob = [url_of(await provisioner.ensure(tenant, {})) for tenant in (ADA, BOB)]
        with opened(ada) as hers, opened(bob) as his:
            blocked = asyncio.create_task(
                asyncio.to_thread(hers.execute_command, "BLPOP", "queue", 0)
            )
            his.execute_command("SET", "word", "his")
            (his_id,) = {his.execute_command("CLIENT", "ID")}
            await asyncio.sleep(0.1)
            await provisioner.remove(ADA)
            with pytest.raises(GONE):
                await asyncio.wait_for(blocked, 5)
            with pytest.raises(GONE):
                hers.execute_command("SET", "word", "hers")
            assert his.execute_command("GET", "word") == "his"
            assert his.execute_command("CLIENT", "ID") == his_id
        assert keys(server) == {2: {"word"}}


async def test_ensuring_again_ends_no_connection(server: ValkeyServer, make: MakeDatabases) -> None:
    async with make(server) as provisioner:
        env = await provisioner.ensure(ADA, {})
        with opened(url_of(env)) as client, client.pubsub() as subscribed:
            subscribed.subscribe(env["VALKEY_CHANNELS"].value + "news")
            assert subscribed.get_message(timeout=2)["type"] == "subscribe"
            await provisioner.ensure(ADA, {})
            client.execute_command("PUBLISH", env["VALKEY_CHANNELS"].value + "news", "extra")
            assert subscribed.get_message(timeout=2)["data"] == "extra"


async def test_a_pass_with_nothing_to_do_asks_once(
    server: ValkeyServer, make: MakeDatabases
) -> None:
    async with make(server) as provisioner:
        for tenant in MANY[:20]:
            await provisioner.ensure(tenant, {})
        with admin(server) as client:

            def reads() -> int:
                info = client.execute_command("INFO", "stats")
                return int(info.partition("total_reads_processed:")[2].split()[0])

            before, alone = reads(), reads()
            assert await provisioner.lacking(MANY[:20]) == set()
            after = reads()
        assert after - alone - (alone - before) == 1


async def test_a_user_that_was_changed_or_taken_is_lacking(
    server: ValkeyServer, make: MakeDatabases
) -> None:
    async with make(server) as provisioner:
        envs = [await provisioner.ensure(tenant, {}) for tenant in MANY[:3]]
        with admin(server) as client:
            client.execute_command("ACL", "SETUSER", "kennel_many_b-0", "+@all")
            client.execute_command("ACL", "DELUSER", "kennel_many_b-1")
        assert await provisioner.lacking(MANY[:3]) == set(MANY[:2])
        assert [await provisioner.ensure(tenant, {}) for tenant in MANY[:3]] == envs
        assert await provisioner.lacking(MANY[:3]) == set()


async def test_what_it_says_of_resources(server: ValkeyServer, make: MakeDatabases) -> None:
    async with make(server) as provisioner:
        with opened(url_of(await provisioner.ensure(ADA, {}))) as client:
            client.execute_command("MSET", "a", "1", "b", "2")
        await provisioner.ensure(BOB, {})
        said = [(one.tenant, one.name, one.detail) for one in await provisioner.resources()]
        assert said == [(ADA, "database 1", "2 keys"), (BOB, "database 2", "0 keys")]


class TestHealth:
    async def test_a_default_user_without_password(
        self, server: ValkeyServer, make: MakeDatabases
    ) -> None:
        async with make(server) as provisioner:
            await provisioner.check()
            with admin(server) as client:
                client.execute_command("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*")
            with pytest.raises(Rejected, match=r"set `user default off` in valkey.conf"):
                await provisioner.check()
            with admin(server) as client:
                client.execute_command("ACL", "SETUSER", "default", "resetpass", ">x")
            await provisioner.check()

    async def test_keys_in_database_0(
        self, server: ValkeyServer, make: MakeDatabases, release: Release
    ) -> None:
        async with make(server) as provisioner:
            with admin(server) as client:
                client.execute_command("SET", "stray", "1")
            if release == "valkey-9":
                await provisioner.check()
            else:
                with pytest.raises(Rejected, match="database 0 holds 1 keys"):
                    await provisioner.check()

    async def test_a_wrong_password(self, server: ValkeyServer, make: MakeDatabases) -> None:
        async with make(server.url.replace("of-nobody", "nobodys-secret")) as provisioner:
            with pytest.raises(Rejected, match="does not take Kennel's user") as error:
                await provisioner.check()
            assert "nobodys-secret" not in str(error.value)

    @pytest.mark.parametrize("rules", [["-acl"], ["-function"]], ids=" ".join)
    async def test_a_right_that_is_missing(
        self, server: ValkeyServer, make: MakeDatabases, rules: list[str]
    ) -> None:
        with admin(server) as client:
            client.execute_command(
                "ACL", "SETUSER", "less", "on", ">pw", "~*", "&*", "+@all", *rules
            )
        url = f"unix://less:pw@{server.socket}"
        async with make(url) as provisioner:
            with pytest.raises(Rejected, match=r"may not do enough .* \+@all"):
                await provisioner.ensure(ADA, {})

    async def test_where_config_is_not_allowed_numbers_are_tried_out(
        self, release: Release, make: MakeDatabases
    ) -> None:
        with valkey_server(release, databases=5) as server:
            with admin(server) as client:
                client.execute_command(
                    "ACL", "SETUSER", "less", "on", ">pw", "~*", "&*", "+@all", "-config"
                )
            async with make(f"unix://less:pw@{server.socket}") as provisioner:
                envs = [await provisioner.ensure(tenant, {}) for tenant in MANY[:4]]
                assert [number_in(env) for env in envs] == [1, 2, 3, 4]
                with pytest.raises(Rejected, match="all 5 databases"):
                    await provisioner.ensure(ADA, {})


class TestForeignServer:
    """Nothing is taken over, whichever of the two is not what it was."""

    async def test_a_fresh_state_folder(
        self, server: ValkeyServer, make: MakeDatabases, host: Host
    ) -> None:
        async with make(server) as provisioner:
            env = await provisioner.ensure(ADA, {})
            with opened(url_of(env)) as client:
                client.execute_command("SET", "word", "hers")
        lost = book(host).rename(host.state_dir / "lost")
        async with make(server) as provisioner:
            await refuses_all(provisioner, "is another Kennel's, or that of another state folder")
        assert keys(server) == {1: {"word"}}
        lost.rename(book(host))
        async with make(server) as provisioner:
            assert await provisioner.ensure(ADA, {}) == env

    async def test_an_older_state_folder(
        self, server: ValkeyServer, make: MakeDatabases, host: Host
    ) -> None:
        async with make(server) as provisioner:
            await provisioner.ensure(ADA, {})
            older = book(host).read_text()
            await provisioner.remove(ADA)
            with opened(url_of(await provisioner.ensure(BOB, {}))) as client:
                client.execute_command("SET", "word", "his")
            book(host).write_text(older)
            await refuses_all(provisioner, "older than the server, which has seen 3 more changes")
        assert keys(server) == {1: {"word"}}

    async def test_a_server_with_the_data_of_others(
        self, server: ValkeyServer, make: MakeDatabases, release: Release
    ) -> None:
        async with make(server) as provisioner:
            await provisioner.ensure(ADA, {})
        with valkey_server(release) as another:
            with admin(another, 1) as client:
                client.execute_command("SET", "word", "theirs")
            async with make(another) as provisioner:
                assert await provisioner.lacking({ADA}) == {ADA}
                with pytest.raises(Rejected, match="does not bear Kennel's mark"):
                    await provisioner.ensure(ADA, {})
                with pytest.raises(Rejected, match="does not bear Kennel's mark"):
                    await provisioner.remove(ADA)
            assert keys(another) == {1: {"word"}}
            assert users(another) == {"default", "kennel"}

    async def test_a_user_that_is_called_like_a_tenants(
        self, server: ValkeyServer, make: MakeDatabases
    ) -> None:
        with admin(server) as client:
            client.execute_command("ACL", "SETUSER", "kennel_lovelace_main", "on", ">x")
        async with make(server) as provisioner:
            with pytest.raises(Rejected, match="user kennel_lovelace_main that Kennel did not"):
                await provisioner.ensure(ADA, {})
            assert await provisioner.observe() == set()

    async def test_a_book_that_cannot_be_read(
        self, server: ValkeyServer, make: MakeDatabases, host: Host
    ) -> None:
        async with make(server) as provisioner:
            await provisioner.ensure(ADA, {})
            text = book(host).read_text()
            for broken in (text[:-9], "", text.replace('"version": 1', '"version": 2')):
                book(host).write_text(broken)
                await refuses_all(provisioner, "databases.json")

    async def test_a_mark_that_is_none(self, server: ValkeyServer, make: MakeDatabases) -> None:
        code = f"#!lua name={MARK}\nredis.register_function('x', function() return 1 end)"
        with admin(server) as client:
            client.execute_command("FUNCTION", "LOAD", code)
        async with make(server) as provisioner:
            await refuses_all(provisioner, "is not one of Kennel's")

    async def test_fewer_databases_than_before(self, release: Release, make: MakeDatabases) -> None:
        with valkey_server(release, keeps=True, databases=8) as server:
            async with make(server, reserved=[1, 2, 3]) as provisioner:
                env = await provisioner.ensure(ADA, {})
                server.databases = 4
                server.restart()
                with pytest.raises(Rejected, match="has database 4, and the server has only 4"):
                    await provisioner.ensure(ADA, {})
                server.databases = 5
                server.restart()
                assert await provisioner.ensure(ADA, {}) == env


async def refuses_all(provisioner: Provisioner, why: str) -> None:
    for question in (
        provisioner.check,
        provisioner.observe,
        provisioner.resources,
        lambda: provisioner.lacking({ADA}),
        lambda: provisioner.ensure(ADA, {}),
        lambda: provisioner.remove(ADA),
    ):
        with pytest.raises(Rejected, match=why):
            await question()


@pytest.mark.parametrize("options", [{"url": "http"}, {"memory": "64M"}, {"url": 1}], ids=str)
async def test_options_that_are_wrong(make: MakeDatabases, options: Mapping[str, object]) -> None:
    provisioner = make("unix:///nowhere/valkey.sock")
    with pytest.raises(Rejected, match='it takes url = "unix"'):
        await provisioner.ensure(ADA, options)
