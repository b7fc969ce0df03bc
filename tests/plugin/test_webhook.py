"""What the webhooks of all forges have in common."""

import hmac

import pytest

from kennel.domain import Ping, Ref, RefChanged, RefDeleted, Repository, Secret
from kennel.plugin import Delivery, webhook

BODY = b'{"ref": "refs/heads/main"}'
SHOP = Repository(forge="f", id="7", full_name="acme/shop", clone_url="https://git.example/s.git")
OLD, NEW = "a" * 40, "c" * 40


def mac(secret: str) -> str:
    return hmac.new(secret.encode(), BODY, "sha256").hexdigest()


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_an_empty_secret_signs_nothing(secret: str) -> None:
    """Anybody can compute the signature that goes with it."""
    assert not webhook.signed(BODY, Secret(secret), [mac(secret)])


@pytest.mark.parametrize("secret", ["s3cret", "größe", "x" * 200])
def test_a_secret_signs(secret: str) -> None:
    assert webhook.signed(BODY, Secret(secret), [mac(secret)])
    assert webhook.signed(BODY, Secret(secret), ["", "0" * 64, f"sha256={mac(secret)}"])


@pytest.mark.parametrize(
    "given", [[], [""], ["sha256="], ["sha256"], ["ü" * 64], [mac("s3cret")[:-1]], ["sha1=" + "0"]]
)
def test_what_is_no_signature(given: list[str]) -> None:
    assert not webhook.signed(BODY, Secret("s3cret"), given)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/x-www-form-urlencoded", True),
        ("Application/X-WWW-Form-Urlencoded; charset=utf-8", True),
        ("application/json", False),
        ("", False),
    ],
)
def test_what_is_a_form(kind: str, expected: bool) -> None:
    assert webhook.is_form(Delivery(headers={"content-type": kind}, body=b"")) == expected


def test_a_push() -> None:
    head = Ref.branch("main")
    changed = RefChanged(repository=SHOP, ref=head, commit=NEW)
    assert webhook.pushed(SHOP, ref="refs/heads/main", before=OLD, after=NEW) == changed
    gone = RefDeleted(repository=SHOP, ref=head)
    assert webhook.pushed(SHOP, ref="refs/heads/main", before=OLD, after="0" * 40) == gone
    assert isinstance(webhook.pushed(SHOP, ref="refs/heads/main", before=NEW, after=NEW), Ping)


def test_foreign_text_is_shown_short_and_harmless() -> None:
    assert webhook.shown("a\x1b[2J\u202eb") == r"'a\x1b[2J\u202eb'"
    assert len(webhook.shown("x" * 1000)) == 82


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T01:00:00.5+01:00", 0.5),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01", None),
        ("99999-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert webhook.moment(text) == seconds
