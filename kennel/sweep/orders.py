"""What people may ask of the sweeper, and what it answers."""

from dataclasses import dataclass

from kennel import views
from kennel.sweep.sweeper import Found, Sweeper


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Sweeps by order. Stands behind `kennel.web`."""

    sweeper: Sweeper

    async def sweep(self, order: views.SweepOrder) -> list[views.Swept]:
        """Look at a project's repository, or at all. Raises NotFound for an unknown project."""
        found = await self.sweeper.sweep(order.project, force=order.force)
        return [_view(one) for one in found]


def _view(found: Found) -> views.Swept:
    return views.Swept(
        project=found.project,
        repairs=[
            views.Repair(ref=str(one.tenant.ref), kind=one.kind, commit=one.commit, why=one.why)
            for one in found.repairs
        ],
        problem=found.problem,
    )
