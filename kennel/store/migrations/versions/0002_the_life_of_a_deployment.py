"""The life of a deployment: what people decide about refs, what left, and what was good."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "departures",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("ref", sa.String(length=512), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("left_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_departures_project_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "ref", name=op.f("pk_departures")),
    )
    with op.batch_alter_table("builds") as batch_op:
        batch_op.add_column(sa.Column("released_at", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("good_at", sa.Float(), nullable=True))
    op.execute("UPDATE builds SET good_at = finished_at WHERE state = 'done'")
    with op.batch_alter_table("generations") as batch_op:
        batch_op.alter_column("port", existing_type=sa.Integer(), nullable=True)
    _add_to_tenants()


def _add_to_tenants() -> None:
    """Add columns with what was so of every ref until now."""
    no = sa.false()
    columns: list[sa.Column[Any]] = [
        sa.Column("confirmed", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("purged", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("stopped", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("head", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("approved", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("labelled", sa.Boolean(), nullable=False, server_default=no),
        sa.Column("heard_at", sa.Float(), nullable=True),
    ]
    with op.batch_alter_table("tenants") as batch_op:
        for column in columns:
            batch_op.add_column(column)
