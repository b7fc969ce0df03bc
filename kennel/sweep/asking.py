"""Ask a project's repository, and its forge, which refs there are."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import structlog

from kennel.build.remote import Remote
from kennel.domain import PullRequestChanged, Repository
from kennel.domain.record import Project
from kennel.errors import KennelError, Unavailable
from kennel.plugin import Forge, in_thread
from kennel.plugin.settings import read_secret
from kennel.sweep.compare import Seen
from kennel.sweep.patience import Patience

log = structlog.get_logger(__name__)
LIMIT = 30.0
"""Seconds that a repository, or the API of its forge, may take to answer."""


class Asking:
    """Asks git for branches, and the API for pull requests where there is a token for it.

    An API that does not answer costs nothing but its own answer: `problems` says what is wrong.
    """

    def __init__(self, remote: Remote, forges: Mapping[str, Forge], *, every: float) -> None:
        self._remote = remote
        self._forges = forges
        self.patience = Patience(every)
        self.problems: dict[int, str] = {}

    def keep(self, numbers: Collection[int]) -> None:
        """Forget every other project."""
        self.patience.keep(numbers)
        self.problems = {key: text for key, text in self.problems.items() if key in numbers}

    async def see(self, project: Project, *, pulls: bool, at_once: bool = False) -> Seen:
        """Return what there is. `pulls`: whether pull requests of it are known.

        `at_once`: ask an API that did not answer lately, too. Raises KennelError, with what to
        do, if the repository does not tell.
        """
        found = await self._pulls(project, at_once=at_once)
        try:
            async with asyncio.timeout(LIMIT):
                heads = await self._remote.heads(project, pulls=pulls and found is None)
        except TimeoutError:
            what = f"the repository of {project.name} has not answered for {LIMIT:g} s"
            raise Unavailable(what) from None
        return Seen(heads=heads, pulls=found)

    async def _pulls(
        self, project: Project, *, at_once: bool
    ) -> Sequence[PullRequestChanged] | None:
        """Return the open pull requests, None if that cannot be told."""
        forge = self._forges.get(project.forge)
        if forge is None or project.token is None:
            self.problems.pop(project.id, None)
            return None
        if not self.patience.is_due(project.id) and not at_once:
            return None
        try:
            async with asyncio.timeout(LIMIT):
                where = f"the token of project {project.name}"
                token = await in_thread(read_secret, project.token, where=where)
                found = await forge.pull_requests(repository_of(project), token)
        except TimeoutError:
            problem = f"the API of {project.forge} has not answered for {LIMIT:g} s"
        except KennelError as error:
            problem = str(error)
        except Exception as error:
            log.exception("a fault of a forge's plugin", forge=forge.name, project=project.name)
            problem = f"a fault of the plugin for {forge.name} ({type(error).__name__})"
        else:
            self.patience.worked(project.id)
            self.problems.pop(project.id, None)
            return found
        self.patience.failed(project.id)
        self.problems[project.id] = f"pull requests cannot be listed: {problem}"
        return None


def repository_of(project: Project) -> Repository:
    """Return a project's repository as its webhooks would tell of it."""
    return Repository(
        forge=project.forge,
        id=project.forge_id or "",
        full_name=project.full_name,
        clone_url=project.clone_url,
        default_branch=project.default_branch,
    )
