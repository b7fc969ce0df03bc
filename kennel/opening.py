"""Choose the providers that kennel.toml names, and open them."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import structlog

from kennel.errors import ConfigError, KennelError, PluginError, Unavailable
from kennel.latecomer import Late, Latecomer, LateSource
from kennel.notify import notify
from kennel.plugin import Provider
from kennel.plugin.manager import Ports, choose
from kennel.plugin.offer import KINDS
from kennel.reconcile import Providers
from kennel.settings import Settings

log = structlog.get_logger(__name__)
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries to open a provider that is out of reach."""


async def opened(settings: Settings, ports: Ports, stack: contextlib.AsyncExitStack) -> Providers:
    """Choose and open the providers in use.

    A Rejected one stops the start, others are awaited; provisioners and secret sources not for
    long: those who use them are.
    """
    refuse_without_target(settings, ports)
    providers = Providers(
        supervisor=choose("supervisor", settings.supervisor, ports.supervisors),
        router=choose("router", settings.router, ports.routers),
        provisioners={name: Latecomer(one) for name, one in ports.provisioners.items()},
        secret_sources={name: LateSource(one) for name, one in ports.secret_sources.items()},
        dns=ports.dns_providers,
    )
    for provisioner in providers.provisioners.values():
        provisioner.use(providers.supervisor)
    for kind, one in in_use(providers, ports):
        opens = one.opened() if isinstance(one, Late) else one
        await _open(stack, kind, one, opens)
    return providers


def refuse_without_target(settings: Settings, ports: Ports) -> None:
    """Raise ConfigError where names would be published, and nobody says where they lead."""
    if ports.dns_providers and settings.domains.target is None:
        raise ConfigError(
            f"[domains] target is missing: say where custom domains lead that"
            f" {', '.join(sorted(ports.dns_providers))} publishes, an address of this machine or a"
            ' name, such as "203.0.113.7"'
        )


async def _open(
    stack: contextlib.AsyncExitStack,
    kind: str,
    one: Provider,
    opens: AbstractAsyncContextManager[object],
) -> None:
    for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
        try:
            await stack.enter_async_context(opens)
        except Unavailable as error:
            reason = str(error)
        except KennelError as error:
            raise ConfigError(f"{kind} {one.name!r} cannot be used: {error}") from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{kind} {one.name!r} cannot be opened: {what}") from error
        else:
            return
        log.warning("waiting for a provider", kind=kind, provider=one.name, reason=reason)
        notify(f"STATUS=waiting for {kind} {one.name}: {reason}\nEXTEND_TIMEOUT_USEC=60000000")
        await asyncio.sleep(pause)


def in_use(providers: Providers, ports: Ports) -> Sequence[tuple[str, Provider]]:
    """Return every provider that this daemon works with, with its kind."""
    chosen: list[tuple[str, Provider]] = [
        ("supervisor", providers.supervisor),
        ("router", providers.router),
    ]
    chosen += [("provisioner", one) for one in providers.provisioners.values()]
    chosen += [("secret source", one) for one in providers.secret_sources.values()]
    rest = ("kennel_dns_providers", "kennel_forges", "kennel_caches")
    for hook in rest:
        offered = getattr(ports, hook.removeprefix("kennel_"))
        chosen += [(KINDS[hook][0], one) for one in offered.values()]
    return chosen
