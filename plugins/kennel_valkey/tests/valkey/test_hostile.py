"""A tenant that holds all it was given tries everything on another one, on every release.

What the README says that holds is tried here, and so is what it says that does not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from kennel_valkey import DatabaseProvisioner
from valkey.exceptions import NoPermissionError, ValkeyError

from kennel.domain import Ref, Tenant
from kennel.testing import valkey_server
from kennel.testing.valkey import Release, ValkeyServer
from kennel.testing.valkey_client import Line, admin, line, number_in, url_of

MakeDatabases: TypeAlias = Callable[..., DatabaseProvisioner]
MALLORY = Tenant("lovelace", Ref.branch("main"))
VICTIM = Tenant("lovelace", Ref.pull_request(42))
USER = "kennel_lovelace_pr-42"
SECRETS = ("victims-key", "victims-word", "victims-list", "victims-channel", "victims-name", USER)
SCRIPT = "return redis.call('GET', 'victims-key')"
CONFINED = ("valkey-9",)
"""Releases with rules for databases."""


@dataclass
class Scene:
    """Mallory's way in, and the victim with a connection that is open all the time."""

    server: ValkeyServer
    url: str
    number: int
    victim_url: str
    victim: Line
    victims: int
    script: str

    @contextmanager
    def mallory(self, patience: float = 2.0) -> Iterator[Line]:
        with line(self.url, patience=patience) as mallory:
            yield mallory

    def everything(self) -> dict[str, Any]:
        """Return what must stay as it is, as an administrator sees it."""
        with admin(self.server, self.victims) as client:
            say = client.execute_command
            return {
                "keys": sorted(say("KEYS", "*")),
                "word": say("GET", "victims-key"),
                "list": say("LRANGE", "victims-list", 0, -1),
                "ttl": say("TTL", "victims-key"),
                "users": say("ACL", "LIST"),
                "config": say("CONFIG", "GET", "*"),
                "functions": say("FUNCTION", "LIST", "WITHCODE"),
                "script": say("SCRIPT", "EXISTS", self.script),
                "role": say("ROLE")[0],
            }

    def victim_is_well(self) -> bool:
        """Return whether the same connection goes on, in the same database, with its data."""
        said = [self.victim.say("CLIENT", "GETNAME"), self.victim.say("GET", "victims-key")]
        return said == ["victims-name", "victims-word"]


@pytest.fixture
def server(release: Release) -> Iterator[ValkeyServer]:
    """Start a server that says no to nothing by itself: rights alone hold."""
    more = ("enable-debug-command yes", "enable-module-command yes", "notify-keyspace-events KEA")
    with valkey_server(release, settings=more) as server:
        yield server


@pytest_asyncio.fixture
async def scene(server: ValkeyServer, make: MakeDatabases) -> AsyncIterator[Scene]:
    async with make(server, scripts="always") as provisioner:
        mine = await provisioner.ensure(MALLORY, {})
        theirs = await provisioner.ensure(VICTIM, {})
        with line(url_of(theirs)) as victim:
            victim.say("SET", "victims-key", "victims-word")
            victim.say("RPUSH", "victims-list", "victims-word")
            victim.say("CLIENT", "SETNAME", "victims-name")
            script = victim.say("SCRIPT", "LOAD", SCRIPT)
            yield Scene(
                server=server,
                url=url_of(mine),
                number=number_in(mine),
                victim_url=url_of(theirs),
                victim=victim,
                victims=number_in(theirs),
                script=script,
            )


REFUSED = [
    "SELECT 0|SELECT 1|SELECT 2|SELECT 3|SELECT 63".replace("SELECT 1|", ""),
    "COPY mine mine DB 2|COPY mine other DB 2 REPLACE",
    "MOVE mine 2|MOVE victims-key 1",
    "SWAPDB 1 2|SWAPDB 2 1|SWAPDB 0 2",
    "FLUSHALL|FLUSHALL ASYNC",
    "MIGRATE 127.0.0.1 1 victims-key 2 100",
    "MONITOR",
    "CLIENT LIST|CLIENT KILL USER {user}|CLIENT KILL TYPE normal|CLIENT PAUSE 60000 ALL",
    "CLIENT UNBLOCK 1|CLIENT NO-EVICT on",
    "CLIENT TRACKING ON BCAST|CLIENT TRACKING ON|CLIENT CACHING yes",
    "CONFIG GET *|CONFIG SET maxmemory 1|CONFIG REWRITE|CONFIG RESETSTAT",
    "ACL LIST|ACL USERS|ACL GETUSER {user}|ACL SETUSER {user} nopass|ACL DELUSER {user}",
    "ACL SETUSER kennel_lovelace_main +@all|ACL LOAD|ACL SAVE|ACL LOG|ACL WHOAMI",
    "DEBUG SLEEP 1|DEBUG OBJECT victims-key|DEBUG SEGFAULT|DEBUG RELOAD",
    "SHUTDOWN NOSAVE|BGSAVE|SAVE|BGREWRITEAOF|LASTSAVE",
    "REPLICAOF 127.0.0.1 1|SLAVEOF NO ONE|PSYNC ? -1|SYNC|FAILOVER|ROLE",
    "CLUSTER INFO|CLUSTER RESET|CLUSTER NODES",
    "FUNCTION LIST|FUNCTION FLUSH|FUNCTION DUMP|FUNCTION DELETE kennel_mark|FUNCTION STATS",
    "FCALL kennel_mark 0|FCALL_RO kennel_mark 0",
    "SCRIPT FLUSH|SCRIPT KILL|SCRIPT DEBUG YES",
    "SLOWLOG GET|SLOWLOG RESET|LATENCY DOCTOR|LATENCY RESET|MEMORY DOCTOR|MEMORY STATS",
    "MODULE LIST|MODULE LOAD /lib/x.so",
    "PUBSUB CHANNELS|PUBSUB NUMSUB victims-channel|PUBSUB NUMPAT|PUBSUB SHARDCHANNELS",
    "PUBLISH victims-channel x|PUBLISH {user}:x x|SPUBLISH {user}:x x",
    "SUBSCRIBE victims-channel|SUBSCRIBE {user}:x|SSUBSCRIBE {user}:x",
    "PSUBSCRIBE *|PSUBSCRIBE {user}:*|PSUBSCRIBE __keyspace@2__:*|PSUBSCRIBE __key*",
    "RESTORE victims-key 0 x|RESTORE-ASKING victims-key 0 x",
]
ATTEMPTS = [attempt for row in REFUSED for attempt in row.split("|")]


@pytest.mark.parametrize("way", ["plain", "transaction", "script"])
async def test_what_reaches_beyond_its_own_database_is_refused(scene: Scene, way: str) -> None:
    before = scene.everything()
    let_through = {}
    for attempt in ATTEMPTS:
        words = attempt.format(user=USER).split()
        with scene.mallory() as mallory:
            mallory.say("SET", "mine", "mine")
            answer = tried(mallory, way, words)
        if not isinstance(answer, ValkeyError) or not is_refusal(answer, way):
            let_through[attempt] = answer
        assert scene.victim_is_well(), attempt
    assert let_through == {}
    assert scene.everything() == before


def tried(mallory: Line, way: str, words: list[str]) -> Any:
    if way == "plain":
        return mallory.say(*words)
    if way == "transaction":
        mallory.say("MULTI")
        queued = mallory.say(*words)
        done = mallory.say("EXEC")
        return queued if isinstance(queued, ValkeyError) else (queued, done)
    lua = f"return redis.call({', '.join(map(repr, words))})"
    return mallory.say("EVAL", lua, 0)


ELSEWHERE = {
    "plain": (),
    "transaction": ("not allowed inside a transaction",),
    "script": ("can't run this command", "can't publish", "not allowed from script"),
}
"""What else the server says where a command cannot be used in that way by anybody."""


def is_refusal(answer: ValkeyError, way: str) -> bool:
    return isinstance(answer, NoPermissionError) or any(
        reason in str(answer) for reason in ("permission", *ELSEWHERE[way])
    )


async def test_no_command_there_is_shows_or_changes_anything_of_others(scene: Scene) -> None:
    """Also those that nobody thought of: all that this server has, with all sorts of words."""
    before = scene.everything()
    with admin(scene.server) as client:
        commands = sorted(client.execute_command("COMMAND LIST"))
    words: list[list[object]] = [
        [],
        ["victims-key"],
        ["*"],
        [scene.victims],
        ["victims-key", "victims-key"],
        ["victims-key", scene.victims],
        [0, "MATCH", "*", "COUNT", 1000],
        [scene.script, 0],
        ["USER", USER],
        ["victims-key", 0, "victims-list", "x"],
    ]
    tellers = {"echo", "ping", "client|setname", "client|getname"}  # say what they are told
    tried = 0
    for command in commands:
        if command in tellers:
            continue
        for more in words:
            with scene.mallory(patience=0.1) as mallory:
                mallory.say("FLUSHDB")
                answer = mallory.say(*command.split("|"), *more)
                heard = mallory.hear(0) if not isinstance(answer, ValkeyError) else None
            tried += 1
            if not isinstance(answer, ValkeyError):
                shown = [secret for secret in SECRETS if secret in f"{answer} {heard}"]
                echoed = [str(word) for word in more]
                assert set(shown) <= set(echoed), (command, more, answer)
                assert "victims-word" not in f"{answer} {heard}", (command, more, answer)
    assert tried > 2000
    assert scene.everything() == before
    assert scene.victim_is_well()


@pytest.mark.parametrize(
    "words",
    [
        ["AUTH", "default", ""],
        ["AUTH", "default", "x"],
        ["AUTH", ""],
        ["AUTH", USER, ""],
        ["AUTH", USER, "OWN PASSWORD"],
        ["HELLO", 3, "AUTH", "default", ""],
        ["HELLO", 2, "AUTH", USER, "OWN PASSWORD"],
        ["AUTH", "kennel", "OWN PASSWORD"],
    ],
    ids=lambda words: " ".join(map(str, words)),
)
async def test_nobody_becomes_somebody_else(scene: Scene, words: list[object]) -> None:
    own = scene.url.partition("://")[2].partition("@")[0].partition(":")[2]
    with scene.mallory() as mallory:
        answer = mallory.say(*(own if word == "OWN PASSWORD" else word for word in words))
        assert isinstance(answer, ValkeyError), answer
        mallory.say("RESET")
        assert isinstance(mallory.say("GET", "victims-key"), ValkeyError)
    with line(f"unix://{scene.server.socket}") as nobody:
        assert isinstance(nobody.say("GET", "victims-key"), ValkeyError)


async def test_the_names_of_others_keys_are_not_told_as_they_change(scene: Scene) -> None:
    """Tracking knows no databases: who may have it hears of everybody's keys."""
    with scene.mallory() as mallory:
        mallory.say("HELLO", 3)
        assert isinstance(mallory.say("CLIENT", "TRACKING", "ON", "BCAST"), NoPermissionError)
        scene.victim.say("SET", "victims-key", "victims-word")
        assert mallory.hear() is None


async def test_a_script_of_another_finds_only_ones_own_data(scene: Scene) -> None:
    with scene.mallory() as mallory:
        assert mallory.say("EVALSHA", scene.script, 0) is None
        mallory.say("SET", "victims-key", "mine")
        assert mallory.say("EVALSHA", scene.script, 0) == "mine"
        assert scene.victim.say("EVALSHA", scene.script, 0) == "victims-word"


async def test_its_own_database_is_all_its_own(scene: Scene) -> None:
    with scene.mallory() as mallory:
        for words, answer in (
            ("SELECT 1", "OK"),
            ("SET mine 1", "OK"),
            ("KEYS *", ["mine"]),
            ("SCAN 0", ["0", ["mine"]]),
            ("DBSIZE", 1),
            ("LPUSH queue 2 1", 2),
            ("SORT queue", ["1", "2"]),
            ("BLPOP queue 1", ["queue", "1"]),
            ("RENAME queue list", "OK"),
            ("XADD stream 1-1 a b", "1-1"),
            ("WATCH mine", "OK"),
            ("MULTI", "OK"),
            ("INCR mine", "QUEUED"),
            ("EXEC", [2]),
            ("CLIENT SETNAME x", "OK"),
            ("PING", "PONG"),
            ("PUBLISH kennel_lovelace_main:x y", 0),
            ("PUBLISH /1.celeryev/x y", 0),
            ("PSUBSCRIBE __keyspace@1__:*", ["psubscribe", "__keyspace@1__:*", 1]),
            ("PUNSUBSCRIBE", ["punsubscribe", "__keyspace@1__:*", 0]),
            ("FLUSHDB", "OK"),
            ("DBSIZE", 0),
        ):
            assert mallory.say(*words.split()) == answer, words
        assert "redis_version" in mallory.say("INFO")
        assert mallory.say("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, "k") == "OK"
    assert scene.victim_is_well()


class TestWhatDoesNotHold:
    """Said in the README: each of these would be news if it changed."""

    async def test_before_rules_for_databases_all_meet_in_database_0(
        self, scene: Scene, release: Release
    ) -> None:
        url, victim_url = (url.partition("?")[0] for url in (scene.url, scene.victim_url))
        with line(url) as mallory, line(victim_url) as victim:
            written = mallory.say("SET", "common", "x")
            if release in CONFINED:
                assert isinstance(written, NoPermissionError)
                assert isinstance(victim.say("KEYS", "*"), NoPermissionError)
            else:
                assert written == "OK"
                assert victim.say("GET", "common") == "x"

    async def test_how_many_keys_others_have_is_told(self, scene: Scene) -> None:
        with scene.mallory() as mallory:
            assert f"db{scene.victims}:keys=2," in mallory.say("INFO", "keyspace")

    async def test_a_script_without_end_holds_up_everybody(self, scene: Scene) -> None:
        with admin(scene.server) as client:
            client.execute_command("CONFIG", "SET", "lua-time-limit", 50)
            with scene.mallory() as mallory:
                started = mallory.say("EVAL", "while true do end", 0)
                assert isinstance(started, ValkeyError), "nothing comes back"
                assert "BUSY" in f"{type(busy := scene.victim.say('GET', 'x'))} {busy}".upper()
            client.execute_command("SCRIPT", "KILL")
        for _ in range(200):  # it is noted, and heard when the script looks up
            with line(scene.server.url) as anybody:
                if anybody.say("PING") == "PONG":
                    break
            await asyncio.sleep(0.01)
        with line(scene.victim_url) as victim:
            assert victim.say("GET", "victims-key") == "victims-word"


class TestScripts:
    """Lua is one room for all: in some releases a script changes what others' stand on."""

    TRAP = "getmetatable('').__index = function() return function() return 'caught' end end"

    async def test_they_are_for_those_whose_server_keeps_them_apart(
        self, server: ValkeyServer, make: MakeDatabases, release: Release
    ) -> None:
        async with make(server) as provisioner:
            mine = url_of(await provisioner.ensure(MALLORY, {}))
            theirs = url_of(await provisioner.ensure(VICTIM, {}))
        with line(mine) as mallory, line(theirs) as victim, admin(server) as client:
            trap = client.execute_command
            answer = mallory.say("EVAL", self.TRAP + " return 1", 0)
            assert isinstance(answer, ValkeyError)
            if release == "valkey-8":  # 8.0.1, that of Debian's backports
                assert isinstance(answer, NoPermissionError)
                assert isinstance(victim.say("EVAL", "return 1", 0), NoPermissionError)
                assert trap("EVAL", self.TRAP + " return 1", 0) == 1, "what it is kept from"
            else:
                assert "readonly" in str(answer)
                assert victim.say("EVAL", "return ('x'):upper()", 0) == "X"

    async def test_nobody_has_them_where_the_operator_says_so(
        self, server: ValkeyServer, make: MakeDatabases
    ) -> None:
        async with make(server, scripts="never") as provisioner:
            with line(url_of(await provisioner.ensure(MALLORY, {}))) as mallory:
                for words in ("EVAL x 0", "EVALSHA x 0", "SCRIPT LOAD x", "EVAL_RO x 0"):
                    assert isinstance(mallory.say(*words.split()), NoPermissionError), words
                assert mallory.say("SET", "mine", "1") == "OK"
