"""What the documentation says of the command line is so."""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from kennel.cli.outcome import Exit

ROOT = Path(__file__).parents[2]
ORDERED = frozenset(entry_points(group="kennel").names)
"""Plugins: what they can be ordered to do, only a daemon knows that has them on."""
PAGES = ("README.md", "docs/cli.md", "docs/demo.md", "docs/install.md", "examples/hello/README.md")


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of code in a language, without their indentation."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def test_the_example_of_kennel_toml_is_accepted(kennel: Any, tmp_path: Path) -> None:
    [example] = blocks("README.md", "toml")
    file = tmp_path / "kennel.toml"
    file.write_text(example)
    ran = kennel("check-config", str(file))
    assert ran.err == ""
    assert ran.code == 0
    assert ran.out.endswith("The configuration is good.\n")
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in ran.out.splitlines()[:-1])
    assert shown["supervisor"] == "systemd"
    assert shown["previews at"] == "*.preview.example.net"
    assert shown["projects"] == "shop"


def test_every_exit_status_is_told() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    told = dict(re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE))
    assert told == {str(code.value): code.meaning for code in Exit}


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the commands that the pages name: `kennel builds show ID` → builds, show."""
    for page in PAGES:
        text = (ROOT / page).read_text()
        for line in re.findall(
            r"(?:`|^    |\.venv/bin/)kennel ([a-z][^`|\n]*)", text, re.MULTILINE
        ):
            words = line.split()
            if words[0] in ORDERED:
                continue
            yield tuple(words[:2]) if words[0] in {"builds", "projects"} else (words[0],)


@pytest.mark.parametrize("words", sorted(set(commands())))
def test_every_command_that_is_named_is_there(kennel: Any, words: tuple[str, ...]) -> None:
    known = words if words[-1] in {"show", "cancel", "add", "remove", "list"} else words[:1]
    assert kennel(*known, "--help").code == 0


def test_every_command_that_is_there_is_named(kennel: Any) -> None:
    listed = re.findall(
        r"^  ([a-z-]+)  ", kennel("--help").out.partition("Commands:")[2], re.MULTILINE
    )
    assert len(listed) > 10
    text = (ROOT / "docs/cli.md").read_text()
    assert [name for name in listed if f"| `kennel {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_make_targets_that_are_named_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/demo.md").read_text()
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('url = "nonsense"', "[projects.shop] url: cannot read OWNER/NAME from 'nonsense'"),
        ('url = "https://x.org/a/b"\nforge = "gitlab"', '[projects.shop] forge: no "gitlab" here'),
    ],
)
def test_a_project_that_could_not_be_registered_is_told_beforehand(
    kennel: Any, tmp_path: Path, line: str, why: str
) -> None:
    file = tmp_path / "kennel.toml"
    file.write_text(f"[projects.shop]\n{line}\n")
    ran = kennel("check-config", str(file))
    assert ran.code == 2
    assert ran.err.startswith(f"error: {why}")


def test_a_secret_that_cannot_be_read_is_told_beforehand(kennel: Any, tmp_path: Path) -> None:
    file = tmp_path / "kennel.toml"
    lines = ('url = "https://x.org/a/b"', f'secret = "file:{tmp_path}/nowhere"')
    file.write_text("\n".join(["[projects.shop]", *lines]))
    ran = kennel("check-config", str(file))
    assert ran.code == 0
    assert "warning" in ran.out
    assert "[projects.shop] secret: cannot read" in ran.out
