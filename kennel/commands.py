"""Commands of provisioners, such as a backup: found, checked, carried out, and told of."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import structlog

from kennel import views
from kennel.domain import Ref, Tenant
from kennel.errors import Conflict, KennelError, NotFound
from kennel.plugin import Command, Order, Provisioner
from kennel.reconcile import Reconciler
from kennel.store import Store, projects, tenants

log = structlog.get_logger(__name__)

Lines: TypeAlias = "asyncio.Queue[views.Told]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An order that can be carried out, and the tenants that nothing else happens to meanwhile."""

    provisioner: Provisioner
    command: Command
    order: Order
    tenants: frozenset[Tenant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Carries out commands, each to its end, whether or not somebody still listens.

    Meanwhile nothing is deployed, started or removed of the refs that it is about.
    """

    store: Store
    reconciler: Reconciler
    provisioners: Mapping[str, Provisioner]
    running: set["asyncio.Task[None]"] = field(default_factory=set)

    def commands(self) -> list[views.Command]:
        """Return every command there is."""
        return [
            views.Command(
                resource=name,
                name=one.name,
                help=one.help,
                ref=one.ref,
                argument=one.argument,
                warning=one.warning,
            )
            for name, provisioner in sorted(self.provisioners.items())
            for one in provisioner.commands
        ]

    async def accept(self, order: views.CommandOrder) -> Accepted:
        """Return what an order means.

        Raises NotFound for a command, a project or a ref that is not there, Conflict for one that
        is being removed, and ValueError for what makes no sense or was not confirmed.
        """
        provisioner, command = self._found(order)
        if command.ref is (order.ref is None):
            raise ValueError(f"{command.name} is about {'one ref' if command.ref else 'no ref'}")
        if order.argument is not None and command.argument is None:
            raise ValueError(f"{command.name} takes no more words: {order.argument!r}")
        if command.warning and not order.confirmed:
            raise ValueError(f"{command.warning}: this has to be confirmed")
        project = await self.store.read(partial(projects.by_name, name=order.project))
        if project.removed:
            raise Conflict(f"project {project.name} is being removed")
        if order.ref is None:
            every = await self.store.read(tenants.every)
            about = frozenset(one.tenant for one in every if one.tenant.project == project.name)
            meant = Order(project=project.name, argument=order.argument)
        else:
            tenant = Tenant(project.name, Ref.parse(order.ref))
            await self.store.read(partial(tenants.known, tenant=tenant))
            about = frozenset({tenant})
            meant = Order(project=project.name, ref=tenant.ref, argument=order.argument)
        return Accepted(provisioner=provisioner, command=command, order=meant, tenants=about)

    def _found(self, order: views.CommandOrder) -> tuple[Provisioner, Command]:
        provisioner = self.provisioners.get(order.resource)
        if provisioner is None:
            there = ", ".join(sorted(self.provisioners)) or "none"
            raise NotFound(f"there is no resource {order.resource!r} here; there is: {there}")
        for command in provisioner.commands:
            if command.name == order.command:
                return provisioner, command
        there = ", ".join(one.name for one in provisioner.commands) or "none"
        raise NotFound(f"{order.resource} has no command {order.command!r}; there is: {there}")

    async def carry_out(self, accepted: Accepted) -> AsyncIterator[bytes]:
        """Yield what there is to tell, a JSON of `views.Told` a line, until the command is over.

        Who does not listen to the end does not stop it.
        """
        lines: Lines = asyncio.Queue()
        what = f"{accepted.provisioner.name} {accepted.command.name}"
        task = asyncio.create_task(self._run(accepted, lines), name=what)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        while True:
            told = await lines.get()
            yield views.line(told)
            if told.over:
                return

    async def _run(self, accepted: Accepted, lines: Lines) -> None:
        """Carry out a command, and say how it ended."""
        order = accepted.order
        about = log.bind(
            provisioner=accepted.provisioner.name,
            command=accepted.command.name,
            project=order.project,
            ref=str(order.ref or ""),
        )

        def tell(text: str) -> None:
            for line in text.splitlines() or [""]:
                lines.put_nowait(views.Told(line=line))

        why = "Kennel stops: it is not known how far it came"
        try:
            for tenant in sorted(accepted.tenants & self.reconciler.settling):
                tell(f"waiting for what is happening to {tenant}")
            async with self.reconciler.held(accepted.tenants):
                about.info("a command begins")
                await accepted.provisioner.command(accepted.command.name, order, tell)
            why = ""
        except KennelError as error:
            why = str(error)
        except Exception as error:
            about.exception("a fault of a provisioner's plugin")
            why = f"a fault of the plugin ({type(error).__name__}): see Kennel's log"
        finally:
            lines.put_nowait(views.Told(problem=why, over=True))
            about.info("a command is over", problem=why)

    async def stop(self) -> None:
        """Cut off what is under way: Kennel stops."""
        tasks = list(self.running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
