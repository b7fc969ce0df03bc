"""PostgreSQL 17 from Debian 13, in a root file system of its own in a cache.

Its packages are unpacked side by side with the machine's own system and not installed: each
program is started with the loader and the libraries of that root, by anybody, without a chroot.
It is made once, where apt knows Debian; see scripts/setup.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kennel.testing.missing import missing

SYSTEM_CACHE = Path("/var/cache")
PROGRAMS = Path("usr/lib/postgresql/17/bin")
NEEDLESS = ("libllvm", "libperl", "perl", "libgdbm", "libdb5", "locales", "ssl-cert", "ucf")
"""Packages that are not unpacked: for compiling queries, and for installing."""


def _cache() -> Path:
    """Return the user's cache; root's cannot be entered by the user that runs the server."""
    if os.geteuid() == 0:
        return SYSTEM_CACHE / "kennel"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kennel"


def postgresql_17() -> Path:
    """Return the folder of its programs; fetch what is missing.

    Skips the test (or fails it, where everything is required) where that cannot be done.
    """
    cache = _cache()
    root = cache / "debian-13"
    if not (root / "made").exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            missing("PostgreSQL 17 is unpacked from Debian's packages: there is no apt-get here")
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "debian-13.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / "made").exists():
                _make(root)
    return root / PROGRAMS


def _make(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="kd13") as folder:
            for package in _fetched(Path(folder)):
                _run("dpkg-deb", "--extract", str(package), str(root))
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        missing(f"PostgreSQL 17 of Debian 13 cannot be fetched: {said[-1] if said else error}")
    for program in (root / PROGRAMS).iterdir():
        _wrap(root, program)
    (root / "made").touch()


def _fetched(folder: Path) -> Sequence[Path]:
    """Fetch the packages of PostgreSQL 17 and all that they need."""
    listed = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    mirror = next((uri for uri in listed.split() if uri.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        missing("PostgreSQL 17 is unpacked from Debian's packages: apt knows no mirror of Debian")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    (folder / "status").touch()
    source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} trixie main"
    (folder / "sources.list").write_text(source + "\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::PreferencesParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "Debug::NoLocking": "true",
        "Acquire::Languages": "none",
    }
    words = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _run(*words, "update")
    _run(*words, "install", "--yes", "--download-only", "postgresql-17")
    packages = sorted((folder / "cache" / "archives").glob("*.deb"))
    return [file for file in packages if not file.name.startswith(NEEDLESS)]


def _wrap(root: Path, program: Path) -> None:
    """Put in a program's place what starts it with the loader and the libraries of the root."""
    real = root / PROGRAMS.parent / "real" / program.name
    real.parent.mkdir(exist_ok=True)
    program.rename(real)
    libraries = sorted({str(file.parent) for file in (root / "usr/lib").glob("*/lib*.so*")})
    loader = next((root / "usr/lib").glob("*/ld-linux*.so*"))
    program.write_text(
        "#!/bin/sh\n"
        f'exec "{loader}" --library-path "{":".join(libraries)}" --argv0 "$0" "{real}" "$@"\n'
    )
    program.chmod(0o755)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout
