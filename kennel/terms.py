"""What kennel.toml grants each tenant: limits, how long it may be idle, secrets. Pure."""

from collections.abc import Collection
from dataclasses import replace

from kennel.domain import Environment, Limits, Socket, Tenant, environment_of
from kennel.lifecycle import Terms
from kennel.plan import Policy
from kennel.secrets import Grants
from kennel.settings import EnvironmentTable, ProjectTable, Settings, seconds

SLEEP_AFTER = "7d"
"""Of previews, where kennel.toml says nothing; what is no preview never sleeps then."""


def policy(settings: Settings) -> Policy:
    """Return what the plan of a pass goes by."""
    return Policy(
        drain=settings.services.drain,
        waker=Socket(path=str(settings.waker_socket)),
        terms_of=lambda tenant: terms_of(tenant, settings),
        limits_of=lambda tenant: limits_of(tenant, settings),
        previews_memory_max=settings.previews.memory_max,
    )


def terms_of(tenant: Tenant, settings: Settings) -> Terms:
    """Return how long a tenant may be idle. Only previews expire.

    Of a preview the project's word goes before its environment's.
    """
    environment, project = _tables(tenant, settings)
    preview = environment_of(tenant.ref) is Environment.PREVIEW
    said = (
        project.sleep_after if preview else None,
        environment.sleep_after,
        SLEEP_AFTER if preview else None,
    )
    return Terms(
        sleep_after=seconds(next((span for span in said if span is not None), 0.0)),
        expire_after=seconds(settings.previews.expire_after) if preview else None,
    )


def limits_of(tenant: Tenant, settings: Settings) -> Limits:
    """Return what each service of a tenant may use at most.

    The project's word goes before the environment's, and that before [services].
    """
    limits = settings.services.limits
    for table in _tables(tenant, settings):
        said = {
            "memory_max": table.memory_max,
            "cpu_weight": table.cpu_weight,
            "tasks_max": table.tasks_max,
        }
        limits = replace(limits, **{key: value for key, value in said.items() if value})
    return limits


def grants_of(project: str, settings: Settings, sources: Collection[str]) -> Grants:
    """Return what secrets a project may have. `sources`: the names of those that are on."""
    table = settings.projects.get(project, ProjectTable())
    return Grants(
        project=project,
        sources=tuple(sorted(sources)),
        aliases=settings.secrets.providers,
        shared=(*settings.secrets.shared, *table.shared_secrets),
        forks=table.secrets == "approved-forks",
    )


def _tables(tenant: Tenant, settings: Settings) -> tuple[EnvironmentTable, ProjectTable]:
    return (
        settings.environments.get(environment_of(tenant.ref), EnvironmentTable()),
        settings.projects.get(tenant.project, ProjectTable()),
    )
