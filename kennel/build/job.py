"""What every step of a build is told."""

from dataclasses import dataclass

from kennel.build.log import BuildLog
from kennel.domain.record import Build, Project


@dataclass(frozen=True, slots=True)
class Job:
    """One build under way: of which project, and where it is told how it goes."""

    project: Project
    build: Build
    log: BuildLog
