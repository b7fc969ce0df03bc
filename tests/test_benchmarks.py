"""Every benchmark runs, and gives the figures that its tables and the docs speak of."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import subjects
from benchmarks.__main__ import main
from benchmarks.report import Table
from benchmarks.scale import TINY
from kennel.testing.host import why_no_box
from kennel.testing.missing import missing

KEYS: Mapping[str, set[str]] = {
    "webhook": {"fsync_ms", "bare", "kennel"},
    "passes": {"2", "4"},
    "router": {"unit", "sizes", "redeploy"},
    "units": {"units", "process", "systemd"},
    "push": {"systemd", "process"},
    "redeploys": {"systemd", "process"},
    "life": {"systemd", "process"},
    "sweep": {
        *("repositories", "refs", "first_ms", "same_ms", "same_worst_ms", "moved_ms"),
        "fetches_ms",
    },
    "apart": {"units", "connection_ms", "request_ms", "start_ms"},
    "databases": {"synced", "unsynced"},
    "resources": {"tenants", "made_each_ms", "pass", "without", "one_by_one"},
    "buckets": {
        *("buckets", "made", "again", "together_each_ms", "idle_look_ms", "removed"),
        *("calls", "by_hand"),
    },
    "numbers": {
        *("tenants", "made_ms", "made_worst_ms", "made_by_hand_ms", "again_ms"),
        *("together_each_ms", "pass_ms", "removed_ms", "removed_by_hand_ms"),
    },
    "memory": {"deployments", "at_start", "kennel", "caddy"},
}
NEED_SYSTEMD = {"apart", "passes", "memory"}


def test_every_subject_is_tried_here() -> None:
    assert KEYS.keys() == subjects.SUBJECTS.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_subject_gives_its_figures_and_tables(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEED_SYSTEMD and (why := why_no_box()):
        missing(why)
    for program in ("git", "nix"):
        if shutil.which(program) is None:
            missing(f"no {program} here")
    file = tmp_path / "figures.json"
    assert main([name, "--tiny", "--json", str(file)]) == 0
    figures: dict[str, Any] = json.loads(file.read_text())
    assert set(figures[name]) == KEYS[name]
    assert figures["scale"]["deployments"] == list(TINY.deployments)
    shown = capsys.readouterr().out
    for table in subjects.SUBJECTS[name].tables(figures[name]):
        assert table.title in shown
        assert table.rows


def test_a_subject_that_is_none_is_refused_with_what_there_is() -> None:
    with pytest.raises(SystemExit, match="there is no subject 'speed'; there is: webhook, passes"):
        main(["speed"])


def test_a_table_is_aligned_and_says_what_is_not_there() -> None:
    table = Table("Title", ["what", "ms"], [["a", 1.2345], ["long", None], ["b", 1234.5]], ["Note"])
    assert str(table).splitlines() == [
        *("Title", "", "what    ms", "----  ----", "a     1.23", "long     -", "b     1234"),
        *("", "Note"),
    ]
