"""The tables. Times are seconds since the epoch, UTC. `ref` is always a full name in git."""

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("forge", String(63), nullable=False),
    Column("forge_id", String(255)),  # unknown until the first delivery of a project added by hand
    Column("full_name", String(255), nullable=False),
    Column("clone_url", Text, nullable=False),
    Column("default_branch", String(255), nullable=False),
    Column("secret", Text),  # references (env:, file:, credential:), never values
    Column("token", Text),
    Column("ssh_key", Text),
    Column("domains", JSON, nullable=False),
    Column("previews", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),  # its tenants go first, then the row
    Column("created_at", Float, nullable=False),
    UniqueConstraint("forge", "forge_id"),
    UniqueConstraint("forge", "full_name"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("ref", String(512), nullable=False),
    Column("environment", String(16), nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("wanted", Boolean, nullable=False),  # false: gone from the forge; things are taken away
    # A person ordered that it is taken away; and that its production data is.
    Column("confirmed", Boolean, nullable=False, server_default=false()),
    Column("purged", Boolean, nullable=False, server_default=false()),
    # It neither sleeps nor expires; it was stopped by hand.
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("stopped", Boolean, nullable=False, server_default=false()),
    # How often it was restarted by hand: part of the digest of its generations.
    Column("restarts", Integer, nullable=False, server_default="0"),
    # The newest commit heard of. The commit that may be built though it is not trusted, or "*".
    Column("head", String(64), nullable=False, server_default=""),
    Column("approved", String(64), nullable=False, server_default=""),
    # Whether it had the label that approves when it was heard of last; and of when that news was,
    # by the forge's clock, where it told: what is older came in late.
    Column("labelled", Boolean, nullable=False, server_default=false()),
    Column("heard_at", Float),
    # Since when there is data in its resources: its seed command ended well, or it was live.
    Column("seeded_at", Float),
    Column("created_at", Float, nullable=False),
    Column("active_at", Float, nullable=False),
    UniqueConstraint("project_id", "ref"),
)

BUILD_STATES = ("queued", "building", "built", "done", "failed", "cancelled")

builds = Table(
    "builds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("ref", String(512), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),  # why it failed or was cancelled, for people
    Column("trusted", Boolean, nullable=False),
    Column("manifest", JSON),
    Column("outputs", JSON),  # package -> {"path", "program"}
    Column("secrets", JSON),  # what its secretspec.toml declares: names, never values
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("built_at", Float),
    Column("released_at", Float),  # when its release command ended well
    Column("good_at", Float),  # when it was live for the first time
    Column("finished_at", Float),
    CheckConstraint(f"state IN {BUILD_STATES}", name="state"),
    Index("ix_builds_project_id_ref", "project_id", "ref", "id"),
    Index("ix_builds_state", "state"),
    Index(  # one build per project and ref at a time
        "uq_builds_building",
        "project_id",
        "ref",
        unique=True,
        sqlite_where=text("state = 'building'"),
        postgresql_where=text("state = 'building'"),
    ),
    sqlite_autoincrement=True,
)

generations = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("build_id", ForeignKey("builds.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("unit", String(255), nullable=False),
    Column("port", Integer),  # none: it does not listen
    Column("command", JSON, nullable=False),
    Column("spec", JSON, nullable=False),  # the service as its manifest has it
    Column("created_at", Float, nullable=False),
    Column("retired_at", Float),  # since when nothing is sent to it: it drains, then it is stopped
    UniqueConstraint("host", "unit"),
    UniqueConstraint("host", "port"),
    UniqueConstraint("tenant_id", "name", "digest"),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("build_id", ForeignKey("builds.id"), nullable=False),
    Column("generation_id", ForeignKey("generations.id"), unique=True),  # of a service
    Column("root", Text),  # of a site: the store path
    Column("spa", Boolean, nullable=False),
    Column("host", String(255), nullable=False),
    Column("deployed_at", Float, nullable=False),
    UniqueConstraint("tenant_id", "name"),
    CheckConstraint("(generation_id IS NULL) <> (root IS NULL)", name="service_or_site"),
)

hosts = Table(
    "hosts",
    metadata,
    Column("host", String(253), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("custom", Boolean, nullable=False),
    # Of a custom one: its place in the manifest; and whether it only leads to the first of them.
    Column("position", Integer, nullable=False, server_default="0"),
    Column("redirect", Boolean, nullable=False, server_default=false()),
    Index("ix_hosts_tenant_id", "tenant_id"),
)

provisions = Table(  # what a tenant may have; written before it is made, dropped once it is gone
    "provisions",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("resource", String(63), primary_key=True),
    Column("noted_at", Float, nullable=False),
    # Keyed digests of how it is reached: as it was made last ("": to be made again), and as what
    # is live finds it.
    Column("given", String(64), nullable=False, server_default=""),
    Column("served", String(64), nullable=False, server_default=""),
)

publications = Table(  # names that may have a record of ours; written before it is there
    "publications",
    metadata,
    Column("host", String(253), primary_key=True),
    Column("provider", String(63), primary_key=True),
    Column("noted_at", Float, nullable=False),
)

departures = Table(  # refs that left: what comes in late does not bring them back
    "departures",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("ref", String(512), primary_key=True),
    Column("commit", String(64), nullable=False),  # its head then; "": not known
    Column("reason", Text, nullable=False),
    Column("left_at", Float, nullable=False),  # by the forge's clock, where it told
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("forge", String(63), nullable=False),
    Column("event", String(63), nullable=False),
    Column("delivery_id", String(255), nullable=False),
    Column("project", String(255), nullable=False),  # full name, for people
    Column("headers", JSON, nullable=False),  # without signatures and authorisation
    Column("body", LargeBinary, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("handled_at", Float),
    Column("outcome", Text, nullable=False),
    Index("ix_deliveries_handled_at", "handled_at"),
    sqlite_autoincrement=True,
)
