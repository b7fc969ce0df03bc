"""Which links a site may hold."""

from pathlib import Path

import pytest

from kennel.builtin.caddy import links
from kennel.errors import Rejected
from kennel.testing.router import MAIN

HASHES = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for name, letter in zip(("site", "other", "third"), HASHES, strict=True):
        (store / f"{letter}-{name}" / "sub").mkdir(parents=True)
    return store


def path(store: Path, number: int) -> Path:
    return next(store.glob(f"{HASHES[number]}-*"))


def accepts(root: Path) -> bool:
    try:
        links.Links().refuse_escapes(MAIN, [str(root)])
    except Rejected:
        return False
    return True


@pytest.mark.parametrize(
    "target", ["sub", "../{site}/sub", "sub/nowhere", "{store}/{site}/sub", "{store}/{other}/sub"]
)
def test_links_within_the_store(store: Path, target: str) -> None:
    site = path(store, 0)
    names = {"store": store, "site": site.name, "other": path(store, 1).name}
    (site / "link").symlink_to(target.format(**names))
    assert accepts(site)


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "/etc",
        "../../outside",
        "{store}",
        "../..",
        "/",
        "{store}/not-a-path",
        "{store}/dddddddddddddddddddddddddddddddd-to-be-built",
        "/proc/self/root",
    ],
)
def test_links_that_lead_out(store: Path, target: str) -> None:
    site = path(store, 0)
    (store.parent / "outside").write_text("secret")
    (site / "sub" / "link").symlink_to(target.format(store=store))
    assert not accepts(site)


def test_links_that_lead_out_by_a_detour(store: Path) -> None:
    """A link to another output of the same build, which has the link that matters."""
    site, other, third = (path(store, number) for number in range(3))
    (site / "one").symlink_to(other / "sub")
    (other / "sub" / "two").symlink_to(third)
    assert accepts(site)
    (third / "three").symlink_to("/etc")
    assert not accepts(site)


def test_the_site_may_be_a_link_itself(store: Path) -> None:
    site, other = path(store, 0), path(store, 1)
    (site / "share").symlink_to(other)
    assert accepts(site / "share")
    (other / "link").symlink_to("/etc")
    assert not accepts(site / "share")
    outside = store.parent / "outside"
    outside.mkdir()
    (site / "home").symlink_to(outside)
    assert not accepts(site / "home")


def test_links_in_a_circle(store: Path) -> None:
    site, other = path(store, 0), path(store, 1)
    (site / "self").symlink_to(".")
    (site / "other").symlink_to(other)
    (other / "back").symlink_to(site)
    assert accepts(site)


def test_outside_of_a_store_only_the_site_itself_counts(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "link").symlink_to("sub")
    assert accepts(site)
    (site / "out").symlink_to(tmp_path)
    assert not accepts(site)


def test_a_site_of_boundless_size_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MANY", 10)
    site = path(store, 0)
    for number in range(9):
        (site / str(number)).touch()
    assert accepts(site)
    (site / "more").touch()
    assert not accepts(site)
