"""The steps of test_random_life, on real processes, on real units, and with a real Caddy.

    KENNEL_RANDOM_SEED=7 pytest tests/life/test_random_life_on_real_parts.py

plays another story, six times as long. A story on real parts is not made shorter when it breaks a
promise: it takes too long. It is told as it was, with its seed.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kennel.testing.host import Box, NoBox, systemd_box
from kennel.testing.missing import missing
from tests.life.forge import LABEL
from tests.life.model import Model
from tests.life.providers import Troubles
from tests.life.real import MakeSupervisor, RealScenery, processes, units_of
from tests.life.steps import STEPS, Steps
from tests.life.world import World

SEED = os.environ.get("KENNEL_RANDOM_SEED")
LENGTH = 300 if SEED else 50
FIRST = 32_600 - os.getpid() % 20 * 60
PORTS = range(FIRST - 60, FIRST)

pytestmark = [pytest.mark.usefixtures("caddy"), pytest.mark.timeout(900 if SEED else 180)]


@pytest.fixture
def box(place: Path) -> Iterator[Box]:
    """Boot a systemd that has the place, or skip where that cannot be."""
    try:
        with systemd_box(place / "box", bind=[place]) as box:
            yield box
    except NoBox as error:
        missing(str(error))


async def test_whatever_happens_promises_are_kept_by_processes(place: Path) -> None:
    await tell(place, processes)


@pytest.mark.host
async def test_whatever_happens_promises_are_kept_by_units(place: Path, box: Box) -> None:
    await tell(place / "world", units_of(box))


async def tell(folder: Path, make_supervisor: MakeSupervisor) -> None:
    """Play a story; fail with all of it when it breaks a promise."""
    folder.mkdir(exist_ok=True)
    seed = int(SEED or 4)
    chance = random.Random(seed)
    model = Model(label=LABEL)
    troubles = Troubles(model)
    scenery = RealScenery(make_supervisor, model, troubles, PORTS)
    world = World(folder, scenery, troubles, model=model)
    steps = Steps(world)
    await world.open()
    try:
        for _ in range(LENGTH):
            [name] = chance.choices(list(STEPS), list(STEPS.values()))
            await getattr(steps, name)(chance.choice)
        await world.check()
    except Exception as error:
        story = "\n".join(steps.story)
        pytest.fail(f"{error}\n\nafter this (seed {seed}):\n{story}")
    finally:
        await world.close()
