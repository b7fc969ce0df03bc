"""What must never happen has tests: those that docs/never.md names are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "never.md"


def rows() -> list[tuple[str, list[str]]]:
    """Return what must not happen with the tests that show it, row by row."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        (fault, re.findall(r"`([^`]+)`", tests))
        for fault, tests in cells
        if tests not in {"Shown by", "---"}
    ]


@cache
def those_in(path: str) -> frozenset[str]:
    """Return the tests of a module: functions by name, methods with their class."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        before = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = (n for n in inside if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        found |= {before + function.name for function in functions}
    return frozenset(found)


@pytest.mark.parametrize(("fault", "tests"), rows(), ids=[fault for fault, _ in rows()])
def test_what_must_never_happen_has_tests(fault: str, tests: list[str]) -> None:
    assert fault
    assert tests
    for test in tests:
        path, _, name = test.partition("::")
        assert name in those_in(path), test
        assert name.rpartition("::")[2].startswith("test_"), test


def test_the_page_has_rows() -> None:
    assert len(rows()) > 40


@pytest.mark.parametrize(
    ("unit", "ours"),
    [
        ("kennel-shop--main--api--0123456789ab.service", True),
        ("kennel-shop--main--tidy--0123456789ab.timer", True),
        ("kennel-build-7-1.service", True),
        ("kennel.service", False),
        ("sshd.service", False),
        ("caddy.service", False),
        ("user@0.service", False),
        ("not-kennel-shop.service", False),
        ("kennel-x.service\nsshd.service", False),
        ("kennel-x.mount", False),
        ("kennel-x.socket", False),
        ("kennel-x/../sshd.service", False),
    ],
)
def test_the_documented_rule_gives_no_right_to_units_of_others(unit: str, ours: bool) -> None:
    page = (ROOT / "docs" / "supervisors.md").read_text()
    [rule] = re.findall(r"```js\n(polkit\.addRule.*?)```", page, re.DOTALL)
    [pattern] = re.findall(r"/(\^.*?\$)/\.test\(unit\)", rule)
    assert rule.count("Result.YES") == 1, "nothing else grants anything"
    assert 'action.id != "org.freedesktop.systemd1.manage-units"' in rule
    assert 'subject.user != "kennel"' in rule
    javascripts = pattern.removesuffix("$") + r"\Z"  # there, $ is the end and nothing else
    assert bool(re.search(javascripts, unit)) is ours
