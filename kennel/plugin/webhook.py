"""What the webhooks of all git forges have in common, for plugins that offer a `Forge`. Pure.

Everything in a payload was written by somebody else. What comes out of here is of the right form:
a commit is a commit, a branch has a name that git would take, a repository can be cloned from
where it says. Whatever is not raises `ValueError` naming the field.
"""

import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from kennel.domain import Event, Ignored, Ping, Ref, RefChanged, RefDeleted, Repository, Secret
from kennel.plugin.ports import Delivery

T = TypeVar("T")

HEADS, TAGS = "refs/heads/", "refs/tags/"
COMMIT = re.compile(r"[0-9a-f]{40,64}")
NOTHING = re.compile(r"0{40,64}")
FULL_NAME = re.compile(r"(?:[A-Za-z0-9_.-]+/)+[A-Za-z0-9_.-]+")
CLONE_URL = re.compile(r"(?:https?|ssh)://[^\s\x00-\x20\x7f-\x9f/][^\s\x00-\x20\x7f-\x9f]*")
CONTROL = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
NOT_IN_A_REF = re.compile(
    rf"[{CONTROL} ~^:?*\[\\]|\.\.|@\{{|//|(?:^|/)\.|\.lock(?:/|$)|[./]$|^[-/]|^@$"
)
"""What git-check-ref-format(1) refuses, what looks like an option, and what fools a terminal."""
LONGEST_REF, LONGEST_NAME, LONGEST_URL, LONGEST_SHOWN = 500, 255, 2048, 80
FORM = "application/x-www-form-urlencoded"


def signed(message: bytes, secret: Secret, signatures: Iterable[str]) -> bool:
    """Return, in constant time, whether one of the signatures is the message's HMAC-SHA256.

    They are hexadecimal, with or without `sha256=`. An empty secret signs nothing, and an empty
    signature (which Forgejo sends for a hook without a secret) is none.
    """
    given = [one for text in signatures if (one := text.strip().lower().removeprefix("sha256="))]
    if not given or not secret.value.strip():
        return False
    key = secret.value.encode(errors="surrogateescape")
    right = hmac.digest(key, message, "sha256").hex().encode()
    matches = [hmac.compare_digest(right, one.encode()) for one in given]  # every one, always
    return any(matches)


def is_form(delivery: Delivery) -> bool:
    """Return whether the body is a form with the JSON text in its field `payload`."""
    kind = delivery.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == FORM


def payload(delivery: Delivery) -> bytes:
    """Return the JSON text of a delivery, taken out of the form if it came in one."""
    if not is_form(delivery):
        return delivery.body
    try:
        fields = parse_qsl(
            delivery.body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8
        )
    except ValueError as error:
        raise ValueError("the body is no form with a field 'payload'") from error
    values = [value for name, value in fields if name == "payload"]
    if len(values) != 1:
        raise ValueError(f"the form has {len(values)} fields 'payload' where one is expected")
    return values[0].encode()


def decode(shape: type[T], text: bytes) -> T:
    """Return JSON as `shape`. Raises ValueError saying which field is missing or wrong."""
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"the payload is not as expected: {error}") from error
    except RecursionError as error:
        raise ValueError("the payload is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"the payload is not JSON: {error}") from error


def repository(
    *, forge: str, number: int, full_name: str, clone_url: str, default_branch: str | None
) -> Repository:
    """Return a repository as a payload describes it. `number`: its id at the forge."""
    parts = full_name.split("/")
    if (
        len(full_name) > LONGEST_NAME
        or not FULL_NAME.fullmatch(full_name)
        or {".", ".."} & {*parts}
    ):
        raise ValueError(f"repository.full_name: {shown(full_name)} is not OWNER/NAME")
    if len(clone_url) > LONGEST_URL or not CLONE_URL.fullmatch(clone_url):
        raise ValueError(f"repository.clone_url: {shown(clone_url)} is no https or ssh URL")
    main = branch(default_branch or "main", where="repository.default_branch")
    return Repository(
        forge=forge,
        id=str(number),
        full_name=full_name,
        clone_url=clone_url,
        default_branch=main.short,
    )


def absent(commit_id: str) -> bool:
    """Return whether an id is the one of no commit: 40 zeros, or 64 in a SHA-256 repository."""
    return NOTHING.fullmatch(commit_id) is not None


def commit(text: str, *, where: str) -> str:
    """Return the id of a commit. `where` names the field in errors."""
    if not COMMIT.fullmatch(text) or absent(text):
        raise ValueError(f"{where}: {shown(text)} is no id of a commit")
    return text


def branch(name: str, *, where: str) -> Ref:
    """Return the ref of a branch by its short name. `where` names the field in errors."""
    if not name or len(name) > LONGEST_REF or NOT_IN_A_REF.search(name):
        raise ValueError(f"{where}: {shown(name)} is no name of a branch")
    return Ref.branch(name)


def pull_request(number: int, *, where: str) -> Ref:
    """Return the ref of a pull request. `where` names the field in errors."""
    if not 0 < number < 1 << 53:
        raise ValueError(f"{where}: {number} is no number of a pull request")
    return Ref.pull_request(number)


def moment(text: str | None) -> float | None:
    """Return a time such as `2026-01-02T03:04:05Z` in seconds since the epoch.

    None where there is none, or none that can be read.
    """
    try:
        read = msgspec.convert(text, datetime) if text else None
    except msgspec.ValidationError:
        return None
    return read.timestamp() if read and read.tzinfo else None


def pushed(repository: Repository, *, ref: str, before: str, after: str) -> Event:
    """Return what a push means: `ref`, a full name, went from one commit to another.

    A push from a commit to itself is what forges send when somebody tests a hook.
    """
    if not ref.startswith(HEADS):
        what = "a tag" if ref.startswith(TAGS) else "no branch"
        return Ignored(reason=f"{shown(ref)} is {what}; only branches are deployed")
    head = branch(ref.removeprefix(HEADS), where="ref")
    if absent(after):
        return RefDeleted(repository=repository, ref=head)
    after = commit(after, where="after")
    if before == after:
        return Ping(about=f"a test: {head} did not move")
    return RefChanged(repository=repository, ref=head, commit=after)


def shown(text: str) -> str:
    """Return a foreign text so that it can be put into a message: quoted, escaped and short."""
    return ascii(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "...")
