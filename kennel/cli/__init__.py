"""The command line: `kennel --help`. It talks to the daemon through its control socket."""

import sys


def main() -> None:
    """Run the command that was typed and exit with its status (see `kennel.cli.outcome`)."""
    from kennel.cli.app import run

    sys.exit(run(sys.argv[1:]))
