"""What a developer is told of a deployment that failed."""

from collections.abc import Mapping, Sequence

from kennel.domain import Secret

LOG_LINES = 20
MOST_REASON = 8000
SHORTEST_SECRET = 6
"""What is shorter is in every other word: taking it out would say more than leaving it in."""


def with_last_lines(why: str, lines: Sequence[str]) -> str:
    """Return why something failed, with what it wrote last."""
    said = "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"
    return f"{why}\nits last lines:\n{said}"


def told(text: str, env: Mapping[str, Secret]) -> str:
    """Return what a service said, fit to be kept and shown.

    Without the values it was given, without what no database takes, and not without end.
    """
    values = {secret.value for secret in env.values() if len(secret.value) >= SHORTEST_SECRET}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "[secret]")
    text = text.replace("\0", "")
    if len(text) > MOST_REASON:
        text = f"{text[: MOST_REASON // 2]}\n  …\n{text[-MOST_REASON // 2 :]}"
    return text
