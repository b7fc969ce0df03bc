"""Addresses of repositories."""

from pathlib import Path

import pytest

from kennel.cli.outcome import Exit, Failure
from kennel.cli.repository import parse


@pytest.mark.parametrize(
    ("text", "host", "full_name", "forge"),
    [
        ("https://git.example.org/acme/shop.git", "git.example.org", "acme/shop", "forgejo"),
        ("https://git.example.org/acme/shop/", "git.example.org", "acme/shop", "forgejo"),
        ("https://example.org/forge/acme/shop", "example.org", "acme/shop", "forgejo"),
        ("ssh://git@git.example.org:2222/acme/shop.git", "git.example.org", "acme/shop", "forgejo"),
        ("git@github.com:acme/shop.git", "github.com", "acme/shop", "github"),
        ("git.example.org:acme/shop", "git.example.org", "acme/shop", "forgejo"),
        ("https://github.com/acme/shop", "github.com", "acme/shop", "github"),
        ("file:///srv/git/acme/shop.git", "", "acme/shop", "forgejo"),
    ],
)
def test_addresses(text: str, host: str, full_name: str, forge: str) -> None:
    address = parse(text)
    assert (address.url, address.host) == (text, host)
    assert (address.full_name, address.forge) == (full_name, forge)


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme/shop.git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "acme")
    address = parse("shop.git")
    assert address.url == str(tmp_path / "acme/shop.git")
    assert (address.full_name, address.host) == ("acme/shop", "")


@pytest.mark.parametrize(
    "text", ["shop", "acme/shop", "ftp://x/acme/shop", "https://x/", "ext::sh"]
)
def test_what_is_no_address_is_wrong_usage(text: str) -> None:
    with pytest.raises(Failure) as caught:
        parse(text)
    assert caught.value.code is Exit.USAGE
    assert caught.value.hint


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(Failure) as caught:
        parse("https://bot:hunter2@git.example.org/acme/shop")
    assert "hunter2" not in str(caught.value) + caught.value.hint
    assert "--token" in caught.value.hint
