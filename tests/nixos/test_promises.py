"""Every option that the documentation promises is there, with its type and its default."""

import json

import pytest

from tests.nixos.evaluation import Nix, Refused, configuration, project
from tests.nixos.promised import Promise, promises

NIXOS = promises("nixos.txt", "services.kennel")
DEVENV = promises("devenv.txt", "scottylabs")

QUESTION = """
let
  evaluation = %(evaluation)s;
  inherit (evaluation) lib;
  inherit (evaluation.evaluation) options config;
  # Of options within each entry of another, an entry that says nothing is asked.
  ask = { path, within, promised }:
    let
      option = if within == null then lib.getAttrFromPath path options
        else (lib.getAttrFromPath within options).type.nested.options.${lib.last path};
      default = option.default or "there is none";
      same = a: b: if builtins.isFunction a then a extensions == b extensions else a == b;
      extensions = { pg_uuidv7 = "pg_uuidv7"; };
    in
    {
      type = promised.type == null || promised.type == option.type.name
        || promised.type == "function" && lib.hasPrefix "function " option.type.name;
      default = promised.default == [ ] || same (builtins.head promised.default) default;
      described = builtins.stringLength option.description > 10;
      what = { type = option.type.name; };
    };
in
with lib.types;
[ %(asked)s ]
"""


def asked(promise: Promise) -> str:
    """Return the question for one option; its type and default are Nix already."""
    of = {None: "null", "function": '"function"'}.get(promise.type, f"({promise.type}).name")
    default = "[ ]" if promise.default is None else f"[ ({promise.default}) ]"
    within = "null" if promise.within is None else names(promise.within)
    return (
        f"(ask {{ path = {names(promise.name)}; within = {within};"
        f" promised = {{ type = {of}; default = {default}; }}; }})"
    )


def names(path: str) -> str:
    return f"[ {' '.join(json.dumps(name) for name in path.split('.'))} ]"


def test_the_pages_promise_something() -> None:
    assert len(NIXOS) == 24
    assert len(DEVENV) == 18


def keeps(nix: Nix, evaluation: str, promise: Promise) -> None:
    [answer] = nix.evaluate(QUESTION % {"evaluation": evaluation, "asked": asked(promise)})
    assert answer["type"], answer["what"]
    assert answer["default"]
    assert answer["described"]


@pytest.mark.parametrize("promise", NIXOS, ids=[promise.name for promise in NIXOS])
def test_of_nixos(nix: Nix, promise: Promise) -> None:
    keeps(nix, configuration("nothing"), promise)


@pytest.mark.parametrize("promise", DEVENV, ids=[promise.name for promise in DEVENV])
def test_of_devenv(nix: Nix, promise: Promise) -> None:
    keeps(nix, project("example"), promise)


def test_what_is_made_is_nobody_elses_to_set(nix: Nix) -> None:
    module = "{ pkgs, ... }: { scottylabs.kennel.config = pkgs.git; }"
    with pytest.raises(Refused, match="read-only"):
        nix.evaluate(f'"${{({project("example", [module])}).config}}"')


def test_a_project_has_a_name(nix: Nix) -> None:
    module = "{ inputs, ... }: { imports = [ inputs.scottylabs.devenvModules.default ]; }"
    text = (
        f"(import ./nixos/tests/devenv.nix {{ project = {module}; }})"
        ".evaluation.config.scottylabs.project.name"
    )
    with pytest.raises(Refused, match="used but not defined"):
        nix.evaluate(text)
