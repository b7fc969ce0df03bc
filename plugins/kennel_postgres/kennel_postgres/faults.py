"""What the server's errors mean to whoever has to act."""

import re

import psycopg

from kennel.errors import ProviderError, Rejected, Unavailable

PASSING = re.compile("08|40|53|55|57|58|XX")
"""Classes of SQLSTATE that say nothing of the request: another time it may work."""

REFUSED = re.compile("authentication failed|no pg_hba.conf entry|does not exist|not permitted")
"""What the server says to whom it does not let in; there is no SQLSTATE before that."""

ONCE_MORE = frozenset({"55006", "XX000", "40001", "40P01"})
"""Object in use, tuple concurrently updated, and the two of transactions: worth trying at once."""


def explained(error: psycopg.Error) -> ProviderError:
    """Return an error of Kennel's for one of the server's. It holds no statement, so no secret."""
    said = (error.diag.message_primary or str(error).partition("\n")[0]).strip()
    state = error.sqlstate
    if state is None:
        return _no_answer(said)
    if state == "42501":
        return Rejected(
            f"postgres: {said}: Kennel's role needs CREATEDB and CREATEROLE, and must have made"
            " what it changes"
        )
    if state == "55P03":
        return Unavailable(f"postgres: {said}: a backup, a restore or a removal is under way")
    if PASSING.match(state):
        return Unavailable(f"postgres: {said}")
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return Rejected(f"postgres: {said}{detail}")


def _no_answer(said: str) -> ProviderError:
    if REFUSED.search(said):
        return Rejected(
            f"postgres: {said}: see that Kennel's role and database are there, and that"
            " pg_hba.conf lets it in (peer: the role is called like the system's user)"
        )
    return Unavailable(
        f"postgres: {said or 'no answer'}: see that the server runs, and that"
        " [plugins.postgres] says where"
    )
