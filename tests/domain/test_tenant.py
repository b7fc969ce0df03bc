"""Refs, tenants and keys, and the text they are written as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import Key, Ref, RefKind, Tenant


@pytest.mark.parametrize(
    ("ref", "short", "text"),
    [
        (Ref.branch("main"), "main", "main"),
        (Ref.branch("feature/x"), "feature/x", "feature/x"),
        (Ref.pull_request(42), "pr-42", "pr-42"),
        (Ref.branch("pr-42"), "pr-42", "heads/pr-42"),
        (Ref.branch("pr-042"), "pr-042", "pr-042"),
        (Ref.branch("pr-0"), "pr-0", "pr-0"),
        (Ref.branch("heads/main"), "heads/main", "heads/heads/main"),
        (Ref.branch("heads/pr-42"), "heads/pr-42", "heads/heads/pr-42"),
        (Ref.branch("refs/heads/main"), "refs/heads/main", "heads/refs/heads/main"),
        (Ref.branch("refs/pull/42/head"), "refs/pull/42/head", "heads/refs/pull/42/head"),
        (Ref.branch("refs"), "refs", "refs"),
        (Ref.branch("日本"), "日本", "日本"),
    ],
)
def test_a_ref_is_written_and_read(ref: Ref, short: str, text: str) -> None:
    assert ref.short == short
    assert str(ref) == text
    assert Ref.parse(text) == ref
    assert Ref.parse(ref.name) == ref


def test_a_branch_called_like_a_pull_request_is_none() -> None:
    branch, pull = Ref.branch("pr-42"), Ref.pull_request(42)
    assert branch != pull
    assert branch.kind is RefKind.BRANCH
    assert pull.kind is RefKind.PULL_REQUEST


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("main", Ref.branch("main")),
        ("heads/main", Ref.branch("main")),
        ("refs/heads/main", Ref.branch("main")),
        ("pr-7", Ref.pull_request(7)),
        ("refs/pull/7/head", Ref.pull_request(7)),
    ],
)
def test_what_people_write(text: str, ref: Ref) -> None:
    assert Ref.parse(text) == ref


@pytest.mark.parametrize(
    "name",
    [
        "",
        "main",
        "refs/heads/",
        "refs/tags/v1",
        "refs/pull/42/merge",
        "refs/pull/042/head",
        "refs/pull/0/head",
        "refs/pull/٤/head",
        "refs/pull/42/head\n",
    ],
)
def test_what_is_neither_branch_nor_pull_request(name: str) -> None:
    with pytest.raises(ValueError, match="is neither refs/heads/BRANCH nor refs/pull/N/head"):
        Ref(name)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a\nb",
        "a\0b",
        "a\x7f",
        "a..b",
        "../main",
        "a:refs/heads/main",
        "*",
        "a?",
        "a[b",
        "a\\b",
        "a^",
        "a~1",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "\udcff",
    ],
)
def test_what_git_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="git allows no"):
        Ref.branch(name)


BRANCHES = st.text(min_size=1, max_size=60) | st.from_regex(
    r"(refs/|heads/|pull/|pr-|[a-z0-9-]{1,5}/?){1,5}", fullmatch=True
)


def ref_or_none(name: str) -> Ref | None:
    try:
        return Ref.branch(name)
    except ValueError:
        return None


REFS = BRANCHES.map(ref_or_none).filter(bool) | st.integers(1).map(Ref.pull_request)
PROJECTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?", fullmatch=True)
TENANTS = st.builds(Tenant, PROJECTS, REFS)


@given(REFS)
def test_every_ref_is_read_back(ref: Ref) -> None:
    assert Ref.parse(str(ref)) == ref
    assert Ref.parse(ref.name) == ref


@given(TENANTS)
def test_every_tenant_is_read_back(tenant: Tenant) -> None:
    assert Tenant.parse(str(tenant)) == tenant


@given(TENANTS, TENANTS)
def test_no_two_tenants_are_written_alike(one: Tenant, other: Tenant) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "shop", "shop/", "/main", "/", "shop/a..b", "shop/refs/x"])
def test_what_is_no_tenant(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Tenant.parse(text)


def test_a_key_says_what_it_names() -> None:
    assert str(Key(Tenant("shop", Ref.branch("feature/x")), "api")) == "shop/feature/x:api"
