"""What an earlier Kennel wrote is there after an upgrade, in the form of today."""

import json
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from kennel.store import Store, builds, hosts
from kennel.store.store import MIGRATIONS

BEFORE = "0005"
MANIFEST = {
    "services": {"api": {"name": "api", "package": "api", "custom_domain": "a.acme.org"}},
    "sites": {"docs": {"name": "docs", "package": "docs", "custom_domain": None}},
}
ROWS: dict[str, dict[str, object]] = {
    "projects": {
        "id": 1,
        "name": "shop",
        "forge": "forgejo",
        "full_name": "acme/shop",
        "clone_url": "https://git.example/acme/shop.git",
        "default_branch": "main",
        "domains": "[]",
        "previews": True,
        "removed": False,
        "created_at": 1.0,
    },
    "tenants": {
        "id": 1,
        "project_id": 1,
        "ref": "refs/heads/main",
        "environment": "prod",
        "trusted": True,
        "wanted": True,
        "created_at": 1.0,
        "active_at": 1.0,
    },
    "builds": {
        "id": 1,
        "project_id": 1,
        "ref": "refs/heads/main",
        "commit": "1" * 40,
        "state": "done",
        "reason": "",
        "trusted": True,
        "manifest": json.dumps(MANIFEST),
        "created_at": 1.0,
    },
    "hosts": {"host": "a.acme.org", "tenant_id": 1, "name": "api", "custom": True},
}


def old_database(url: str) -> None:
    """Make a database as it was, with a build that asks for a custom domain, and has it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(url)
    with engine.begin() as db:
        config.attributes["connection"] = db
        command.upgrade(config, BEFORE)
        for table, row in ROWS.items():
            columns: list[sa.ColumnClause[object]] = [sa.column(name) for name in row]
            db.execute(sa.insert(sa.table(table, *columns)).values(**row))
    engine.dispose()


async def test_the_single_custom_domain_is_the_first_of_several(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/k.db"
    old_database(url)
    store = Store(url)
    await store.open()
    try:
        build = await store.read(partial(builds.get, build_id=1))
        held = await store.read(hosts.by_tenant)
    finally:
        await store.close()
    assert build.manifest is not None
    assert build.manifest.services["api"].custom_domains == ("a.acme.org",)
    assert build.manifest.sites["docs"].custom_domains == ()
    assert hosts.by_name(held[1]) == {"api": ("a.acme.org",)}
