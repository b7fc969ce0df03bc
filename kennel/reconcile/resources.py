"""Asks every provisioner what is lacking: once in each pass, with one query, however many tenants.

A provisioner that is slow to answer holds up a pass for a moment, and then no more: its answer
counts when it comes. One that cannot be asked is taken to lack nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from kennel.domain import Tenant
from kennel.errors import ProviderError
from kennel.plan import Wanted
from kennel.plugin import Provisioner

log = structlog.get_logger(__name__)
PROMPT = 0.5
"""Seconds that a pass waits for an answer."""
LIMIT = 30.0
"""Seconds after which nobody waits for it any more."""


class Resources:
    """Knows what is lacking of what is live. `changed` is called when an answer came in late."""

    def __init__(
        self, provisioners: Mapping[str, Provisioner], *, changed: Callable[[], None]
    ) -> None:
        self._provisioners = provisioners
        self._changed = changed
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._found: dict[str, frozenset[Tenant]] = {}
        self.problems: dict[str, str] = {}
        """Why provisioners could not be asked."""

    @property
    def lacking(self) -> Mapping[Tenant, frozenset[str]]:
        """Return which resources each tenant lacks, as far as the latest answers tell."""
        found: dict[Tenant, set[str]] = {}
        for name, tenants in self._found.items():
            for tenant in tenants:
                found.setdefault(tenant, set()).add(name)
        return {tenant: frozenset(names) for tenant, names in found.items()}

    async def look(self, wanted: Sequence[Wanted]) -> None:
        """Ask everybody who gives anything to what is live; wait a moment for the answers."""
        asked = {
            name: frozenset(one.record.tenant for one in wanted if name in one.resources)
            for name in self._provisioners
        }
        begun = [self._ask(name, tenants) for name, tenants in asked.items() if tenants]
        self._found = {name: found for name, found in self._found.items() if asked[name]}
        if waiting := [task for task in begun if task is not None]:
            await asyncio.wait(waiting, timeout=PROMPT)

    async def stop(self) -> None:
        """Wait for no answer any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self, name: str, tenants: frozenset[Tenant]) -> asyncio.Task[None] | None:
        """Begin to ask a provisioner, unless it has not answered yet."""
        if name in self._asking:
            return None
        self._found.pop(name, None)
        task = asyncio.create_task(self._answer(name, tenants), name=f"lacking {name}")
        self._asking[name] = task
        return task

    async def _answer(self, name: str, tenants: frozenset[Tenant]) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LIMIT):
                found = await self._provisioners[name].lacking(tenants)
        except TimeoutError:
            self._note(name, f"it has not answered for {LIMIT:g} s")
        except ProviderError as error:
            self._note(name, str(error))
        except Exception as error:  # a bug in one plugin must not cost the others' tenants
            self._note(name, f"a fault of the plugin ({type(error).__name__}): see Kennel's log")
            log.exception("a fault of a provisioner's plugin", provisioner=name)
        else:
            self._note(name, "")
            self._found[name] = tenants.intersection(found)
        finally:
            del self._asking[name]
        late = asyncio.get_running_loop().time() - begun > PROMPT
        if late and self._found.get(name):
            self._changed()

    def _note(self, name: str, problem: str) -> None:
        """Say what is wrong with a provisioner when that changes, and not in every pass."""
        before = self.problems.pop(name, "")
        if problem:
            self.problems[name] = problem
        if problem and not before:
            log.warning("cannot see what is lacking", provisioner=name, reason=problem)
        elif before and not problem:
            log.info("what is lacking can be seen again", provisioner=name)
