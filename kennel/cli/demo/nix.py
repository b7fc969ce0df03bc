"""Which Nix store the demo builds in: the machine's, or one of its own."""

import grp
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

STORE = Path("/nix/store")
DAEMON = Path("/nix/var/nix/daemon-socket/socket")
STORE_VARIABLE = "NIX_STORE_DIR"
BUILDERS = "nixbld"
"""The group that Nix's installers make."""
FEATURES = "experimental-features = nix-command flakes"


def environment(folder: Path) -> Mapping[str, str]:
    """Return the variables for Nix. `folder` is made and used only for a store of our own."""
    if usable():
        return {"NIX_CONFIG": FEATURES}
    return _private(folder)


def usable() -> bool:
    """Return whether this user can build in the machine's store."""
    return os.access(DAEMON, os.W_OK) or (os.access(STORE, os.W_OK) and _has_builders())


def _has_builders() -> bool:
    """Return whether Nix has users to build as. It asks for them where it is root."""
    if os.geteuid() != 0:
        return True
    try:
        grp.getgrnam(BUILDERS)
    except KeyError:
        return False
    return True


def _private(folder: Path) -> Mapping[str, str]:
    """Make a store that needs no rights and no network: Debian's nix-bin comes without one."""
    variables = {
        STORE_VARIABLE: folder / "store",
        "NIX_STATE_DIR": folder / "var",
        "NIX_LOG_DIR": folder / "log",
        "NIX_CONF_DIR": folder / "conf",
        "XDG_CACHE_HOME": folder / "cache",  # Nix remembers paths of its store there
    }
    for path in variables.values():
        path.mkdir(parents=True)
    (folder / "conf/nix.conf").write_text(
        f"{FEATURES}\nbuild-users-group =\nsandbox = false\nsubstituters =\nflake-registry =\n"
    )
    chosen = {**{name: str(path) for name, path in variables.items()}, "NIX_REMOTE": "local"}
    inherited = {"PATH": os.environ.get("PATH", os.defpath)}
    # two that meet a new store at once would trip over each other
    subprocess.run(["nix-store", "--init"], env={**inherited, **chosen}, check=True)
    return chosen
