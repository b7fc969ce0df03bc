"""Where the APIs of forges are, and what their answers mean."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from socket import create_server

import httpx
import pytest

from kennel.builtin.forgejo import api as forgejo
from kennel.builtin.forgejo.forge import Forgejo
from kennel.builtin.github import api as github
from kennel.builtin.github.forge import GitHub
from kennel.domain import Repository, Secret
from kennel.errors import Rejected, Unavailable
from kennel.plugin import rest
from kennel.testing.deliveries import ForgejoSender, GitHubSender
from kennel.testing.forge_api import GiteaApi, GitHubApi, Reply

NEW = "c" * 40


def repository(clone_url: str, full_name: str = "acme/shop") -> Repository:
    return Repository(forge="f", id="7", full_name=full_name, clone_url=clone_url)


@pytest.mark.parametrize(
    ("clone_url", "site"),
    [
        ("https://git.example/acme/shop.git", "https://git.example"),
        ("https://git.example/acme/shop", "https://git.example"),
        ("https://git.example/ACME/Shop.git/", "https://git.example"),
        ("http://git.internal:3000/acme/shop.git", "http://git.internal:3000"),
        ("https://ada:pass@git.example:8443/acme/shop.git", "https://git.example:8443"),
        ("https://git.example/forge/acme/shop.git", "https://git.example/forge"),
        ("https://git.example/acme/renamed.git", "https://git.example"),
        ("https://[2001:db8::1]:3000/acme/shop.git", "https://[2001:db8::1]:3000"),
        ("ssh://git@git.example:2222/acme/shop.git", "https://git.example"),
        ("ssh://git@[2001:db8::1]/acme/shop.git", "https://[2001:db8::1]"),
        ("git@git.example:acme/shop.git", "https://git.example"),
        ("git.example:acme/shop.git", "https://git.example"),
        ("git@[2001:db8::1]:acme/shop.git", "https://[2001:db8::1]"),
        ("/srv/git/acme/shop.git", None),
        ("./acme/shop:1.git", None),
        ("../acme/shop.git", None),
        ("file:///srv/git/acme/shop.git", None),
    ],
)
def test_where_a_forge_is(clone_url: str, site: str | None) -> None:
    assert rest.site_of(repository(clone_url)) == site
    assert forgejo.base_of(repository(clone_url)) == (site and f"{site}/api/v1")
    assert github.base_of(repository(clone_url)) == (site and f"{site}/api/v3")


@pytest.mark.parametrize(
    "clone_url",
    [
        "https://github.com/acme/shop.git",
        "https://GitHub.com/acme/shop.git",
        "git@github.com:acme/shop.git",
        "ssh://git@ssh.github.com:443/acme/shop.git",
    ],
)
def test_github_itself_has_its_api_at_another_host(clone_url: str) -> None:
    assert github.base_of(repository(clone_url)) == "https://api.github.com"


@pytest.fixture
def gitea() -> Iterator[GiteaApi]:
    with GiteaApi(ForgejoSender(secret="s")) as api:
        yield api


@pytest.fixture
def hub() -> Iterator[GitHubApi]:
    with GitHubApi(GitHubSender(secret="s")) as api:
        yield api


async def test_what_is_set_is_asked_instead(gitea: GiteaApi, hub: GitHubApi) -> None:
    for api, forge in ((gitea, Forgejo(f"{gitea.url}/")), (hub, GitHub(hub.url))):
        api.pulls.append(api.sender.pull(1, NEW))
        elsewhere = replace(api.repository, clone_url="/srv/git/shop.git")
        async with forge:
            assert await forge.pull_requests(elsewhere, Secret(api.token))


async def test_names_are_no_paths(gitea: GiteaApi) -> None:
    odd = replace(gitea.repository, full_name="a c/shop?x=1#/..")
    async with Forgejo() as forge:
        with pytest.raises(Rejected):
            await forge.pull_requests(odd, Secret(gitea.token))
    assert [one.path for one in gitea.asked] == ["/api/v1/repos/a%20c/shop%3Fx%3D1%23/%2E%2E/pulls"]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"X-RateLimit-Remaining": "0"}),
        (403, {"Retry-After": "60"}),
        (429, {}),
        (500, {}),
    ],
)
async def test_asking_too_often_is_no_fault_of_the_token(
    hub: GitHubApi, status: int, headers: dict[str, str]
) -> None:
    hub.replies[1] = Reply(status=status, body=b"slow down", headers=headers)
    async with GitHub() as forge:
        with pytest.raises(Unavailable, match="slow down"):
            await forge.pull_requests(hub.repository, Secret(hub.token))


async def test_what_a_forge_says_is_shown_short_and_harmless(hub: GitHubApi) -> None:
    hub.replies[1] = Reply(status=422, body=b"\x1b[2J" + b"x" * 10_000)
    async with GitHub() as forge:
        with pytest.raises(Rejected) as told:
            await forge.pull_requests(hub.repository, Secret(hub.token))
    assert "\x1b" not in str(told.value)
    assert len(str(told.value)) < 300


async def test_a_forge_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "TIMEOUT", httpx.Timeout(0.2))
    with closing(create_server(("127.0.0.1", 0))) as silent:
        site = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        async with GitHub() as forge:
            with pytest.raises(Unavailable, match="does not answer: ReadTimeout"):
                await forge.pull_requests(repository(f"{site}/acme/shop.git"), Secret("x"))
        assert time.monotonic() - began < 5


async def test_pull_requests_that_go_while_they_are_read(gitea: GiteaApi) -> None:
    """One that is on the second page slips onto the first, which was read already."""
    gitea.pulls = [gitea.sender.pull(number, NEW) for number in range(1, 61)]
    gitea.before[2] = lambda: gitea.pulls.pop(0)
    async with Forgejo() as forge:
        with pytest.raises(Unavailable, match="came or went"):
            await forge.pull_requests(gitea.repository, Secret(gitea.token))


async def test_a_forge_that_gives_fewer_than_it_has(gitea: GiteaApi) -> None:
    for page in (1, 2):
        reply = Reply.of([gitea.sender.pull(1, NEW)] if page == 1 else [])
        gitea.replies[page] = replace(reply, headers={"X-Total-Count": "2"})
    async with Forgejo() as forge:
        with pytest.raises(Unavailable, match="it gave 1 pull requests of 2"):
            await forge.pull_requests(gitea.repository, Secret(gitea.token))


async def test_a_forge_that_does_not_count(
    gitea: GiteaApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GiteaApi, "counted", lambda _self, _total: {})
    gitea.pulls = [gitea.sender.pull(number, NEW) for number in range(1, 61)]
    async with Forgejo() as forge:
        found = await forge.pull_requests(gitea.repository, Secret(gitea.token))
    assert found is not None
    assert len(found) == 60
    assert len(gitea.asked) == 3


async def test_a_forge_that_never_comes_to_an_end(
    gitea: GiteaApi, hub: GitHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgejo, "MOST_PAGES", 3)
    monkeypatch.setattr(github, "MOST_PAGES", 3)
    for page in (1, 2, 3):
        gitea.replies[page] = Reply.of([gitea.sender.pull(page, NEW)])
        more = {"Link": f'<{hub.url}/elsewhere?page={page + 1}>; rel="next"'}
        hub.replies[page] = replace(Reply.of([hub.sender.pull(page, NEW)]), headers=more)
    for api, forge in ((gitea, Forgejo()), (hub, GitHub())):
        async with forge:
            with pytest.raises(Unavailable, match="more than 3 pages"):
                await forge.pull_requests(api.repository, Secret(api.token))
    assert len(hub.asked) == 3
    assert {one.path for one in hub.asked} == {hub.path("acme/shop")}
