"""Measure: `python -m benchmarks [SUBJECT ...]`. See docs/benchmarks.md."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.scale import TINY, Scale
from benchmarks.subjects import SUBJECTS
from kennel.testing.host import NoBox

RESULTS = Path(__file__).with_name("results")


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is asked for, show tables, write figures. Return the exit status."""
    options = _parser().parse_args(words)
    scale = _scale(options)
    figures: dict[str, Any] = {"about": _about(), "scale": asdict(scale)}
    for name in options.subjects or SUBJECTS:
        print(f"... {name}: {SUBJECTS[name].what}", file=sys.stderr)
        try:
            figures[name] = SUBJECTS[name].run(scale)
        except NoBox as reason:
            print(f"{name}: cannot be measured here: {reason}\n")
            continue
        for table in SUBJECTS[name].tables(figures[name]):
            print(f"{table}\n", flush=True)
    _write(options.json, figures)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Kennel, with a peer beside each figure.",
        epilog="\n".join(f"  {name:<10} {one.what}" for name, one in SUBJECTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help="what to measure: all")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes: does it run?")
    parser.add_argument(
        "--deployments", type=_numbers, metavar="N,N", help="sizes of passes, router"
    )
    for field in fields(Scale):
        if field.name != "deployments":
            kind = float if field.name == "seconds" else int
            option = f"--{field.name.replace('_', '-')}"
            parser.add_argument(option, type=kind, metavar="N", help=f"{field.default} by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _scale(options: argparse.Namespace) -> Scale:
    for name in options.subjects:
        if name not in SUBJECTS:
            sys.exit(f"there is no subject {name!r}; there is: {', '.join(SUBJECTS)}")
    given = {field.name: getattr(options, field.name) for field in fields(Scale)}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(TINY if options.tiny else Scale(), **chosen)


def _about() -> dict[str, Any]:
    """Return what the figures depend on. `load`: of others, before anything was measured."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _write(file: Path | None, figures: dict[str, Any]) -> None:
    stamp = figures["about"]["at"].replace(":", "")
    target = file or RESULTS / f"{stamp}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"The figures are in {target}")


if __name__ == "__main__":
    sys.exit(main())
