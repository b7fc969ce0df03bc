"""`kennel demo`."""


def demo() -> None:
    """x"""
