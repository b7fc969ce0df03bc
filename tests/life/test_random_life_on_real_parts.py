"""The steps of test_random_life, on real processes and a real Caddy.

    KENNEL_RANDOM_SEED=7 pytest tests/life/test_random_life_on_real_parts.py

plays another story, six times as long. A story on real parts is not made shorter when it breaks a
promise: it takes too long. It is told as it was, with its seed.
"""

import os
import random
from pathlib import Path

import pytest

from tests.life.forge import LABEL
from tests.life.model import Model
from tests.life.providers import Troubles
from tests.life.real import RealScenery
from tests.life.steps import STEPS, Steps
from tests.life.world import World

SEED = os.environ.get("KENNEL_RANDOM_SEED")
LENGTH = 300 if SEED else 50
FIRST = 32_600 - os.getpid() % 20 * 60
PORTS = range(FIRST - 60, FIRST)


@pytest.mark.usefixtures("caddy")
@pytest.mark.timeout(900 if SEED else 180)
async def test_whatever_happens_promises_are_kept_by_real_parts(place: Path) -> None:
    seed = int(SEED or 4)
    chance = random.Random(seed)
    model = Model(label=LABEL)
    troubles = Troubles(model)
    world = World(place, RealScenery(model, troubles, PORTS), troubles, model=model)
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
