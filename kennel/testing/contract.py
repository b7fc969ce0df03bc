"""What all contracts have in common."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import NoReturn, ParamSpec, TypeVar

import pytest
from blockbuster import blockbuster_ctx

from kennel.errors import ProviderError
from kennel.plugin import Provider

P = ParamSpec("P")
R = TypeVar("R")


@pytest.mark.asyncio
class Contract:
    """A class of tests that are the same for every provider of a kind.

    Subclass it, give it the one fixture it asks for, and pytest runs the rest. Methods that
    raise NotImplementedError here are optional: the tests that need one are skipped without it.
    They may block, for they are called in a thread.
    """

    @pytest.fixture(autouse=True)
    def loop_is_never_blocked(self) -> Iterator[None]:
        """Make every blocking call on the event loop an error."""
        with blockbuster_ctx():
            yield

    def needs(self, fixture: str, *, returns: str) -> NoReturn:
        """Fail because the one fixture is missing."""
        pytest.fail(
            f"{type(self).__name__} needs a fixture called {fixture} that returns {returns}",
            pytrace=False,
        )

    async def optional(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an optional method in a thread, or skip the test if there is none."""
        try:
            return await asyncio.to_thread(method, *args, **kwargs)
        except NotImplementedError:
            pytest.skip(f"{type(self).__name__} has no method {method.__name__}()")

    async def says_so(
        self,
        errors: type[ProviderError] | tuple[type[ProviderError], ...],
        provider: Provider,
        *questions: Callable[[], Awaitable[object]],
    ) -> None:
        """Fail unless every question raises one of these errors, or opening the provider does."""
        async with AsyncExitStack() as opened:
            try:
                await opened.enter_async_context(provider)
            except errors:
                return
            for question in questions:
                with pytest.raises(errors):
                    await question()
