"""Anything that can happen, in any order, many times; and what Kennel promised, after each.

    KENNEL_RANDOM_SEED=7 pytest tests/life/test_random_life.py

plays other stories, and twenty times as many; without it they are always the same. When a promise
is broken, the shortest story that breaks it is told.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.life.forge import LABEL
from tests.life.memory import MemoryScenery
from tests.life.model import Model
from tests.life.providers import Troubles
from tests.life.steps import STEPS, Steps
from tests.life.world import World

T = TypeVar("T")
SEED = os.environ.get("KENNEL_RANDOM_SEED")
STORIES, LENGTH = (500 if SEED else 25), 40
FIRST = 30_000 + os.getpid() % 20 * 130
PORTS = range(FIRST, FIRST + 130)
"""Tests that run beside these take others."""


class Story(RuleBasedStateMachine):
    """Steps in a world in memory, which are made fewer until each of them is needed."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="life")
        model = Model(label=LABEL)
        troubles = Troubles(model)
        scenery = MemoryScenery(model, troubles, PORTS)
        self.world = World(Path(self._folder.name), scenery, troubles, model=model)
        self.steps = Steps(self.world)
        self._loop = asyncio.Runner()
        self._loop.get_loop().set_exception_handler(lambda *_: None)
        self._loop.run(self.world.open())

    def take(self, name: str, data: st.DataObject) -> None:
        def draw(options: Sequence[T]) -> T:
            return data.draw(st.sampled_from(options))

        told = len(self.steps.story)
        try:
            self._loop.run(getattr(self.steps, name)(draw))
        finally:
            for line in self.steps.story[told:]:
                hypothesis.note(line)

    def teardown(self) -> None:
        try:
            self._loop.run(self.world.check())
        finally:
            self._loop.run(self.world.close())
            self._loop.close()
            self._folder.cleanup()


def _rule_for(name: str) -> Any:
    def step(self: Story, data: Any) -> None:
        self.take(name, data)

    step.__name__ = name
    return rule(data=st.data())(step)


for _name in STEPS:
    setattr(Story, _name, _rule_for(_name))


def test_whatever_happens_promises_are_kept() -> None:
    settings = hypothesis.settings(
        max_examples=STORIES,
        stateful_step_count=LENGTH,
        derandomize=not SEED,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    story = hypothesis.seed(int(SEED))(Story) if SEED else Story
    run_state_machine_as_test(story, settings=settings)
