"""The example plugin, installed and tested the way somebody outside this repository would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kennel.testing.host import NoBox, systemd_box
from kennel.testing.missing import missing

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "kennel_example"
CLEAN = {
    k: v for k, v in os.environ.items() if not k.startswith(("UV_PROJECT", "VIRTUAL_ENV", "PYTHON"))
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=CLEAN | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder outside the repository: the example's sources and a fresh environment."""
    if not (uv := shutil.which("uv")):
        missing("no uv here: it builds and installs packages")
    place = tmp_path_factory.mktemp("outside")
    ignore = shutil.ignore_patterns("__pycache__", ".*", "dist")
    shutil.copytree(EXAMPLE, place / "example", ignore=ignore)
    for source in (ROOT, place / "example"):
        run(uv, "build", "-q", "--wheel", "--out-dir", place / "wheels", source, cwd=place)
    run(uv, "venv", "-q", place / "venv", cwd=place)
    kennel, example = sorted(
        (place / "wheels").glob("*.whl"), key=lambda wheel: "example" in wheel.name
    )
    wheels = (f"{kennel}[testing]", f"{example}[test]")
    python = place / "venv" / "bin" / "python"
    run(uv, "pip", "install", "-q", "--python", python, *wheels, cwd=place)
    return place


def test_its_own_tests_pass(outside: Path) -> None:
    """And so does the conformance suite, from the installed packages alone."""
    pytest_ = outside / "venv" / "bin" / "pytest"
    said = run(pytest_, "-q", "-p", "no:cacheprovider", cwd=outside / "example")
    assert " passed" in said
    assert "skipped" not in said


def test_kennel_lists_it(outside: Path) -> None:
    config = outside / "kennel.toml"
    config.write_text(
        f'state_dir = "{outside}/state"\nrun_dir = "{outside}/run"\n[plugins.example]\n'
    )
    kennel = outside / "venv" / "bin" / "kennel"
    listed = json.loads(run(kennel, "plugins", "--json", cwd=outside, KENNEL_CONFIG=str(config)))
    (example,) = [plugin for plugin in listed if plugin["name"] == "example"]
    assert example["package"] == "kennel-example"
    assert example["kinds"] == ["provisioner"]
    assert example["on"] is True


def test_it_is_no_part_of_the_workspace() -> None:
    assert "kennel-example" not in (ROOT / "uv.lock").read_text()


MAKE = """
import asyncio
from pathlib import Path
from kennel_example import SqliteProvisioner
from kennel.domain import Ref, Tenant
provisioner = SqliteProvisioner(Path("/var/lib/kennel-sqlite"))
env = asyncio.run(provisioner.ensure(Tenant("shop", Ref.branch("main")), {}))
print(env["DATABASE_PATH"].value)
"""
USE = """
import os, sqlite3, sys
for look in (os.listdir, open):
    try:
        look("/var/lib/kennel-sqlite" + ("/index.db" if look is open else ""))
    except PermissionError:
        print("kept out")
with sqlite3.connect(sys.argv[1]) as database:
    database.execute("CREATE TABLE IF NOT EXISTS visits (user)")
    database.execute("INSERT INTO visits VALUES (?)", (os.getuid(),))
print(database.execute("SELECT count(*) FROM visits").fetchone()[0])
"""
SANDBOX = [
    word
    for option in ("DynamicUser=yes", "ProtectSystem=strict", "PrivateTmp=yes", "UMask=0077")
    for word in ("-p", option)
]


def test_a_service_in_the_sandbox_can_use_its_file(tmp_path: Path) -> None:
    """What the README says of systemd: without the drop-in nothing is written, with it all is."""
    python = "/usr/bin/python3"
    if not Path(python).exists():
        missing(f"no {python} here that a service could run")
    drop_in = (EXAMPLE / "README.md").read_text().partition("```ini\n")[2].partition("```")[0]
    path = drop_in.splitlines()[0].removeprefix("# ")
    try:
        with systemd_box(tmp_path / "box", network="private") as box:
            folders = f"PYTHONPATH={ROOT}:{EXAMPLE}"
            made = box.run(["env", "-C", "/", folders, sys.executable, "-c", MAKE]).stdout.strip()
            service = ["-q", "--wait", "--pipe", "--collect", *SANDBOX, python, "-I", "-c", USE]

            def visit(unit: str) -> subprocess.CompletedProcess[str]:
                named = f"--unit=kennel-shop--main--api--{unit}"
                return box.run(["systemd-run", named, *service, made], check=False)

            assert "unable to open database file" in visit("1").stderr
            write = f"mkdir -p {Path(path).parent}; cat > {path} <<'X'\n{drop_in}X\n"
            box.run(["sh", "-c", f"{write} systemctl daemon-reload"])
            assert visit("2").stdout.split("\n") == ["kept out", "kept out", "1", ""]
            assert visit("3").stdout.split("\n") == ["kept out", "kept out", "2", ""]
    except NoBox as why:
        missing(str(why))
