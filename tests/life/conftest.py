"""Where stories are played that need a place and a Caddy."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.builtin.caddy.program import find
from kennel.errors import Rejected
from kennel.testing.missing import missing


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="kl"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def caddy() -> None:
    """Skip where there is no Caddy."""
    try:
        asyncio.run(find(None))
    except Rejected as error:
        missing(str(error))
