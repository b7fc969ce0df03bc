"""Which environment a ref is deployed to."""

from enum import StrEnum

from kennel.domain.tenant import Ref, RefKind


class Environment(StrEnum):
    """An environment; also the secretspec profile of that name."""

    PROD = "prod"
    STAGING = "staging"
    DEV = "dev"
    PREVIEW = "preview"


LONG_LIVED = {
    "main": Environment.PROD,
    "staging": Environment.STAGING,
    "dev": Environment.DEV,
}


def environment_of(ref: Ref) -> Environment:
    """Return the environment of a ref of the project's own repository.

    A pull request is always a preview, whatever its head branch is called.
    """
    if ref.kind is RefKind.PULL_REQUEST:
        return Environment.PREVIEW
    return LONG_LIVED.get(ref.short, Environment.PREVIEW)
