"""The page of options is what the modules say."""

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.nixos.evaluation import ROOT, Nix
from tests.nixos.promised import promises


@pytest.fixture(scope="module")
def script() -> ModuleType:
    file = ROOT / "scripts" / "nix_options.py"
    spec = importlib.util.spec_from_file_location("nix_options", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules(nix: Nix, script: ModuleType) -> dict[str, list[dict[str, Any]]]:
    return {name: nix.evaluate(script.expression(name)) for name in script.CHAPTERS}


def test_it_is_what_the_modules_say(script: ModuleType, modules: dict[str, Any]) -> None:
    """To write it anew: python scripts/nix_options.py."""
    assert script.BOOK.read_text() == script.book(modules)


@pytest.mark.parametrize(
    ("page", "prefix"), [("nixos.txt", "services.kennel"), ("devenv.txt", "scottylabs")]
)
def test_everything_that_is_promised_is_on_it(script: ModuleType, page: str, prefix: str) -> None:
    text = script.BOOK.read_text()
    for promise in promises(page, prefix):
        name = promise.name
        if promise.within is not None:
            name = f"{promise.within}.NAME{name.removeprefix(promise.within)}"
        assert f"| `{name}` |" in text


def test_every_option_is_described(modules: dict[str, list[dict[str, Any]]]) -> None:
    for found in modules.values():
        for option in found:
            assert len(option["description"]) > 10, option["name"]
