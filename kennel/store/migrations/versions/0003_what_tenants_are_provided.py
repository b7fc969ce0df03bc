"""What tenants are provided: recorded before it is made, so that all of it is taken away again."""

import json
import time

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

provisions = sa.table(
    "provisions",
    sa.column("tenant_id", sa.Integer),
    sa.column("resource", sa.String),
    sa.column("noted_at", sa.Float),
)


def upgrade() -> None:
    op.create_table(
        "provisions",
        sa.Column("tenant_id", sa.Integer(), nullable=False),
        sa.Column("resource", sa.String(length=63), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.Column("given", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("served", sa.String(length=64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_provisions_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "resource", name="pk_provisions"),
    )
    with op.batch_alter_table("tenants") as batch_op:
        batch_op.add_column(sa.Column("seeded_at", sa.Float(), nullable=True))
    op.execute(  # who was live has data, and is not seeded
        "UPDATE tenants SET seeded_at = created_at WHERE EXISTS (SELECT 1 FROM builds WHERE"
        " builds.project_id = tenants.project_id AND builds.ref = tenants.ref"
        " AND builds.good_at IS NOT NULL)"
    )
    _note_what_there_may_be(op.get_bind())


def _note_what_there_may_be(db: Connection) -> None:
    """Note everything that a build of a ref which is known has ever asked for."""
    query = sa.text(
        "SELECT tenants.id, builds.manifest FROM tenants JOIN builds"
        " ON builds.project_id = tenants.project_id AND builds.ref = tenants.ref"
        " WHERE builds.manifest IS NOT NULL"
    )
    asked = {
        (tenant_id, resource) for tenant_id, text in db.execute(query) for resource in _of(text)
    }
    now = time.time()
    for tenant_id, resource in sorted(asked):
        row = {"tenant_id": tenant_id, "resource": resource, "noted_at": now}
        db.execute(sa.insert(provisions).values(**row))


def _of(manifest: object) -> list[str]:
    """Return the resources of a manifest: text in SQLite, decoded by the driver elsewhere."""
    read = json.loads(manifest) if isinstance(manifest, str) else manifest
    resources = read.get("resources") if isinstance(read, dict) else None
    return list(resources) if isinstance(resources, dict) else []
