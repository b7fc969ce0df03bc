"""`python -m kennel` is `kennel`."""

from kennel.cli import main

main()
