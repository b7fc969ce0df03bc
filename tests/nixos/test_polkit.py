"""The polkit rule, in the JavaScript engine that polkit has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kennel.build.sandbox import UNIT
from kennel.domain import Key, Ref, Tenant, names
from kennel.testing.missing import missing
from tests.nixos.evaluation import ROOT

RULE = ROOT / "nixos" / "polkit.js"

ENGINE = """
var rule;
var polkit = {
  Result: { YES: "yes", NO: "no", NOT_HANDLED: null },
  addRule: function (added) { rule = added; }
};
%(rule)s
var asked = %(asked)s;
print(JSON.stringify(asked.map(function (one) {
  var details = one.details;
  var action = { id: one.action, lookup: function (name) { return details[name]; } };
  return rule(action, one.subject);
})));
"""
MANAGE = "org.freedesktop.systemd1.manage-units"
SERVICE = "kennel-shop--main--api--0123456789ab.service"


def answers(*asked: dict[str, Any]) -> list[str | None]:
    """Return what the rule says to each request."""
    if shutil.which("duk") is None:
        missing("no duk here: install duktape")
    text = ENGINE % {"rule": RULE.read_text(), "asked": json.dumps(asked)}
    done = subprocess.run(
        ["duk", "/dev/stdin"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


def request(
    unit: str | None = SERVICE,
    verb: str | None = "start",
    *,
    action: str = MANAGE,
    user: str = "kennel",
    system_unit: str | None = "kennel.service",
) -> dict[str, Any]:
    details = {"unit": unit, "verb": verb}
    subject = {"user": user, "system_unit": system_unit}
    return {
        "action": action,
        "subject": {name: value for name, value in subject.items() if value is not None},
        "details": {name: value for name, value in details.items() if value is not None},
    }


@pytest.mark.parametrize("verb", ["start", "stop", "reset-failed"])
@pytest.mark.parametrize(
    "unit",
    [
        SERVICE,
        "kennel-shop--main--tidy--0123456789ab.timer",
        "kennel-build-7-1.service",
        "kennel-check.service",
    ],
)
def test_what_kennel_does_is_allowed(unit: str, verb: str) -> None:
    assert answers(request(unit, verb), request(unit, verb, system_unit=None)) == ["yes", "yes"]


def test_every_name_that_kennel_gives_is_allowed() -> None:
    tenants = [
        Tenant(project, ref)
        for project in ("a", "shop", "x" * 39)
        for ref in (Ref.branch("main"), Ref.branch("b/" * 98 + "b"), Ref.pull_request(42))
    ]
    keys = [
        Key(tenant, name) for tenant in tenants for name in ("api", "y" * 39, "valkey (resource)")
    ]
    units = [names.unit(key, generation) for key in keys for generation in ("0" * 12, "f" * 12)]
    asked = [request(f"{unit}.{kind}") for unit in units for kind in ("service", "timer")]
    assert set(answers(*asked)) == {"yes"}


@pytest.mark.parametrize(
    "unit",
    [
        "sshd.service",
        "kennel.service",
        "kennel.slice",
        "caddy.service",
        "user@0.service",
        "kennel-postgresql-setup.service",
        "kennel-valkey-password.service",
        "kennel-garage-layout.service",
        "kennel-x.service",
        "kennel-check.timer",
        "kennel-build-7-1.timer",
        "kennel-build-7.service",
        "not-kennel-shop--main--api--0123456789ab.service",
        f"{SERVICE}\nsshd.service",
        f"sshd.service\n{SERVICE}",
        f"{SERVICE}/../sshd.service",
        SERVICE.replace(".service", ".socket"),
        SERVICE.replace(".service", ".mount"),
        SERVICE.replace(".service", "@.service"),
        SERVICE.upper(),
        "",
        None,
    ],
)
def test_units_of_others_are_not(unit: str | None) -> None:
    assert answers(request(unit)) == ["no"]


@pytest.mark.parametrize(
    "verb",
    ["restart", "reload", "kill", "set-property", "freeze", "clean", "attach-device", "", None],
)
def test_other_verbs_are_not(verb: str | None) -> None:
    assert answers(request(verb=verb)) == ["no"]


@pytest.mark.parametrize("system_unit", ["kennel-build-7-1.service", "sshd.service", SERVICE])
def test_another_unit_of_the_same_user_is_not(system_unit: str) -> None:
    """Builds run as Kennel's user."""
    assert answers(request(system_unit=system_unit)) == ["no"]


@pytest.mark.parametrize(
    "other",
    [
        request(user="ada"),
        request(user="root"),
        request(user="kennel-build"),
        request(action="org.freedesktop.systemd1.manage-unit-files"),
        request(action="org.freedesktop.systemd1.reload-daemon"),
        request(action="org.freedesktop.policykit.exec"),
    ],
)
def test_what_it_is_not_about_is_left_to_other_rules(other: dict[str, Any]) -> None:
    assert answers(other) == [None]


def test_units_of_builds_have_the_name_that_the_rule_knows() -> None:
    patterns = [
        re.compile(text) for text in re.findall(r"/(\^kennel-build.*?)\$/", RULE.read_text())
    ]
    assert [pattern.pattern.lstrip("^") for pattern in patterns] == [
        UNIT.pattern.replace(r"\d", "[0-9]")
    ]


def test_it_is_one_rule_and_grants_in_one_place() -> None:
    text = Path(RULE).read_text()
    assert text.count("addRule") == 1
    assert text.count("Result.YES") == 1
