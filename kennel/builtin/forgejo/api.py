"""What Forgejo and Gitea are asked: routers/api/v1/repo/pull.go in their sources."""

from collections.abc import Sequence

from kennel.builtin.forgejo import events
from kennel.builtin.forgejo import payload as sent
from kennel.domain import PullRequestChanged, Repository, Secret
from kennel.errors import Unavailable
from kennel.plugin import rest
from kennel.plugin.rest import Rest

NEEDS = "may read the repository (scope `read:repository`)"
LIMIT = 50
"""Pull requests on a page. More than that is never given; less may be, as the forge is set up."""
MOST_PAGES = 200


def base_of(repository: Repository) -> str | None:
    """Return where the API of a repository's forge is, None for a repository without one."""
    site = rest.site_of(repository)
    return None if site is None else f"{site}/api/v1"


async def open_pull_requests(
    client: Rest, base: str, repository: Repository, token: Secret
) -> Sequence[PullRequestChanged]:
    """Return every open pull request. Raises `Unavailable` and `Rejected`."""
    url = f"{base}/repos/{rest.path_of(repository)}/pulls"
    found: dict[int, sent.Listed] = {}
    total: int | None = None
    for page in range(1, MOST_PAGES + 1):
        query = {"state": "open", "sort": "oldest", "page": page, "limit": LIMIT}
        answer = await client.get(url, token=token, scheme="token", needs=NEEDS, query=query)
        listed = answer.read(list[sent.Listed])
        if page > 1 and answer.total != total:
            raise Unavailable(f"{url}: pull requests came or went while they were read")
        total = answer.total
        found |= {pull.number: pull for pull in listed}
        if not listed or len(found) == total:
            break
    else:
        raise Unavailable(f"{url}: there are more than {MOST_PAGES} pages of pull requests")
    if total is not None and len(found) < total:
        raise Unavailable(f"{url}: it gave {len(found)} pull requests of {total}")
    rest.refuse_another(url, repository, (pull.base.repo.id for pull in found.values()))
    try:
        return events.listed(repository, found.values())
    except ValueError as error:
        raise Unavailable(f"{url}: {error}") from error
