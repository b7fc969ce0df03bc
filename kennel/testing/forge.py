"""What every forge plugin must do, written as tests.

    class TestGitLab(ForgeContract):
        @pytest.fixture
        def forge(self) -> Forge:
            return GitLab()

        @pytest.fixture
        def sender(self) -> Sender:
            return GitLabSender(secret="s3cret")

A sender makes deliveries as the forge would: see `kennel.testing.deliveries`.
"""

import socket
from dataclasses import replace
from typing import Any

import pytest

from kennel.domain import (
    Event,
    Ignored,
    Ping,
    PullRequestChanged,
    PullRequestClosed,
    Ref,
    RefChanged,
    RefDeleted,
    Repository,
    Secret,
)
from kennel.errors import ProviderError, Rejected, Unavailable
from kennel.plugin import Delivery, Forge
from kennel.testing.contract import Contract
from kennel.testing.deliveries import (
    UPDATED,
    ForgejoSender,
    GiteaSender,
    GitHubSender,
    Sender,
    signed_delivery,
)
from kennel.testing.forge_api import ForgeApi, Reply

__all__ = [
    "ForgeApi",
    "ForgeContract",
    "ForgejoSender",
    "GitHubSender",
    "GiteaSender",
    "PullRequestsContract",
    "Sender",
    "signed_delivery",
]

OLD, NEW = "a" * 40, "c0ffee" + "1" * 34
SHA256 = "d" * 64
SHAPELESS = (b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"7", b"[" * 100_000, b'{"ref": 7}')


class ForgeContract:
    """The conformance suite of a forge. Its sender signs with a secret that is not empty."""

    @pytest.fixture
    def forge(self) -> Forge:
        pytest.fail(f"{type(self).__name__} needs a fixture called forge that returns a Forge")

    @pytest.fixture
    def sender(self) -> Sender:
        pytest.fail(f"{type(self).__name__} needs a fixture called sender that returns a Sender")

    @pytest.fixture
    def repository(self, forge: Forge, sender: Sender) -> Repository:
        return Repository(
            forge=forge.name,
            id=str(sender.id),
            full_name=sender.full_name,
            clone_url=sender.clone_url,
            default_branch=sender.default_branch,
        )

    @pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
    def test_knows_its_deliveries_and_their_signature(
        self, forge: Forge, sender: Sender, form: bool
    ) -> None:
        delivery = replace(sender, form=form).pushed("main", OLD, NEW)
        assert forge.recognises(delivery)
        assert forge.verify(delivery, Secret(sender.secret))
        assert isinstance(forge.read(delivery), RefChanged)
        assert forge.delivery_id(delivery)
        assert forge.event_name(delivery)

    def test_knows_none_but_its_own(self, forge: Forge) -> None:
        assert not forge.recognises(Delivery(headers={}, body=b""))
        assert not forge.recognises(Delivery(headers={"content-type": "text/html"}, body=b"{}"))

    @pytest.mark.parametrize("secret", ["wrong", "", " ", "S3CRET", "ü"])
    def test_takes_no_other_secret(self, forge: Forge, sender: Sender, secret: str) -> None:
        assert not forge.verify(sender.pushed("main", OLD, NEW), Secret(secret))

    @pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
    def test_notices_a_changed_body(self, forge: Forge, sender: Sender, form: bool) -> None:
        delivery = replace(sender, form=form).pushed("main", OLD, NEW)
        forged = replace(delivery, body=delivery.body.replace(NEW.encode(), b"e" * 40))
        assert forged.body != delivery.body
        assert not forge.verify(forged, Secret(sender.secret))

    def test_takes_nothing_unsigned(self, forge: Forge, sender: Sender) -> None:
        delivery = replace(sender, secret="").pushed("main", OLD, NEW)
        for secret in (sender.secret, ""):
            assert not forge.verify(delivery, Secret(secret))
            assert not forge.verify(Delivery(headers={}, body=delivery.body), Secret(secret))

    @pytest.mark.parametrize("name", ["main", "feature/x", "pr-42", "größe/ß", "refs/heads/x"])
    def test_a_new_branch(
        self, forge: Forge, sender: Sender, repository: Repository, name: str
    ) -> None:
        events = [forge.read(delivery) for delivery in sender.created(name, NEW)]
        changed = RefChanged(repository=repository, ref=Ref.branch(name), commit=NEW)
        assert [e for e in events if not isinstance(e, Ignored)][-1] == changed
        assert all(isinstance(event, Ignored) or event == changed for event in events)

    @pytest.mark.parametrize("commit", [NEW, SHA256], ids=["sha1", "sha256"])
    def test_a_push(
        self, forge: Forge, sender: Sender, repository: Repository, commit: str
    ) -> None:
        delivery = sender.pushed("main", OLD, commit)
        expected = RefChanged(repository=repository, ref=Ref.branch("main"), commit=commit)
        assert forge.read(delivery) == forge.read(delivery) == expected

    @pytest.mark.parametrize("name", ["main", "feature/x", "pr-42", "refs/heads/x"])
    def test_a_deleted_branch(
        self, forge: Forge, sender: Sender, repository: Repository, name: str
    ) -> None:
        events = {forge.read(delivery) for delivery in sender.deleted(name, OLD)}
        assert events == {RefDeleted(repository=repository, ref=Ref.branch(name))}

    def test_tags_are_not_deployed(self, forge: Forge, sender: Sender) -> None:
        for delivery in sender.tagged("v1.0", NEW):
            assert isinstance(forge.read(delivery), Ignored)

    def test_a_tested_hook(self, forge: Forge, sender: Sender) -> None:
        assert isinstance(forge.read(sender.test(NEW)), Ping)

    @pytest.mark.parametrize("action", ["opened", "reopened", "pushed"])
    def test_a_pull_request(
        self, forge: Forge, sender: Sender, repository: Repository, action: str
    ) -> None:
        event = forge.read(sender.pull_request(42, action, NEW, labels=["deploy", "ui"]))
        assert event == PullRequestChanged(
            repository=repository,
            ref=Ref.pull_request(42),
            commit=NEW,
            trusted=True,
            labels=frozenset({"deploy", "ui"}),
            updated_at=UPDATED,
            opened=action == "opened",
            reopened=action == "reopened",
        )

    def test_a_pull_request_with_another_base(self, forge: Forge, sender: Sender) -> None:
        changes = {"ref": {"from": "old"}, "base": {"ref": {"from": "old"}}}
        edited = sender.pull_request(42, "edited", NEW, changes=changes)
        assert self._pull(forge.read(edited)).retargeted
        pushed = sender.pull_request(42, "pushed", NEW, changes=changes)
        assert not self._pull(forge.read(pushed)).retargeted

    @pytest.mark.parametrize("said", [None, "", "yesterday", "2026-01-02T03:04:05"])
    def test_a_time_that_cannot_be_read_is_left_out(
        self, forge: Forge, sender: Sender, said: str | None
    ) -> None:
        for action in ("opened", "closed"):
            event = forge.read(sender.pull_request(1, action, NEW, fields={"updated_at": said}))
            assert isinstance(event, PullRequestChanged | PullRequestClosed)
            assert event.updated_at is None

    def test_a_pull_request_of_a_fork(self, forge: Forge, sender: Sender) -> None:
        assert not self._pull(forge.read(sender.pull_request(42, "opened", NEW, fork=True))).trusted

    def test_a_pull_request_whose_fork_is_gone(self, forge: Forge, sender: Sender) -> None:
        gone = {"label": "fix", "ref": "fix", "sha": NEW, "repo_id": -1, "repo": None}
        delivery = sender.pull_request(42, "pushed", NEW, fields={"head": gone})
        assert not self._pull(forge.read(delivery)).trusted

    def test_labels(self, forge: Forge, sender: Sender) -> None:
        event = self._pull(forge.read(sender.pull_request(42, "labelled", NEW, labels=["deploy"])))
        assert (event.relabelled, event.labels) == (True, frozenset({"deploy"}))

    @pytest.mark.parametrize("merged", [False, True], ids=["dropped", "merged"])
    def test_a_closed_pull_request(
        self, forge: Forge, sender: Sender, repository: Repository, merged: bool
    ) -> None:
        event = forge.read(sender.pull_request(42, "closed", NEW, fields={"merged": merged}))
        ref = Ref.pull_request(42)
        assert event == PullRequestClosed(repository=repository, ref=ref, updated_at=UPDATED)

    @pytest.mark.parametrize("action", ["opened", "pushed", "labelled", "edited"])
    def test_what_is_closed_already_does_not_come_back(
        self, forge: Forge, sender: Sender, action: str
    ) -> None:
        """A label may be put on it, and what was sent before may come late."""
        changes = {"ref": {"from": "old"}, "base": {"ref": {"from": "old"}}}
        for state, expected in (("open", PullRequestChanged), ("closed", Ignored)):
            delivery = sender.pull_request(
                42, action, NEW, labels=["deploy"], changes=changes, fields={"state": state}
            )
            assert isinstance(forge.read(delivery), expected)

    @pytest.mark.parametrize("action", ["assigned", "milestoned", "review_requested", "edited"])
    def test_other_actions_change_nothing(self, forge: Forge, sender: Sender, action: str) -> None:
        assert isinstance(forge.read(sender.pull_request(42, action, NEW)), Ignored)

    def test_other_events_change_nothing(self, forge: Forge, sender: Sender) -> None:
        event = forge.read(sender.send("star", {"action": "created"}))
        assert isinstance(event, Ignored)
        assert "star" in event.reason

    @pytest.mark.parametrize("event", ["push", "delete", "pull_request"])
    @pytest.mark.parametrize("body", SHAPELESS, ids=lambda body: repr(body[:10]))
    def test_a_bad_payload_is_a_value_error(
        self, forge: Forge, sender: Sender, event: str, body: bytes
    ) -> None:
        with pytest.raises(ValueError, match=r"payload"):
            forge.read(sender.send(event, body))

    @pytest.mark.parametrize(
        "name", ["-x", "a..b", "a\nb", "a\x1b[2Jb", "a b", "", "a\u202eb", "x" * 600, "a.lock"]
    )
    def test_names_that_no_branch_has(self, forge: Forge, sender: Sender, name: str) -> None:
        with pytest.raises(ValueError, match=r"ref"):
            forge.read(sender.pushed(name, OLD, NEW))

    @pytest.mark.parametrize("commit", ["", "HEAD", "a" * 39, "A" * 40, "-" + "a" * 39, "a" * 65])
    def test_ids_that_no_commit_has(self, forge: Forge, sender: Sender, commit: str) -> None:
        with pytest.raises(ValueError, match=r"after"):
            forge.read(sender.pushed("main", OLD, commit))
        with pytest.raises(ValueError, match=r"sha"):
            forge.read(sender.pull_request(42, "opened", commit))

    def _pull(self, event: Event) -> PullRequestChanged:
        assert isinstance(event, PullRequestChanged)
        return event


class PullRequestsContract(Contract):
    """The conformance suite of `Forge.pull_requests`, of forges that have it.

        class TestGitLabsPullRequests(PullRequestsContract):
            @pytest.fixture
            def api(self) -> Iterator[ForgeApi]:
                with GitLabApi(GitLabSender(secret="s3cret")) as api:
                    yield api

            @pytest.fixture
            def forge(self) -> Forge:
                return GitLab()

    Where the API is, the forge finds out from the repository.
    """

    @pytest.fixture
    def api(self) -> ForgeApi:
        """Return a server that runs."""
        self.needs("api", returns="a ForgeApi that runs")

    @pytest.fixture
    def forge(self) -> Forge:
        """Return the forge, not yet opened."""
        self.needs("forge", returns="a Forge")

    async def ask(
        self, forge: Forge, api: ForgeApi, token: str = "", repository: Repository | None = None
    ) -> dict[int, PullRequestChanged]:
        """Return the open pull requests by their numbers."""
        async with forge:
            found = await forge.pull_requests(
                repository or api.repository, Secret(token or api.token)
            )
        assert found is not None
        answered = {int(pull.ref.short.removeprefix("pr-")): pull for pull in found}
        assert len(answered) == len(found)
        return answered

    async def refused(
        self, error: type[ProviderError], forge: Forge, api: ForgeApi, **more: Any
    ) -> str:
        """Fail unless asking raises this error. Return its text, which has no token in it."""
        with pytest.raises(error) as told:
            await self.ask(forge, api, **more)
        token = more.get("token") or api.token
        assert token not in f"{told.value!r} {told.value.__cause__!r} {told.value.__context__!r}"
        return str(told.value)

    async def test_tells_what_webhooks_would_tell(self, forge: Forge, api: ForgeApi) -> None:
        gone = {"label": "fix", "ref": "fix", "sha": NEW, "repo_id": -1, "repo": None}
        later = {"updated_at": "2026-07-01T00:00:00Z"}
        sorts: dict[int, dict[str, Any]] = {
            1: {},
            2: {"fork": True},
            3: {"labels": ["deploy", "ui"], "head": "feature/x"},
            4: {"fields": {"head": gone}},
            5: {"fields": later},
        }
        for number, sort in sorts.items():
            api.pulls.append(api.sender.pull(number, NEW, **sort))
        told = {
            number: forge.read(api.sender.pull_request(number, "pushed", NEW, **sort))
            for number, sort in sorts.items()
        }
        assert await self.ask(forge, api) == told
        assert [told[n].trusted for n in (1, 2, 4)] == [True, False, False]  # type: ignore[union-attr]

    async def test_tells_of_open_ones_only(self, forge: Forge, api: ForgeApi) -> None:
        assert await self.ask(forge, api) == {}
        for number, state in ((1, "closed"), (2, "open")):
            api.pulls.append(api.sender.pull(number, NEW, fields={"state": state}))
        assert set(await self.ask(forge, api)) == {2}

    @pytest.mark.parametrize("most", [7, 50, 100])
    async def test_reads_every_page(self, forge: Forge, api: ForgeApi, most: int) -> None:
        """However few the forge gives at a time, whatever it is asked for."""
        api.most = most
        for count in (most, 2 * most, 2 * most + 1):
            api.pulls = [api.sender.pull(number, NEW) for number in range(1, count + 1)]
            assert set(await self.ask(forge, api)) == set(range(1, count + 1))

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    @pytest.mark.parametrize("page", [1, 2])
    async def test_a_forge_that_is_away_gives_no_shorter_list(
        self, forge: Forge, api: ForgeApi, status: int, page: int
    ) -> None:
        api.pulls = [api.sender.pull(number, NEW) for number in range(1, 2 * api.most)]
        api.replies[page] = Reply.of({"message": "try later"}, status)
        assert "try later" in await self.refused(Unavailable, forge, api)

    @pytest.mark.parametrize(
        "body", [b"", b"[", b'[{"number": 1}]', b"[null]", b"{}", b"null", b"<html>", b"[[]]"]
    )
    @pytest.mark.parametrize("page", [1, 2])
    async def test_what_cannot_be_read_is_no_shorter_list(
        self, forge: Forge, api: ForgeApi, body: bytes, page: int
    ) -> None:
        api.pulls = [api.sender.pull(number, NEW) for number in range(1, 2 * api.most)]
        api.replies[page] = Reply(body=body)
        await self.refused(Unavailable, forge, api)

    async def test_an_answer_that_is_cut_off(self, forge: Forge, api: ForgeApi) -> None:
        api.replies[1] = Reply(body=b"[]", cut=1)
        await self.refused(Unavailable, forge, api)

    async def test_a_pull_request_that_makes_no_sense(self, forge: Forge, api: ForgeApi) -> None:
        api.pulls = [api.sender.pull(1, NEW), api.sender.pull(2, "")]
        assert "sha" in await self.refused(Unavailable, forge, api)

    async def test_nobody_is_there(self, forge: Forge, api: ForgeApi) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            site = f"http://127.0.0.1:{free.getsockname()[1]}"
        elsewhere = replace(api.repository, clone_url=f"{site}/acme/shop.git")
        assert site in await self.refused(Unavailable, forge, api, repository=elsewhere)

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_a_token_that_may_not_ask(self, forge: Forge, api: ForgeApi, status: int) -> None:
        api.replies[1] = Reply.of({"message": "no"}, status)
        assert "give the project a token that may" in await self.refused(Rejected, forge, api)

    @pytest.mark.parametrize("token", ["another", "größe", "two\nlines"])
    async def test_a_token_that_is_none(self, forge: Forge, api: ForgeApi, token: str) -> None:
        assert "token" in await self.refused(Rejected, forge, api, token=token)

    async def test_another_repository_that_has_its_name(self, forge: Forge, api: ForgeApi) -> None:
        api.pulls.append(api.sender.pull(1, NEW))
        known = replace(api.repository, id="4711")
        assert "another repository" in await self.refused(Rejected, forge, api, repository=known)
        unknown = replace(api.repository, id="")
        assert set(await self.ask(forge, api, repository=unknown)) == {1}

    async def test_a_renamed_repository_is_followed(self, forge: Forge, api: ForgeApi) -> None:
        api.pulls.append(api.sender.pull(1, NEW))
        api.moved["acme/old"] = api.path(api.sender.full_name)
        clone_url = api.repository.clone_url.replace(api.sender.full_name, "acme/old")
        old = replace(api.repository, full_name="acme/old", clone_url=clone_url)
        assert set(await self.ask(forge, api, repository=old)) == {1}

    async def test_no_other_host_is_shown_the_token(self, forge: Forge, api: ForgeApi) -> None:
        api.pulls.append(api.sender.pull(1, NEW))
        elsewhere = api.url.replace("127.0.0.1", "localhost")
        path = api.path(api.sender.full_name).removeprefix(api.prefix)
        api.moved["acme/old"] = f"{elsewhere}{path}"
        clone_url = api.repository.clone_url.replace(api.sender.full_name, "acme/old")
        old = replace(api.repository, full_name="acme/old", clone_url=clone_url)
        await self.refused(Rejected, forge, api, repository=old)
        assert ["authorization" in one.headers for one in api.asked] == [True, False]

    async def test_a_path_on_this_machine_has_no_api(self, forge: Forge, api: ForgeApi) -> None:
        for path in ("/srv/git/acme/shop.git", "file:///srv/acme/shop", "./acme/shop"):
            local = replace(api.repository, clone_url=path)
            async with forge:
                assert await forge.pull_requests(local, Secret("x")) is None
