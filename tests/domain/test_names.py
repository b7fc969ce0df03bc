"""Names: readable, short enough, and nobody else's."""

import re
from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import Key, Manifest, Ref, Service, Site, Tenant, names

GENERATION = "0123456789ab"
MAIN = Tenant("shop", Ref.branch("main"))
SLASH = Tenant("shop", Ref.branch("feature/x"))
LONG = Tenant("p" * 39, Ref.branch("x" * 200))
WIDE = Tenant("p" * 39, Ref.branch("日本"))

KINDS: dict[str, Callable[[Tenant], str]] = {
    "tenant": names.tenant,
    "database": names.database,
    "database beside": lambda tenant: names.database_beside(tenant, "new"),
    "bucket": names.bucket,
    "unit": lambda tenant: names.unit(Key(tenant, "api"), GENERATION),
}
ALPHABETS = {
    "tenant": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "database": r"kennel_[a-z0-9_-]{1,56}",
    "database beside": r"kennel-new_[a-z0-9_-]{1,52}",
    "bucket": r"kennel-[a-z0-9-]{0,55}[a-z0-9]",
    "unit": r"kennel-[a-z0-9-]{0,142}[a-z0-9]",
}


@pytest.mark.parametrize(
    ("kind", "plain", "hashed"),
    [
        ("tenant", "shop--main", r"shop--feature-x--[a-z2-7]{10}"),
        ("database", "kennel_shop_main", r"kennel_shop_feature-x_[a-z2-7]{10}"),
        ("database beside", "kennel-new_shop_main", r"kennel-new_shop_feature-x_[a-z2-7]{10}"),
        ("bucket", "kennel-shop--main", r"kennel-shop--feature-x--[a-z2-7]{10}"),
        (
            "unit",
            f"kennel-shop--main--api--{GENERATION}",
            rf"kennel-shop--feature-x--api--{GENERATION}--[a-z2-7]{{10}}",
        ),
    ],
)
def test_names_are_readable(kind: str, plain: str, hashed: str) -> None:
    assert KINDS[kind](MAIN) == plain
    assert re.fullmatch(hashed, KINDS[kind](SLASH))


@pytest.mark.parametrize("kind", KINDS)
def test_names_never_change(kind: str) -> None:
    """A name is found again by making it again, so an upgrade must make the same."""
    assert {
        "tenant": "shop--feature-x--ndvvxpibbc",
        "database": "kennel_shop_feature-x_ndvvxpibbc",
        "database beside": "kennel-new_shop_feature-x_ndvvxpibbc",
        "bucket": "kennel-shop--feature-x--ndvvxpibbc",
        "unit": f"kennel-shop--feature-x--api--{GENERATION}--UNIT",
    }[kind].replace("UNIT", names.short_hash(("shop", "feature/x", "api", GENERATION))) == KINDS[
        kind
    ](SLASH)
    assert names.short_hash(("shop", "feature/x")) == "ndvvxpibbc"


@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_request_has_the_plain_name(kind: str) -> None:
    pull, branch = (Tenant("shop", ref) for ref in (Ref.pull_request(42), Ref.branch("pr-42")))
    assert "pr-42" in KINDS[kind](pull)
    assert len(KINDS[kind](branch)) > len(KINDS[kind](pull))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tenant", [LONG, Tenant("p" * 39, Ref.branch("日本"))], ids=["long", "wide"]
)
def test_the_longest_and_strangest_names_fit(kind: str, tenant: Tenant) -> None:
    assert re.fullmatch(ALPHABETS[kind], KINDS[kind](tenant))


PROJECTS = st.from_regex(names.PROJECT, fullmatch=True)
WORDS = st.sampled_from(["a", "b", "a-b", "b-a", "pr-1", "x", "main", "A", "_", "é", "/", "-"])
BRANCHES = (
    st.lists(WORDS, min_size=1, max_size=6).map("".join)
    | st.lists(WORDS, min_size=1, max_size=4).map("/".join)
    | st.text(min_size=1, max_size=30)
    | st.text("ab-/", min_size=100, max_size=220)
)
"""Few words in many orders: it is how names come to look alike."""


def ref_or_none(name: str) -> Ref | None:
    try:
        return Ref.branch(name)
    except ValueError:
        return None


REFS = BRANCHES.map(ref_or_none).filter(bool) | st.integers(1, 9).map(Ref.pull_request)
SHORT = st.sampled_from(["a", "b", "a-b", "a-b-a", "b-a", "a--b"]) | PROJECTS
TENANTS = st.builds(Tenant, SHORT, REFS)


def all_names(tenant: Tenant) -> dict[str, str]:
    return {kind: name_of(tenant) for kind, name_of in KINDS.items()}


def hosts(tenant: Tenant, name: str | None = None) -> list[str]:
    return list(islice(names.host_labels(tenant, name), 3))


@given(TENANTS, TENANTS)
def test_no_two_tenants_share_a_name(one: Tenant, other: Tenant) -> None:
    for kind, name in all_names(one).items():
        assert (name == all_names(other)[kind]) == (one == other)


@given(TENANTS, SHORT, st.data())
def test_nobody_can_take_a_name_by_being_called_like_it(
    victim: Tenant, project: str, data: st.DataObject
) -> None:
    """A branch may be called like another tenant's name, or like any end of it."""
    name = data.draw(st.sampled_from([*all_names(victim).values(), *hosts(victim)]))
    start = data.draw(st.integers(0, len(name) - 1))
    for text in (name[start:], name[start:].strip("-_"), name[start:].replace("-", "/")):
        if ref := ref_or_none(text):
            for attacker in (Tenant(project, ref), Tenant(victim.project, ref)):
                if attacker != victim:
                    assert not set(all_names(attacker).values()) & set(all_names(victim).values())


@given(TENANTS)
def test_names_keep_to_their_alphabet_and_length(tenant: Tenant) -> None:
    for kind, name in all_names(tenant).items():
        assert re.fullmatch(ALPHABETS[kind], name), kind
    for label in (*hosts(tenant), *hosts(tenant, "api")):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label)


@given(TENANTS, st.sampled_from(["a", "b", "a-b", "api"]), st.sampled_from(["a", "b", "b-a"]))
def test_no_two_units_of_a_tenant_share_a_name(tenant: Tenant, one: str, other: str) -> None:
    units = {
        names.unit(Key(tenant, name), generation)
        for name in {one, other}
        for generation in (GENERATION, "ba9876543210")
    }
    assert len(units) == 2 * len({one, other})


@given(TENANTS, TENANTS)
def test_only_the_plain_host_may_be_anothers_too(one: Tenant, other: Tenant) -> None:
    if one != other:
        assert not set(hosts(one)[1:]) & set(hosts(other)[1:])


@given(TENANTS)
def test_hosts_never_run_out(tenant: Tenant) -> None:
    assert len(set(islice(names.host_labels(tenant, None), 20))) == 20
    assert hosts(tenant) == hosts(tenant)


@pytest.mark.parametrize(
    ("tenant", "name", "first"),
    [
        (MAIN, None, "shop-main"),
        (MAIN, "api", "shop-api-main"),
        (SLASH, None, "shop-feature-x"),
        (Tenant("shop", Ref.pull_request(42)), None, "shop-pr-42"),
        (Tenant("shop", Ref.branch("pr-42")), None, "shop-pr-42"),
        (Tenant("shop", Ref.branch("Feature_X")), None, "shop-feature-x"),
    ],
)
def test_the_first_host_is_for_people(tenant: Tenant, name: str | None, first: str) -> None:
    assert next(names.host_labels(tenant, name)) == first


@pytest.mark.parametrize("ref", ["日本", "---", "x" * 200])
def test_a_ref_that_cannot_be_a_host_gets_a_hash_at_once(ref: str) -> None:
    label = next(names.host_labels(Tenant("shop", Ref.branch(ref)), None))
    assert re.fullmatch(r"shop(-x{1,47})?-[a-z2-7]{10}", label)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Feature/X", "feature-x"),
        ("a__b--c", "a-b-c"),
        ("-a-", "a"),
        ("日本", ""),
        ("ÄÖ", ""),
        ("1.2.3", "1-2-3"),
    ],
)
def test_slug(text: str, slug: str) -> None:
    assert names.slug(text) == slug


@given(st.text())
def test_a_slug_stays_as_it_is(text: str) -> None:
    assert names.slug(names.slug(text)) == names.slug(text)
    assert re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", names.slug(text))


@pytest.mark.parametrize(
    ("full_name", "plain", "with_owner"),
    [
        ("acme/shop", "shop", "acme-shop"),
        ("acme/My.Shop", "my-shop", "acme-my-shop"),
        ("shop", "shop", "shop"),
    ],
)
def test_project(full_name: str, plain: str, with_owner: str) -> None:
    assert names.project(full_name) == plain
    assert names.project_with_owner(full_name) == with_owner


@given(st.text(max_size=200))
def test_a_project_always_gets_a_name(full_name: str) -> None:
    assert names.PROJECT.fullmatch(names.project(full_name))
    assert names.PROJECT.fullmatch(names.project_with_owner(full_name))


@pytest.mark.parametrize("host", ["example.org", "a.b.example.org", "xn--p1ai.xn--p1ai", "1.de"])
def test_hosts(host: str) -> None:
    assert names.HOST.fullmatch(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "org",
        ".org",
        "example.",
        "-a.org",
        "a-.org",
        "a.-org",
        "a.org-",
        "A.org",
        "a_b.org",
        "a..org",
        "a.org\n",
        "*.org",
        f"{'a' * 64}.org",
        f"{'a.' * 127}org",
    ],
)
def test_what_is_no_host(host: str) -> None:
    assert not names.HOST.fullmatch(host)


def service(name: str) -> Service:
    return Service(name=name, package=name)


@pytest.mark.parametrize(
    ("services", "sites", "primary"),
    [
        ((), (), None),
        (("api",), (), "api"),
        ((), ("web", "docs"), "docs"),
        (("worker", "api"), ("docs",), "api"),
        (("api",), ("shop",), "shop"),
        (("api", "shop"), (), "shop"),
    ],
)
def test_primary(services: tuple[str, ...], sites: tuple[str, ...], primary: str | None) -> None:
    manifest = Manifest(
        services={name: service(name) for name in services},
        sites={name: Site(name=name, package=name) for name in sites},
    )
    assert names.primary_of("shop", manifest) == primary


def test_snapshots_have_names_that_fit_and_that_nobody_else_has() -> None:
    made = [
        names.snapshot(project, what=what)
        for project in ("shop", "p" * 39, "new_shop", "new-shop", "Shop")
        for what in ("", "new", "old")
    ]
    assert made[:2] == ["kennel-snapshot_shop", "kennel-snapshot-new_shop"]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"kennel-snapshot(-new|-old)?_[a-z0-9_-]{1,43}", name) for name in made)
