"""How providers are: asked side by side, and none of them for long."""

import asyncio
from collections.abc import Sequence

import structlog

from kennel import views
from kennel.errors import ProviderError
from kennel.plugin import Provider

log = structlog.get_logger(__name__)
LIMIT = 5.0
"""Seconds that a provider may take to answer."""


async def check_all(in_use: Sequence[tuple[str, Provider]]) -> list[views.Provider]:
    """Return how each provider is, in their order."""
    return list(await asyncio.gather(*(_checked(kind, one) for kind, one in in_use)))


async def warn(in_use: Sequence[tuple[str, Provider]]) -> None:
    """Say in the log what is wrong with providers, when Kennel starts."""
    for one in await check_all(in_use):
        if one.problem:
            log.warning(
                "a provider is not well", kind=one.kind, provider=one.name, problem=one.problem
            )


async def _checked(kind: str, provider: Provider) -> views.Provider:
    problem = ""
    try:
        async with asyncio.timeout(LIMIT):
            await provider.check()
    except TimeoutError:
        problem = f"it has not answered for {LIMIT:g} s"
    except ProviderError as error:
        problem = str(error)
    except Exception as error:
        log.exception("a fault of a plugin", kind=kind, provider=provider.name)
        problem = f"a fault of the plugin ({type(error).__name__}): see Kennel's log"
    return views.Provider(kind=kind, name=provider.name, problem=problem)
