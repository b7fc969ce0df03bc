"""What GitHub is asked: docs.github.com, "REST API endpoints for pull requests"."""

from collections.abc import Sequence

from kennel.builtin.github import events
from kennel.builtin.github import payload as sent
from kennel.domain import PullRequestChanged, Repository, Secret
from kennel.errors import Unavailable
from kennel.plugin import rest
from kennel.plugin.rest import Rest

NEEDS = "may read its pull requests (permission `Pull requests: read`, or scope `repo`)"
HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
HOSTS = frozenset({"https://github.com", "https://www.github.com", "https://ssh.github.com"})
PER_PAGE = 100
MOST_PAGES = 100


def base_of(repository: Repository) -> str | None:
    """Return where the API of a repository's forge is, None for a repository without one."""
    site = rest.site_of(repository)
    if site is None:
        return None
    return "https://api.github.com" if site.lower() in HOSTS else f"{site}/api/v3"


async def open_pull_requests(
    client: Rest, base: str, repository: Repository, token: Secret
) -> Sequence[PullRequestChanged]:
    """Return every open pull request. Raises `Unavailable` and `Rejected`."""
    url = f"{base}/repos/{rest.path_of(repository)}/pulls"
    found: dict[int, sent.Listed] = {}
    for page in range(1, MOST_PAGES + 1):
        query = {"state": "open", "sort": "created", "direction": "asc"}
        answer = await client.get(
            url,
            token=token,
            scheme="Bearer",
            needs=NEEDS,
            query={**query, "page": page, "per_page": PER_PAGE},
            headers=HEADERS,
        )
        found |= {pull.number: pull for pull in answer.read(list[sent.Listed])}
        if not answer.more:
            break
    else:
        raise Unavailable(f"{url}: there are more than {MOST_PAGES} pages of pull requests")
    rest.refuse_another(url, repository, (pull.base.repo.id for pull in found.values()))
    try:
        return events.listed(repository, found.values())
    except ValueError as error:
        raise Unavailable(f"{url}: {error}") from error
