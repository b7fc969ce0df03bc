"""What `kennel.testing` says it has, it has."""

import subprocess
import sys

import pytest

import kennel.testing


def test_everything_public_is_there() -> None:
    """In a process of its own, where nothing was imported before."""
    code = "from kennel.testing import *; import kennel.testing as t; [eval(n) for n in t.__all__]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_name_is_a_modules_too() -> None:
    """`from kennel.testing import x` would give the one or the other, by the order of imports."""
    assert not set(kennel.testing.HOMES) & set(kennel.testing.HOMES.values())


def test_every_name_has_a_home() -> None:
    assert sorted(kennel.testing.HOMES) == sorted(kennel.testing.__all__)


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoSuchContract'"):
        kennel.testing.NoSuchContract  # type: ignore[attr-defined]  # noqa: B018


def test_the_author_of_a_provisioner_needs_no_router_library() -> None:
    code = (
        "import sys; sys.modules['websockets'] = sys.modules['httpx'] = None;"
        "from kennel.testing import ProvisionerContract, SecretSourceContract, DnsProviderContract"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
