"""What a repository is asked for, and what its answers mean."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kennel.build.places import Places
from kennel.build.remote import Remote
from kennel.domain import Ref
from kennel.domain.record import Project
from kennel.errors import BuildError, ConfigError, Unavailable

MAIN = Ref.branch("main")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "state", tmp_path / "run")


@pytest.fixture
async def remote(places: Places) -> Remote:
    remote = Remote(places)
    await remote.prepare()
    return remote


def project(url: object, token: str | None = None) -> Project:
    return Project(
        id=7,
        name="shop",
        forge="forgejo",
        forge_id=None,
        full_name="acme/shop",
        clone_url=str(url),
        default_branch="main",
        secret=None,
        token=token,
        ssh_key=None,
        domains=(),
        previews=True,
        removed=False,
    )


@pytest.mark.parametrize("pulls", [False, True])
async def test_branches_and_pull_requests_and_nothing_else(
    remote: Remote, repository: Any, *, pulls: bool
) -> None:
    one = repository.commit({"a": "1"})
    two = repository.commit({"a": "2"}, branch="pr-5")
    repository.git("update-ref", "refs/pull/5/head", one)
    for other in ("refs/pull/5/merge", "refs/tags/v1", "refs/heads.txt", "refs/pull/x/head"):
        repository.git("update-ref", other, one)
    repository.git("tag", "-a", "-m", "annotated", "v2")
    heads = await remote.heads(project(repository.path), pulls=pulls)
    branches = {MAIN: one, Ref.branch("pr-5"): two}
    assert heads == branches | ({Ref.pull_request(5): one} if pulls else {})


async def test_what_no_webhook_could_name_is_left_out(remote: Remote, repository: Any) -> None:
    head = repository.commit({})
    for name in (b"refs/heads/a\xe2\x80\xaeb", b"refs/heads/\xff", b"refs/heads/" + b"x" * 200):
        repository.git("update-ref", name, head)
    heads = await remote.heads(project(repository.path), pulls=True)
    assert set(heads) == {MAIN, Ref.branch("x" * 200)}


async def test_an_empty_repository_has_nothing(remote: Remote, repository: Any) -> None:
    assert await remote.heads(project(repository.path), pulls=True) == {}


async def test_a_private_repository_is_asked_with_its_token(
    remote: Remote, repository: Any, private: Any, spy: Path, tmp_path: Path
) -> None:
    head = repository.commit({})
    shop = project(f"{private.url}/shop/.git", token="env:SHOP_TOKEN")
    assert await remote.heads(shop, pulls=True) == {MAIN: head}
    assert private.token in private.asked
    assert "ls-remote" in (spy / "arguments").read_text()
    assert private.token not in (spy / "arguments").read_text()
    assert "VAULT_TOKEN" not in (spy / "environments").read_text()
    for folder in ("state", "run"):
        written = [path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert not any(private.token.encode() in text for text in written)


async def test_without_the_right_token_it_says_what_to_give(
    remote: Remote, repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "a wrong one")
    shop = project(f"{server.url}/shop/.git", token="env:SHOP_TOKEN")
    with pytest.raises(BuildError, match="Give the project a token") as told:
        await remote.heads(shop, pulls=False)
    assert "a wrong one" not in str(told.value)


async def test_a_token_that_cannot_be_read_names_the_project(remote: Remote) -> None:
    with pytest.raises(ConfigError, match="the token of project shop"):
        await remote.heads(project("https://h/a/b.git", token="env:NOT_SET"), pulls=False)


async def test_a_repository_that_is_not_there(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="has no such repository"):
        await remote.heads(project(tmp_path / "nowhere"), pulls=False)


async def test_a_host_that_does_not_answer(remote: Remote, unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        await remote.heads(project(f"http://127.0.0.1:{unused_tcp_port}/a/b.git"), pulls=False)


async def test_one_that_takes_too_long_is_ended(remote: Remote, places: Places) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/acme/shop.git"
        asking = asyncio.create_task(remote.heads(project(url), pulls=False))
        async with asyncio.timeout(10):
            while not [words for words in commands() if url in words]:
                await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert [*places.sweeps.iterdir()] == []
    assert not [words for words in commands() if url in words]


async def test_many_are_asked_side_by_side(
    remote: Remote, make_repository: Callable[[str], Any]
) -> None:
    made = [make_repository(name) for name in ("one", "two", "three")]
    commits = [one.commit({"name": one.path.name}) for one in made]
    answers = await asyncio.gather(
        *(
            remote.heads(replace(project(one.path), id=number), pulls=False)
            for number, one in enumerate(made)
        )
    )
    assert [heads[MAIN] for heads in answers] == commits


def commands() -> list[str]:
    """Return the command line of every process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found
