"""What the store remembers of resources."""

import json
import time
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from kennel.domain import Ref, Tenant
from kennel.plan import Provision
from kennel.store import Store, projects, provisions, snapshot, tenants
from kennel.store.store import MIGRATIONS

PULL = Ref.pull_request(42)


async def seen(store: Store, ref: Ref = PULL) -> int:
    """Return the id of a tenant that the store has heard of."""
    register = partial(
        projects.register, now=1.0, forge="forgejo", full_name="acme/shop", clone_url="https://x"
    )
    project = await store.write(register)
    await store.write(partial(tenants.seen, project_id=project.id, ref=ref, trusted=True, now=1.0))
    found = await store.read(partial(tenants.find, tenant=Tenant("shop", ref)))
    assert found is not None
    return found.id


async def test_what_may_be_there_keeps_a_tenant_that_never_built_anything(store: Store) -> None:
    number = await seen(store)
    await store.write(partial(provisions.note, tenant_id=number, resources=["postgres"], now=2.0))
    project = await store.read(partial(projects.by_name, name="shop"))
    await store.write(partial(tenants.gone, project_id=project.id, ref=PULL, now=3.0))
    [one] = await store.read(partial(snapshot.wanted, host="here"))
    assert one.provisions == (Provision(resource="postgres"),)
    assert await store.write(partial(tenants.forget, tenant_id=number))
    assert await store.read(provisions.by_tenant) == {}


async def test_to_note_twice_keeps_what_is_known(store: Store) -> None:
    number = await seen(store)
    names = ["postgres", "valkey"]
    await store.write(partial(provisions.note, tenant_id=number, resources=names[:1], now=2.0))
    await store.write(partial(provisions.gave, tenant_id=number, digests={"postgres": "a"}))
    await store.write(partial(provisions.serve, tenant_id=number))
    await store.write(partial(provisions.note, tenant_id=number, resources=names, now=3.0))
    known = await store.read(provisions.by_tenant)
    assert known[number] == [
        Provision(resource="postgres", given="a", served="a"),
        Provision(resource="valkey"),
    ]
    await store.write(partial(provisions.doubt, tenant_id=number, resources=names[:1], now=4.0))
    known = await store.read(provisions.by_tenant)
    assert known[number][0] == Provision(resource="postgres", given="", served="a")


async def test_what_is_made_anew_is_seeded_anew(store: Store) -> None:
    number = await seen(store)
    await store.write(partial(provisions.note, tenant_id=number, resources=["postgres"], now=2.0))
    await store.write(partial(tenants.change, tenant_id=number, seeded_at=2.0))
    await store.write(partial(provisions.drop, tenant_id=number, resource="postgres"))
    record = await store.read(partial(tenants.known, tenant=Tenant("shop", PULL)))
    assert record.seeded_at is None
    assert await store.read(partial(provisions.of, tenant_id=number)) == []


def upgraded(url: str, revision: str) -> sa.Engine:
    """Bring a database to a revision."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


async def test_what_an_older_kennel_gave_is_known_after_an_upgrade(database_url: str) -> None:
    engine = upgraded(database_url, "0002")
    manifests = [{"resources": {"postgres": {}}}, {"resources": {"valkey": {"a": 1}}}, None]
    common: dict[str, Any] = {"now": time.time(), "no": False, "yes": True}
    with engine.begin() as db:
        db.execute(
            sa.text(
                "INSERT INTO projects (id, name, forge, full_name, clone_url, default_branch,"
                " domains, previews, removed, created_at) VALUES (1, 'shop', 'forgejo', 'a/shop',"
                " 'x', 'main', '[]', :yes, :no, :now)"
            ),
            common,
        )
        for number, ref in ((1, "refs/heads/main"), (2, PULL.name)):
            db.execute(
                sa.text(
                    "INSERT INTO tenants (id, project_id, ref, environment, trusted, wanted,"
                    " created_at, active_at) VALUES (:id, 1, :ref, 'prod', :yes, :yes, :now, :now)"
                ),
                {**common, "id": number, "ref": ref},
            )
        for manifest in manifests:
            db.execute(
                sa.text(
                    'INSERT INTO builds (project_id, ref, "commit", state, reason, trusted,'
                    " manifest, created_at) VALUES (1, 'refs/heads/main', 'c', 'failed', '', :yes,"
                    " :manifest, :now)"
                ),
                {**common, "manifest": json.dumps(manifest) if manifest else None},
            )
    engine.dispose()
    store = Store(database_url)
    await store.open()
    try:
        known = await store.read(provisions.by_tenant)
    finally:
        await store.close()
    assert known == {1: [Provision(resource="postgres"), Provision(resource="valkey")]}
