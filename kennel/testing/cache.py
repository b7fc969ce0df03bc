"""What every binary cache must do, written as tests; and one that keeps paths in a set."""

from collections.abc import Sequence

import pytest

from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Cache
from kennel.testing.contract import Contract


class CacheContract(Contract):
    """The conformance suite of a binary cache.

    class TestAttic(CacheContract):
        @pytest.fixture
        def cache(self, attic: Attic) -> Cache:
            return AtticCache(AtticConfig(server=attic.url, cache="acme"))

        @pytest.fixture
        def store_paths(self, nix: Nix) -> list[str]:
            return nix.build("one", "two")

        def inventory(self) -> set[str]:
            return self.attic.paths()
    """

    @pytest.fixture
    def cache(self) -> Cache:
        """Return the cache, not yet opened, with nothing in it."""
        self.needs("cache", returns="a Cache, not yet opened and empty")

    @pytest.fixture
    def store_paths(self) -> list[str]:
        """Return at least two store paths; they need not exist if the cache does not look."""
        return [
            "/nix/store/00000000000000000000000000000000-one",
            "/nix/store/11111111111111111111111111111111-two",
        ]

    def inventory(self) -> set[str]:
        """Return the store paths that the cache has."""
        raise NotImplementedError

    def unreachable(self) -> Cache:
        """Return a cache, not yet opened, whose server is away or refuses us."""
        raise NotImplementedError

    async def test_is_well(self, cache: Cache) -> None:
        async with cache:
            await cache.check()

    async def test_has_what_was_pushed(self, cache: Cache, store_paths: list[str]) -> None:
        async with cache:
            await cache.push(store_paths)
        assert await self.optional(self.inventory) >= set(store_paths)

    async def test_has_nothing_else(self, cache: Cache, store_paths: list[str]) -> None:
        pushed, kept_back = store_paths[0], store_paths[1]
        async with cache:
            await cache.push([pushed])
        assert kept_back not in await self.optional(self.inventory)

    async def test_may_be_pushed_to_again(self, cache: Cache, store_paths: list[str]) -> None:
        async with cache:
            await cache.push(store_paths[:1])
            await cache.push(store_paths)
        assert await self.optional(self.inventory) >= set(store_paths)

    async def test_nothing_may_be_pushed(self, cache: Cache) -> None:
        async with cache:
            await cache.push([])

    async def test_says_that_it_cannot(self, store_paths: list[str]) -> None:
        cache = await self.optional(self.unreachable)
        errors: tuple[type[ProviderError], ...] = (Unavailable, Rejected)
        await self.says_so(errors, cache, lambda: cache.push(store_paths))


class MemoryCache(Cache):
    """Keeps store paths in a set.

    `problem`: raised by every call while it is set. `pushes`: what was offered, call by call.
    """

    name = "memory"

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.pushes: list[tuple[str, ...]] = []
        self.problem: ProviderError | None = None

    async def check(self) -> None:
        if self.problem is not None:
            raise self.problem

    async def push(self, paths: Sequence[str]) -> None:
        await self.check()
        self.pushes.append(tuple(paths))
        self.paths |= set(paths)
