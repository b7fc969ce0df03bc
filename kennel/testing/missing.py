"""What happens when a real program that a test needs is not on this machine."""

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test with its reason; fail it where KENNEL_REQUIRE_ALL=1 says all must be there."""
    if os.environ.get("KENNEL_REQUIRE_ALL") == "1":
        pytest.fail(f"required here: {reason}")
    pytest.skip(reason)
