"""What every secret source must do, written as tests; and one that keeps secrets in a dict."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import pytest

from kennel.domain import Env, Secret
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import SecretSource
from kennel.testing.contract import Contract

Kept: TypeAlias = Mapping[tuple[str, str], Mapping[str, str]]
"""What a source holds: (project, profile) → name → value."""
MakeSecretSource: TypeAlias = Callable[[Kept], SecretSource]

VALUES = {
    "PLAIN": "correct horse battery staple",
    "QUOTED": 'it\'s "quoted" and $HOME is not expanded, nor `this` or \\n',
    "LINES": "-----BEGIN KEY-----\nabc=\n-----END KEY-----",
    "WIDE": "пароль 密码 🔑",
    "LONG": "x" * 8192,
}
KEPT: Kept = {
    ("shop", "prod"): {**VALUES, "ONLY_PROD": "p"},
    ("shop", "preview"): {"PLAIN": "of the preview", "ONLY_PREVIEW": "q"},
    ("shop-admin", "prod"): {"PLAIN": "of another project", "ADMIN": "r"},
}
ALL = sorted({name for kept in KEPT.values() for name in kept})


class SecretSourceContract(Contract):
    """The conformance suite of a secret source.

        class TestPass(SecretSourceContract):
            @pytest.fixture
            def make_source(self, store: Store) -> MakeSecretSource:
                def make(kept: Kept) -> SecretSource:
                    store.fill(kept)
                    return PassSource(PassConfig(folder=store.path))
                return make

    What the fixture returns may be called more than once; what is kept then is what it was
    called with last.
    """

    @pytest.fixture
    def make_source(self) -> MakeSecretSource:
        """Return what makes a source, not yet opened, that holds these secrets and no others."""
        self.needs(
            "make_source", returns="what makes a SecretSource that holds: (Kept) -> SecretSource"
        )

    def unreachable(self) -> SecretSource:
        """Return a source, not yet opened, that cannot tell: sealed, forbidden or away."""
        raise NotImplementedError

    async def _look_up(
        self, make: MakeSecretSource, project: str, profile: str, names: Collection[str]
    ) -> dict[str, str]:
        async with make(KEPT) as source:
            env = await source.resolve(project, profile, names)
            assert all(isinstance(secret, Secret) for secret in env.values())
            return {name: secret.value for name, secret in env.items()}

    async def test_is_well(self, make_source: MakeSecretSource) -> None:
        async with make_source(KEPT) as source:
            await source.check()

    @pytest.mark.parametrize("name", VALUES)
    async def test_values_come_back_as_they_are(
        self, make_source: MakeSecretSource, name: str
    ) -> None:
        assert await self._look_up(make_source, "shop", "prod", {name}) == {name: VALUES[name]}

    async def test_only_what_was_asked_for_comes_back(self, make_source: MakeSecretSource) -> None:
        assert (await self._look_up(make_source, "shop", "prod", ["PLAIN", "WIDE"])).keys() == {
            "PLAIN",
            "WIDE",
        }
        assert await self._look_up(make_source, "shop", "prod", ()) == {}

    async def test_names_that_are_not_there_are_left_out(
        self, make_source: MakeSecretSource
    ) -> None:
        found = await self._look_up(make_source, "shop", "prod", {"PLAIN", "NO_SUCH_NAME"})
        assert found.keys() == {"PLAIN"}
        assert await self._look_up(make_source, "shop", "prod", {"NO_SUCH_NAME"}) == {}

    @pytest.mark.parametrize(("project", "profile"), KEPT, ids="-".join)
    async def test_a_project_and_profile_see_their_own(
        self, make_source: MakeSecretSource, project: str, profile: str
    ) -> None:
        assert await self._look_up(make_source, project, profile, ALL) == KEPT[project, profile]

    @pytest.mark.parametrize(
        ("project", "profile"),
        [("shop", "staging"), ("shop-admin", "preview"), ("sho", "prod"), ("elsewhere", "prod")],
        ids="-".join,
    )
    async def test_others_see_nothing(
        self, make_source: MakeSecretSource, project: str, profile: str
    ) -> None:
        assert await self._look_up(make_source, project, profile, ALL) == {}

    @pytest.mark.parametrize(
        "name",
        [
            "../../shop/prod/PLAIN",
            "../prod/PLAIN",
            "/shop/prod/PLAIN",
            "PLAIN/../../prod/PLAIN",
            "%2e%2e/prod/PLAIN",
            "..%2fprod%2fPLAIN",
            "*",
            "",
        ],
        ids=repr,
    )
    async def test_no_name_leads_elsewhere(self, make_source: MakeSecretSource, name: str) -> None:
        try:
            found = await self._look_up(make_source, "shop", "preview", {name})
        except Rejected:
            return  # to refuse such a name is as good as not to find it
        assert found == {}

    async def test_values_are_never_shown(self, make_source: MakeSecretSource) -> None:
        async with make_source(KEPT) as source:
            env = await source.resolve("shop", "prod", ["PLAIN"])
            assert VALUES["PLAIN"] not in f"{env!r} {env} {source!r} {source}"

    async def test_may_be_asked_again(self, make_source: MakeSecretSource) -> None:
        async with make_source(KEPT) as source:
            first = await source.resolve("shop", "prod", ALL)
            assert await source.resolve("shop", "prod", ALL) == first

    async def test_a_new_value_is_seen_by_a_new_start(self, make_source: MakeSecretSource) -> None:
        async with make_source(KEPT) as source:
            await source.resolve("shop", "prod", ["PLAIN"])
        async with make_source({("shop", "prod"): {"PLAIN": "new"}}) as source:
            assert await source.resolve("shop", "prod", ALL) == {"PLAIN": Secret("new")}

    async def test_a_source_that_cannot_tell_says_so(self) -> None:
        away = await self.optional(self.unreachable)
        await self.says_so(
            (Unavailable, Rejected),
            away,
            lambda: away.resolve("shop", "prod", ["PLAIN"]),
            away.check,
        )


class MemorySecretSource(SecretSource):
    """Keeps secrets in a dict. `problem`: what every call raises, to play one that is sealed."""

    name = "memory"

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = dict(kept or {})
        self.problem: ProviderError | None = None

    def __repr__(self) -> str:
        return f"MemorySecretSource({sorted(self.kept)})"

    async def check(self) -> None:
        if self.problem:
            raise self.problem

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        await self.check()
        kept = self.kept.get((project, profile), {})
        return {name: Secret(kept[name]) for name in names if name in kept}
