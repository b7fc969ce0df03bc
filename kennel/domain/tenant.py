"""Who owns what: refs, tenants and the keys of what they run."""

import re
from dataclasses import dataclass
from enum import Enum

HEADS = "refs/heads/"
PULL = re.compile(r"refs/pull/([1-9][0-9]*)/head")
AMBIGUOUS = re.compile(r"pr-[1-9][0-9]*|heads/.*|refs/.*")
"""Branches whose short name `parse` would read as something else."""
REFUSED = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]"  # what git refuses, and what is no text at all
    r"|\.\.|@\{|//|(?:^|/)\.|(?:\.lock|\.|/)(?:/|$)"
)
"""What no ref can hold: see git-check-ref-format(1). Some of it means more to git than a name."""


class RefKind(Enum):
    """What a ref is in the forge."""

    BRANCH = "branch"
    PULL_REQUEST = "pull request"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """A branch or a pull request, by its full name in git.

    The full name tells the branch `pr-42` (`refs/heads/pr-42`) from pull request 42
    (`refs/pull/42/head`); their short names would not.
    """

    name: str

    def __post_init__(self) -> None:
        branch = self.name.startswith(HEADS) and self.name != HEADS
        if not branch and not PULL.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is neither refs/heads/BRANCH nor refs/pull/N/head")
        if wrong := REFUSED.search(self.name):
            raise ValueError(f"{self.name!r} is no name of a ref: git allows no {wrong[0]!r} there")

    @classmethod
    def branch(cls, name: str) -> "Ref":
        return cls(HEADS + name)

    @classmethod
    def pull_request(cls, number: int) -> "Ref":
        return cls(f"refs/pull/{number}/head")

    @classmethod
    def parse(cls, text: str) -> "Ref":
        """Return the ref that a person means: `main`, `pr-42`, `heads/pr-42` or a full name."""
        if text.startswith("refs/"):
            return cls(text)
        if re.fullmatch(r"pr-[1-9][0-9]*", text):
            return cls.pull_request(int(text[3:]))
        return cls.branch(text.removeprefix("heads/"))

    @property
    def kind(self) -> RefKind:
        return RefKind.BRANCH if self.name.startswith(HEADS) else RefKind.PULL_REQUEST

    @property
    def short(self) -> str:
        """Return the name without its prefix: the branch, or `pr-42`. Not unique."""
        if pull := PULL.fullmatch(self.name):
            return f"pr-{pull[1]}"
        return self.name.removeprefix(HEADS)

    def __str__(self) -> str:
        """Return what `parse` reads back: short where that is unambiguous."""
        if self.kind is RefKind.BRANCH and AMBIGUOUS.fullmatch(self.short):
            return f"heads/{self.short}"
        return self.short


@dataclass(frozen=True, slots=True, order=True)
class Tenant:
    """One project at one ref: the owner of everything a deployment is given."""

    project: str
    ref: Ref

    def __str__(self) -> str:
        return f"{self.project}/{self.ref}"

    @classmethod
    def parse(cls, text: str) -> "Tenant":
        """Read back what `str` wrote. Raises ValueError for anything else."""
        project, slash, ref = text.partition("/")
        if not (project and slash and ref):
            raise ValueError(f"{text!r} is not PROJECT/REF")
        return cls(project, Ref.parse(ref))


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one deployed thing: the service or site `name` of a tenant."""

    tenant: Tenant
    name: str

    def __str__(self) -> str:
        return f"{self.tenant}:{self.name}"
