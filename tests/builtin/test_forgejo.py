"""Forgejo's and Gitea's webhooks: the contract, and what is their own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kennel.builtin.forgejo import Config, Forgejo, Gitea, kennel_forges
from kennel.builtin.github import GitHub
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
from kennel.errors import ConfigError
from kennel.plugin import Delivery, Forge, PluginSettings
from kennel.plugin.settings import Host
from kennel.testing.deliveries import UPDATED
from kennel.testing.forge import (
    ForgeContract,
    ForgejoSender,
    GiteaSender,
    GitHubSender,
    PullRequestsContract,
    Sender,
    signed_delivery,
)
from kennel.testing.forge_api import ForgeApi, GiteaApi

OLD, NEW, ZEROS, ZEROS_256 = "a" * 40, "c" * 40, "0" * 40, "0" * 64
FORGEJO, GITEA = ForgejoSender(secret="s3cret"), GiteaSender(secret="s3cret")
SECRET = Secret("s3cret")
BOTH = pytest.mark.parametrize(
    ("forge", "sender"), [(Forgejo(), FORGEJO), (Gitea(), GITEA)], ids=["forgejo", "gitea"]
)


class TestForgejo(ForgeContract):
    @pytest.fixture
    def forge(self) -> Forge:
        return Forgejo()

    @pytest.fixture
    def sender(self) -> Sender:
        return FORGEJO


class TestGitea(ForgeContract):
    @pytest.fixture
    def forge(self) -> Forge:
        return Gitea()

    @pytest.fixture
    def sender(self) -> Sender:
        return GITEA


class TestForgejosPullRequests(PullRequestsContract):
    @pytest.fixture
    def api(self) -> Iterator[ForgeApi]:
        with GiteaApi(FORGEJO) as api:
            yield api

    @pytest.fixture
    def forge(self) -> Forge:
        return Forgejo()


class TestGiteasPullRequests(PullRequestsContract):
    @pytest.fixture
    def api(self) -> Iterator[ForgeApi]:
        with GiteaApi(GITEA) as api:
            yield api

    @pytest.fixture
    def forge(self) -> Forge:
        return Gitea()


def repository(forge: Forge) -> Repository:
    return Repository(
        forge=forge.name,
        id="7",
        full_name="acme/shop",
        clone_url="https://git.example/acme/shop.git",
    )


def pull(event: Event) -> PullRequestChanged:
    assert isinstance(event, PullRequestChanged)
    return event


def payload(delivery: Delivery) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(delivery.body)
    return decoded


@pytest.mark.parametrize(
    ("sender", "expected"),
    [(FORGEJO, "forgejo"), (GITEA, "gitea"), (GitHubSender(secret="s3cret"), "github")],
    ids=["forgejo", "gitea", "github"],
)
def test_every_delivery_is_recognised_by_the_forge_that_sent_it_alone(
    sender: Sender, expected: str
) -> None:
    delivery = sender.pushed("main", OLD, NEW)
    forges = sorted([GitHub(), Gitea(), Forgejo()], key=lambda forge: forge.precedence())
    assert [forge.name for forge in forges] == ["forgejo", "gitea", "github"]
    assert [forge.name for forge in forges if forge.recognises(delivery)] == [expected]


@BOTH
def test_a_form_is_signed_in_its_json_text(forge: Forge, sender: Sender) -> None:
    delivery = replace(sender, form=True).pushed("größe", OLD, NEW)
    assert forge.verify(delivery, SECRET)
    over_the_form = signed_delivery("github", "push", delivery.body, "s3cret")
    signature = over_the_form.headers["x-hub-signature-256"]
    names = [name for name in delivery.headers if "signature" in name]
    wrong = {**delivery.headers, **dict.fromkeys(names, signature)}
    assert not forge.verify(replace(delivery, headers=wrong), SECRET)


@BOTH
@pytest.mark.parametrize(
    "body",
    [b"", b"other=1", b"payload=%ff", b"\xff=1", b"payload={}&payload={}", b"&".join([b"a=1"] * 9)],
)
def test_a_form_that_is_not_one_payload(forge: Forge, sender: Sender, body: bytes) -> None:
    headers = replace(sender, form=True).pushed("main", OLD, NEW).headers
    delivery = Delivery(headers=headers, body=body)
    assert not forge.verify(delivery, SECRET)
    with pytest.raises(ValueError, match="payload"):
        forge.read(delivery)


@BOTH
@pytest.mark.parametrize("kept", ["x-gitea-signature", "x-hub-signature-256"])
@pytest.mark.parametrize("shape", ["{}", "sha256={}", "SHA256={}", " {} "])
def test_every_signature_header_counts(forge: Forge, sender: Sender, kept: str, shape: str) -> None:
    delivery = sender.pushed("main", OLD, NEW)
    bare = delivery.headers["x-gitea-signature"]
    others = {k: v for k, v in delivery.headers.items() if "signature" not in k}
    assert not forge.verify(replace(delivery, headers=others), SECRET)
    assert forge.verify(replace(delivery, headers={**others, kept: shape.format(bare)}), SECRET)


@BOTH
def test_the_signatures_of_a_hook_without_a_secret(forge: Forge, sender: Sender) -> None:
    delivery = replace(sender, secret="").pushed("main", OLD, NEW)
    assert delivery.headers["x-gitea-signature"] == ""
    assert delivery.headers["x-hub-signature-256"] == "sha256="
    assert not forge.verify(delivery, SECRET)
    assert not forge.verify(delivery, Secret(""))


@BOTH
def test_a_new_branch_is_known_from_create_and_push(forge: Forge, sender: Sender) -> None:
    changed = RefChanged(repository=repository(forge), ref=Ref.branch("feature/x"), commit=NEW)
    assert [forge.read(delivery) for delivery in sender.created("feature/x", NEW)] == [changed] * 2


@BOTH
@pytest.mark.parametrize("sha", ["", ZEROS, ZEROS_256])
def test_a_create_without_a_commit_waits_for_the_push(
    forge: Forge, sender: GiteaSender, sha: str
) -> None:
    assert isinstance(forge.read(sender.ref_event("create", "branch", "x", sha=sha)), Ignored)


def test_forgejo_names_deleted_branches_in_two_ways() -> None:
    """Full by a hook of type `forgejo`, short by one of type `gitea`."""
    gone = RefDeleted(repository=repository(Forgejo()), ref=Ref.branch("feature/x"))
    for ref in ("refs/heads/feature/x", "feature/x"):
        body = {"ref": ref, "ref_type": "branch", "repository": FORGEJO.repository()}
        assert Forgejo().read(FORGEJO.send("delete", body)) == gone


def test_gitea_always_uses_short_names() -> None:
    """Otherwise whoever may push branches could take `main` down with `refs/heads/main`."""
    event = Gitea().read(GITEA.ref_event("delete", "branch", "refs/heads/main"))
    assert event == RefDeleted(repository=repository(Gitea()), ref=Ref.branch("refs/heads/main"))


@BOTH
def test_a_deleted_tag_called_like_a_branch_changes_nothing(
    forge: Forge, sender: GiteaSender
) -> None:
    assert isinstance(forge.read(sender.ref_event("delete", "tag", "main")), Ignored)
    assert isinstance(forge.read(sender.push("refs/tags/main", OLD, ZEROS)), Ignored)


@BOTH
@pytest.mark.parametrize("zeros", [ZEROS, ZEROS_256], ids=["sha1", "sha256"])
def test_a_push_to_nothing_is_a_deletion(forge: Forge, sender: Sender, zeros: str) -> None:
    event = forge.read(sender.pushed("x", OLD, zeros))
    assert event == RefDeleted(repository=repository(forge), ref=Ref.branch("x"))


@BOTH
def test_a_test_delivery_is_no_push(forge: Forge, sender: Sender) -> None:
    event = forge.read(sender.pushed("main", NEW, NEW))
    assert event == Ping(about="a test: main did not move")


@BOTH
@pytest.mark.parametrize("ref", ["refs/for/main", "refs/pull/4/head", "main", "HEAD"])
def test_refs_that_are_no_branches(forge: Forge, sender: Sender, ref: str) -> None:
    assert isinstance(forge.read(sender.push(ref, OLD, NEW)), Ignored)


AGIT = {"sha": NEW, "repo_id": 7, "repo": {"id": 7}}


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        {"head": {**AGIT, "label": "", "ref": "refs/pull/42/head"}},
        {"head": {**AGIT, "label": "x", "ref": "refs/pull/42/head"}},
        {"head": {**AGIT, "label": "", "ref": "topic"}},
        {"head": {**AGIT, "label": "topic", "ref": "topic"}, "flow": 1},
        {"head": {"label": "fix", "ref": "refs/pull/42/head", "sha": NEW, "repo_id": -1}},
        {"head": {"label": "fix", "ref": "fix", "sha": NEW, "repo_id": 7, "repo": None}},
    ],
    ids=["agit", "agit-label", "agit-topic", "agit-flow", "head-gone", "fork-gone"],
)
def test_heads_that_cannot_be_trusted(forge: Forge, sender: Sender, fields: dict[str, Any]) -> None:
    assert pull(forge.read(sender.pull_request(42, "opened", NEW, fork=False))).trusted
    assert not pull(forge.read(sender.pull_request(42, "opened", NEW, fields=fields))).trusted


@BOTH
@pytest.mark.parametrize("action", ["label_updated", "label_cleared"])
@pytest.mark.parametrize("labels", [[], ["deploy"]])
def test_labels(forge: Forge, sender: Sender, action: str, labels: list[str]) -> None:
    event = pull(forge.read(sender.pull_request(42, action, NEW, labels=labels)))
    assert (event.relabelled, event.labels) == (True, frozenset(labels))


@BOTH
def test_labels_may_be_null(forge: Forge, sender: Sender) -> None:
    event = pull(forge.read(sender.pull_request(42, "opened", NEW, fields={"labels": None})))
    assert event.labels == frozenset()


@BOTH
@pytest.mark.parametrize(
    ("changes", "matters"),
    [
        ({"ref": {"from": "main"}}, True),
        ({"title": {"from": "WIP: Sell"}}, False),
        ({"ref": None}, False),
        (None, False),
    ],
)
def test_an_edited_pull_request_matters_when_its_base_changed(
    forge: Forge, sender: Sender, changes: dict[str, Any] | None, matters: bool
) -> None:
    event = forge.read(sender.pull_request(42, "edited", NEW, changes=changes))
    assert isinstance(event, PullRequestChanged if matters else Ignored)


@BOTH
def test_a_pull_request_closes_whatever_its_head_looks_like(forge: Forge, sender: Sender) -> None:
    delivery = sender.pull_request(42, "closed", "", fields={"head": None, "labels": None})
    assert forge.read(delivery) == PullRequestClosed(
        repository=repository(forge), ref=Ref.pull_request(42), updated_at=UPDATED
    )


@BOTH
@pytest.mark.parametrize("name", ["pull_request_approved", "issue_comment", "release", "wiki", ""])
def test_other_events_change_nothing(forge: Forge, sender: Sender, name: str) -> None:
    assert isinstance(forge.read(sender.send(name, {"action": "opened"})), Ignored)


def test_an_event_without_a_coarse_name_is_shown_by_its_fine_one() -> None:
    """Older versions send packages like that."""
    delivery = FORGEJO.send("", {"action": "created"})
    headers = {**delivery.headers, "x-forgejo-event-type": "package"}
    assert Forgejo().recognises(replace(delivery, headers=headers))
    assert Forgejo().event_name(replace(delivery, headers=headers)) == "package"


@BOTH
@pytest.mark.parametrize("event", ["push", "create", "delete", "pull_request"])
@pytest.mark.parametrize("field", ["id", "full_name", "clone_url"])
def test_a_missing_field_of_the_repository_is_named(
    forge: Forge, sender: GiteaSender, event: str, field: str
) -> None:
    deliveries = {
        "push": sender.pushed("main", OLD, NEW),
        "create": sender.created("main", NEW)[0],
        "delete": sender.deleted("main", NEW)[0],
        "pull_request": sender.pull_request(42, "opened", NEW),
    }
    body = payload(deliveries[event])
    del body["repository"][field]
    with pytest.raises(ValueError, match=f"`{field}`"):
        forge.read(sender.send(event, body))


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clone_url", "ext::sh -c id"),
        ("clone_url", "--upload-pack=id"),
        ("clone_url", "file:///etc"),
        ("clone_url", "https://git.example/a\nb"),
        ("clone_url", "https://"),
        ("full_name", "shop"),
        ("full_name", "acme/.."),
        ("full_name", "acme/sh\x1bop"),
        ("full_name", "a/" + "b" * 300),
        ("default_branch", "-x"),
    ],
)
def test_repositories_that_make_no_sense(
    forge: Forge, sender: Sender, field: str, value: str
) -> None:
    body = payload(sender.pushed("main", OLD, NEW))
    body["repository"][field] = value
    with pytest.raises(ValueError, match=f"repository.{field}"):
        forge.read(sender.send("push", body))


@BOTH
def test_an_empty_repository_has_no_default_branch(forge: Forge, sender: Sender) -> None:
    event = forge.read(replace(sender, default_branch="").pushed("main", ZEROS, NEW))
    assert isinstance(event, RefChanged)
    assert event.repository.default_branch == "main"


def test_is_on_with_a_table_and_off_without(tmp_path: Path) -> None:
    host = Host(state_dir=tmp_path, run_dir=tmp_path)
    on = kennel_forges(PluginSettings({"forgejo": {}}, host))
    assert [forge.name for forge in on] == ["forgejo", "gitea"]
    assert list(kennel_forges(PluginSettings({}, host))) == []


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    host = Host(state_dir=tmp_path, run_dir=tmp_path)
    settings = PluginSettings({"forgejo": {"url": "x"}}, host)
    with pytest.raises(ConfigError, match=r"plugins\.forgejo.*url"):
        settings.read("forgejo", Config)
