"""`kennel resources`, and the commands of provisioners as the daemon tells of them."""

import io
import os
import sys
import time
from typing import Any

import msgspec
import pytest

from kennel.cli.app import run
from kennel.cli.words import amount
from kennel.views import Command, Resource, Resources, Told, line

DATABASE = Resource(
    project="shop",
    ref="main",
    resource="postgres",
    name="kennel_shop_main",
    size=12_345_678,
    detail="",
    orphan=False,
)
BUCKET = Resource(
    project="gone",
    ref="pr-5",
    resource="garage",
    name="kennel-gone-pr-5\x1b[2J",
    size=None,
    detail="12 objects",
    orphan=True,
)
BACKUP = Command(
    resource="postgres",
    name="backup",
    help="Write a dump of a database.",
    ref=True,
    argument=None,
    warning=None,
)
RESTORE = msgspec.structs.replace(
    BACKUP,
    name="restore",
    help="Put a dump in the place of what is there.",
    argument="BACKUP",
    warning="what is in the database now is lost",
)
SNAPSHOT = msgspec.structs.replace(BACKUP, name="snapshot", help="Keep a template.", ref=False)
COMMANDS = [BACKUP, RESTORE, SNAPSHOT]


def told(*lines: str, problem: str = "") -> str:
    """Return a stream."""
    every = [Told(line=text) for text in lines]
    return b"".join(line(one) for one in [*every, Told(problem=problem, over=True)]).decode()


@pytest.fixture
def ordered(daemon: Any) -> Any:
    """Give a daemon whose provisioner has commands, each of which tells two lines."""
    daemon.give("GET /api/commands", COMMANDS)
    daemon.give("POST /api/commands", told("writing", "written"))
    return daemon


def sent(daemon: Any) -> Any:
    [one] = [asked for asked in daemon.asked if asked.method == "POST"]
    return msgspec.json.decode(one.body)


class TestResources:
    def test_what_there_is_and_whose_it_is(self, daemon: Any, kennel: Any) -> None:
        daemon.give("GET /api/resources", Resources(resources=[DATABASE, BUCKET], unreachable={}))
        ran = kennel("resources", "shop")
        assert ran.code == 0
        head, first, second = [row.split() for row in ran.out.splitlines()]
        assert head == ["PROJECT", "REF", "RESOURCE", "NAME", "SIZE", "DETAIL"]
        assert first == ["shop", "main", "postgres", "kennel_shop_main", "12", "MiB"]
        assert second[:3] == ["gone", "pr-5", "garage"]
        assert "12 objects; nobody's: Kennel knows of no such ref" in ran.out
        assert "\x1b" not in ran.out
        assert daemon.asked[0].path == "/api/resources?project=shop"

    def test_json_is_exactly_the_views(self, daemon: Any, kennel: Any) -> None:
        found = Resources(resources=[DATABASE, BUCKET], unreachable={})
        daemon.give("GET /api/resources", found)
        ran = kennel("resources", "--json")
        assert ran.code == 0
        assert msgspec.json.decode(ran.out, type=Resources) == found

    def test_who_cannot_be_asked_is_told(self, daemon: Any, kennel: Any) -> None:
        found = Resources(resources=[DATABASE], unreachable={"garage": "it is away"})
        daemon.give("GET /api/resources", found)
        ran = kennel("resources")
        assert ran.code == 1
        assert "kennel_shop_main" in ran.out
        assert ran.err.splitlines() == [
            "warning: garage: it is away",
            "error: this is not all there is: garage cannot be asked",
        ]
        assert kennel("resources", "--json").code == 1

    def test_that_there_is_nothing(self, daemon: Any, kennel: Any) -> None:
        daemon.give("GET /api/resources", Resources(resources=[], unreachable={}))
        ran = kennel("resources")
        assert (ran.code, ran.out, ran.err) == (0, "", "No ref has any resource.\n")

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (12_345_678, "12 MiB"),
            (3 * 1024**3, "3.0 GiB"),
            (5 * 1024**4, "5.0 TiB"),
            (5000 * 1024**4, "5000.0 TiB"),
        ],
    )
    def test_sizes_are_for_people(self, size: int, text: str) -> None:
        assert amount(size) == text


class TestCommands:
    def test_what_is_told_is_shown(self, ordered: Any, kennel: Any) -> None:
        ran = kennel("postgres", "backup", "shop", "main")
        assert (ran.code, ran.out, ran.err) == (0, "writing\nwritten\n", "")
        assert sent(ordered) == {
            "resource": "postgres",
            "command": "backup",
            "project": "shop",
            "ref": "main",
            "argument": None,
            "confirmed": True,
        }

    def test_one_that_is_about_a_project(self, ordered: Any, kennel: Any) -> None:
        assert kennel("postgres", "snapshot", "shop").code == 0
        assert sent(ordered)["ref"] is None
        ran = kennel("postgres", "snapshot", "shop", "main")
        assert ran.code == 2
        assert "main" in ran.err

    def test_one_more_word(self, ordered: Any, kennel: Any) -> None:
        assert kennel("postgres", "restore", "shop", "main", "monday", "--yes").code == 0
        assert sent(ordered)["argument"] == "monday"

    def test_a_warning_needs_a_word(self, ordered: Any, kennel: Any) -> None:
        ran = kennel("postgres", "restore", "shop", "main", "monday")
        assert ran.code == 2
        assert ran.err == (
            "error: what is in the database now is lost: this has to be confirmed\n"
            "       if that is meant: kennel postgres restore shop main monday --yes\n"
        )
        assert all(asked.method == "GET" for asked in ordered.asked)

    @pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("no\n", 1), ("", 1)])
    def test_a_person_is_asked(
        self,
        ordered: Any,
        kennel: Any,
        monkeypatch: pytest.MonkeyPatch,
        typed: str,
        code: int,
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("kennel.cli.commands.sys.stderr", Terminal())
        assert kennel("postgres", "restore", "shop", "main").code == code
        posted = [asked for asked in ordered.asked if asked.method == "POST"]
        assert len(posted) == (1 if code == 0 else 0)

    def test_what_failed_says_so_after_what_was_told(self, ordered: Any, kennel: Any) -> None:
        ordered.give("POST /api/commands", told("writing", problem="the disk is full"))
        ran = kennel("postgres", "backup", "shop", "main")
        assert (ran.code, ran.out, ran.err) == (1, "writing\n", "error: the disk is full\n")

    def test_a_stream_that_breaks_off_is_no_success(self, ordered: Any, kennel: Any) -> None:
        ordered.give("POST /api/commands", line(Told(line="writing")).decode())
        ran = kennel("postgres", "backup", "shop", "main")
        assert ran.code == 1
        assert "it is not known how the command ended" in ran.err

    def test_what_is_not_there_is_4(self, ordered: Any, kennel: Any) -> None:
        ordered.refuse("POST /api/commands", 404, "there is no project 'shap'")
        assert kennel("postgres", "backup", "shap", "main").code == 4
        ran = kennel("postgres", "bakup", "shop", "main")
        assert ran.code == 4
        assert ran.err.startswith("error: postgres has no command 'bakup'; there is: backup, ")

    def test_a_word_that_nobody_knows_is_wrong_usage(self, ordered: Any, kennel: Any) -> None:
        ran = kennel("statsu")
        assert ran.code == 2
        assert "'status'" in ran.err

    def test_without_the_daemon_that_is_said(self, kennel: Any) -> None:
        ran = kennel("postgres", "backup", "shop", "main")
        assert ran.code == 3
        assert kennel("statsu").code == 2

    def test_kennels_own_commands_ask_nobody(self, ordered: Any, kennel: Any) -> None:
        ordered.give("GET /api/plan", [])
        kennel("plan")
        assert [asked.path for asked in ordered.asked] == ["/api/plan"]


class TestHelp:
    def test_the_help_has_what_provisioners_can_do(self, ordered: Any, kennel: Any) -> None:
        ran = kennel("--help")
        assert ran.code == 0
        [mine] = [row for row in ran.out.splitlines() if row.startswith("  postgres ")]
        assert mine.split()[1:] == [
            "Orders",
            "about",
            "postgres:",
            "backup,",
            "restore,",
            "snapshot.",
        ]
        ran = kennel("postgres", "--help")
        assert ran.code == 0
        assert "Write a dump of a database." in ran.out
        ran = kennel("postgres", "restore", "--help")
        assert ran.code == 0
        assert "{project} {ref} [BACKUP]" in ran.out
        assert "what is in the database now is lost" in " ".join(ran.out.split())

    def test_without_the_daemon_it_is_kennels_own(self, kennel: Any) -> None:
        ran = kennel("--help")
        assert (ran.code, ran.err) == (0, "")
        assert "resources" in ran.out
        assert "postgres  " not in ran.out

    def test_with_a_configuration_that_is_wrong_too(
        self, config: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config.write_text("nonsense = [")
        assert run(["--config", str(config), "--help"]) == 0
        assert "check-config" in capsys.readouterr().out

    def test_a_daemon_that_does_not_answer_holds_it_up_briefly(
        self, daemon: Any, kennel: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow = daemon.next

        def never(request: str) -> Any:
            time.sleep(2)
            return slow(request)

        monkeypatch.setattr(daemon, "next", never)
        begun = time.monotonic()
        assert kennel("--help").code == 0
        assert time.monotonic() - begun < 1.5
        assert os.environ.get("KENNEL_CONFIG") is None
