"""Names that were published: recorded before they are, so that all of them are taken away again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "publications",
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("provider", sa.String(length=63), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("host", "provider", name="pk_publications"),
    )
