"""Several custom domains of one service or site, and hosts that lead to the first of them."""

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

builds = sa.table("builds", sa.column("id", sa.Integer), sa.column("manifest", sa.JSON))


def upgrade() -> None:
    with op.batch_alter_table("hosts") as batch_op:
        batch_op.add_column(sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(
            sa.Column("redirect", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    _rename_the_single_one(op.get_bind())


def _rename_the_single_one(db: Connection) -> None:
    """Write the custom domain of what was built before as a list: it may be deployed again."""
    query = sa.text("SELECT id, manifest FROM builds WHERE manifest IS NOT NULL")
    for build_id, text in db.execute(query).all():
        manifest = json.loads(text) if isinstance(text, str) else text
        if not isinstance(manifest, dict):
            continue
        for kind in ("services", "sites"):
            for one in (manifest.get(kind) or {}).values():
                single = one.pop("custom_domain", None)
                one["custom_domains"] = [] if single is None else [single]
        db.execute(sa.update(builds).where(builds.c.id == build_id).values(manifest=manifest))
