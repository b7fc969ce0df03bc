"""GitHub's webhooks: the contract, and what is GitHub's own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kennel.builtin.github import Config, GitHub, kennel_forges
from kennel.domain import (
    Event,
    Ignored,
    Ping,
    PullRequestChanged,
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
)
from kennel.testing.forge_api import ForgeApi, GitHubApi

OLD, NEW, ZEROS, ZEROS_256 = "a" * 40, "c" * 40, "0" * 40, "0" * 64
SENDER = GitHubSender(secret="s3cret", clone_url="https://github.com/acme/shop.git")
REPOSITORY = Repository(
    forge="github", id="7", full_name="acme/shop", clone_url="https://github.com/acme/shop.git"
)
MAIN = Ref.branch("main")


class TestGitHub(ForgeContract):
    @pytest.fixture
    def forge(self) -> Forge:
        return GitHub()

    @pytest.fixture
    def sender(self) -> Sender:
        return SENDER


class TestGitHubsPullRequests(PullRequestsContract):
    @pytest.fixture
    def api(self) -> Iterator[ForgeApi]:
        with GitHubApi(SENDER) as api:
            yield api

    @pytest.fixture
    def forge(self) -> Forge:
        return GitHub()


def read(delivery: Delivery) -> Event:
    return GitHub().read(delivery)


def test_the_signature_that_github_documents() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    delivery = Delivery(headers={"x-hub-signature-256": signature}, body=b"Hello, World!")
    assert GitHub().verify(delivery, Secret("It's a Secret to Everybody"))
    assert not GitHub().verify(delivery, Secret("It's a secret to everybody"))
    bare = replace(delivery, headers={"x-hub-signature-256": signature.removeprefix("sha256=")})
    assert GitHub().verify(bare, Secret("It's a Secret to Everybody"))


def test_a_form_is_signed_as_it_is() -> None:
    """Gitea would have signed the JSON text in it."""
    theirs = replace(GiteaSender(secret="s3cret"), form=True).pushed("main", OLD, NEW)
    ours = replace(SENDER, form=True).pushed("main", OLD, NEW)
    assert GitHub().verify(ours, Secret("s3cret"))
    assert not GitHub().verify(theirs, Secret("s3cret"))


def test_a_sha1_signature_is_not_enough() -> None:
    delivery = SENDER.pushed("main", OLD, NEW)
    old = {k: v for k, v in delivery.headers.items() if k != "x-hub-signature-256"}
    assert "x-hub-signature" in old
    assert not GitHub().verify(replace(delivery, headers=old), Secret("s3cret"))


@pytest.mark.parametrize("sender", [ForgejoSender(secret="s"), GiteaSender(secret="s")], ids=str)
def test_what_others_send_is_not_githubs(sender: Sender) -> None:
    delivery = sender.pushed("main", OLD, NEW)
    assert "x-github-event" in delivery.headers
    assert not GitHub().recognises(delivery)


def test_a_ping() -> None:
    event = read(SENDER.test(NEW))
    assert event == Ping(about="GitHub says 'Keep it logically awesome.'")


def test_a_ping_of_an_organisation_names_no_repository() -> None:
    assert isinstance(read(SENDER.send("ping", {"zen": "Design for failure.", "hook_id": 1})), Ping)


def test_created_branches_come_with_a_push() -> None:
    create, push = SENDER.created("feature/x", NEW)
    assert isinstance(read(create), Ignored)
    expected = RefChanged(repository=REPOSITORY, ref=Ref.branch("feature/x"), commit=NEW)
    assert read(push) == expected


@pytest.mark.parametrize("zeros", [ZEROS, ZEROS_256], ids=["sha1", "sha256"])
def test_a_push_to_nothing_is_a_deletion(zeros: str) -> None:
    event = read(SENDER.pushed("main", OLD, zeros))
    assert event == RefDeleted(repository=REPOSITORY, ref=MAIN)


def test_a_force_push_is_a_push() -> None:
    payload = json.loads(SENDER.pushed("main", OLD, NEW).body) | {"forced": True}
    event = read(SENDER.send("push", payload))
    assert event == RefChanged(repository=REPOSITORY, ref=MAIN, commit=NEW)


def test_a_branch_that_is_called_like_a_full_name_keeps_its_name() -> None:
    """Otherwise whoever may push branches could take `main` down."""
    event = read(SENDER.ref_event("delete", "branch", "refs/heads/main"))
    assert event == RefDeleted(repository=REPOSITORY, ref=Ref.branch("refs/heads/main"))


def test_a_deleted_tag_changes_nothing() -> None:
    for delivery in (
        SENDER.ref_event("delete", "tag", "v1.0"),
        SENDER.push("refs/tags/v1.0", OLD, ZEROS),
    ):
        assert isinstance(read(delivery), Ignored)


@pytest.mark.parametrize(
    ("action", "label", "added"),
    [
        ("labeled", "deploy", frozenset({"deploy"})),
        ("labeled", "", None),
        ("unlabeled", "bug", frozenset()),
    ],
)
def test_labels(action: str, label: str, added: frozenset[str] | None) -> None:
    event = read(SENDER.pull_request(42, action, NEW, labels=["deploy"], label=label))
    assert event == PullRequestChanged(
        repository=REPOSITORY,
        ref=Ref.pull_request(42),
        commit=NEW,
        trusted=True,
        labels=frozenset({"deploy"}),
        relabelled=True,
        updated_at=UPDATED,
        added=added,
    )


@pytest.mark.parametrize(
    ("changes", "matters"),
    [
        ({"base": {"ref": {"from": "main"}, "sha": {"from": OLD}}}, True),
        ({"title": {"from": "Sell"}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_edited_pull_request_matters_when_its_base_changed(
    changes: dict[str, Any] | None, matters: bool
) -> None:
    event = read(SENDER.pull_request(42, "edited", NEW, changes=changes))
    assert isinstance(event, PullRequestChanged if matters else Ignored)


@pytest.mark.parametrize(
    "action", ["converted_to_draft", "ready_for_review", "locked", "enqueued", "synchronized"]
)
def test_actions_that_change_nothing(action: str) -> None:
    assert isinstance(read(SENDER.pull_request(42, action, NEW)), Ignored)


@pytest.mark.parametrize("field", ["ref", "before", "after", "repository"])
def test_a_missing_field_is_named(field: str) -> None:
    payload = json.loads(SENDER.pushed("main", OLD, NEW).body)
    del payload[field]
    with pytest.raises(ValueError, match=f"`{field}`"):
        read(SENDER.send("push", payload))


@pytest.mark.parametrize("field", ["id", "full_name", "clone_url"])
def test_a_missing_field_of_the_repository_is_named(field: str) -> None:
    payload = json.loads(SENDER.pushed("main", OLD, NEW).body)
    del payload["repository"][field]
    with pytest.raises(ValueError, match=f"`{field}`"):
        read(SENDER.send("push", payload))


@pytest.mark.parametrize("number", [0, -1, 1 << 60])
def test_numbers_that_no_pull_request_has(number: int) -> None:
    with pytest.raises(ValueError, match="number"):
        read(SENDER.pull_request(number, "opened", NEW))


def test_is_on_with_a_table_and_off_without(tmp_path: Path) -> None:
    host = Host(state_dir=tmp_path, run_dir=tmp_path)
    assert [f.name for f in kennel_forges(PluginSettings({"github": {}}, host))] == ["github"]
    assert list(kennel_forges(PluginSettings({}, host))) == []


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    host = Host(state_dir=tmp_path, run_dir=tmp_path)
    settings = PluginSettings({"github": {"secret": "env:X"}}, host)
    with pytest.raises(ConfigError, match=r"plugins\.github.*secret"):
        settings.read("github", Config)
