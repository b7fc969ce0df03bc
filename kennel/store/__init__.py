"""What Kennel remembers: SQLAlchemy tables and the questions the daemon asks of them.

A question is a function of a connection, so that several make one transaction:

    await store.write(lambda db: builds.queue(db, ...))
"""

from kennel.store.store import Store

__all__ = ["Store"]
