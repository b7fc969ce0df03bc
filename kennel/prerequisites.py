"""What has to be on the machine besides Kennel."""

import shutil

PROGRAMS = ("git", "nix", "nix-build", "nix-store")
"""What no build can do without."""


def missing_programs() -> list[str]:
    """Return which programs that builds need are not on our PATH."""
    return [program for program in PROGRAMS if shutil.which(program) is None]
