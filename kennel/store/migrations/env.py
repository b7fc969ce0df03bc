"""Alembic's way in. Kennel runs migrations itself, at start, on a connection of its own."""

from alembic import context

from kennel.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
