"""Webhook deliveries as forges send them: the right headers, payloads and signatures.

sender = ForgejoSender(secret="s3cret")
for delivery in sender.created("feature/x", commit="c0ffee" + "0" * 34):
    httpx.post(url, content=delivery.body, headers=delivery.headers)
"""

import hmac
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import uuid4

from kennel.plugin import Delivery

ZEROS = "0" * 40
UPDATED_AT, UPDATED = "2026-01-02T04:04:05+01:00", 1767323045.0
"""When a pull request changed last, unless a test says otherwise; and in seconds."""
FORM = "application/x-www-form-urlencoded"
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "forgejo": ("x-forgejo", "x-gitea", "x-gogs", "x-github"),
    "gitea": ("x-gitea", "x-gogs", "x-github"),
    "github": ("x-github",),
}
"""The families of headers that each forge sends."""
FINE = {
    "synchronized": "pull_request_sync",
    "label_updated": "pull_request_label",
    "label_cleared": "pull_request_label",
}
"""`-Event-Type` of Forgejo and Gitea, where it is not the event's name."""


def signed_delivery(
    forge: str,
    event: str,
    payload: Mapping[str, Any] | bytes,
    secret: str,
    *,
    form: bool = False,
    delivery_id: str | None = None,
) -> Delivery:
    """Return a delivery of `forge` ("forgejo", "gitea", "github"), signed as it signs.

    An empty secret gives what it sends for a hook without one. `payload`: an object, or the very
    bytes. `form`: as a form instead of as JSON.
    """
    text = payload if isinstance(payload, bytes) else json.dumps(payload, indent=2).encode()
    body = urlencode({"payload": text}).encode() if form else text
    headers = {"content-type": FORM if form else "application/json"}
    delivery_id = delivery_id or str(uuid4())
    for prefix in PREFIXES[forge]:
        headers[f"{prefix}-event"] = event
        headers[f"{prefix}-delivery"] = delivery_id
    if forge == "github":
        return Delivery(headers={**headers, **_signed_by_github(body, secret)}, body=body)
    if isinstance(payload, Mapping):
        fine = FINE.get(str(payload.get("action")), event)
        headers |= {f"{prefix}-event-type": fine for prefix in PREFIXES[forge]}
    return Delivery(headers={**headers, **_signed_by_gitea(forge, text, secret)}, body=body)


def _hmac(text: bytes, secret: str, kind: str) -> str:
    return hmac.new(secret.encode(), text, kind).hexdigest() if secret else ""


def _signed_by_github(body: bytes, secret: str) -> Mapping[str, str]:
    """Of the raw body; no header at all without a secret."""
    hook = {"user-agent": "GitHub-Hookshot/c0ffee1", "x-github-hook-id": "4711"}
    if not secret:
        return hook
    return {
        **hook,
        "x-hub-signature": f"sha1={_hmac(body, secret, 'sha1')}",
        "x-hub-signature-256": f"sha256={_hmac(body, secret, 'sha256')}",
    }


def _signed_by_gitea(forge: str, text: bytes, secret: str) -> Mapping[str, str]:
    """Of the JSON text, be it in a form; empty signatures without a secret."""
    signature = _hmac(text, secret, "sha256")
    own = {f"{prefix}-signature": signature for prefix in PREFIXES[forge] if prefix != "x-github"}
    return {
        **own,
        "x-hub-signature": f"sha1={_hmac(text, secret, 'sha1')}",
        "x-hub-signature-256": f"sha256={signature}",
    }


@dataclass(frozen=True, kw_only=True)
class Sender(ABC):
    """A repository at a forge with a webhook. Each method returns what the forge would send."""

    secret: str
    id: int = 7
    full_name: str = "acme/shop"
    clone_url: str = "https://git.example/acme/shop.git"
    default_branch: str = "main"
    form: bool = False
    forge: ClassVar[str]

    def send(self, event: str, payload: Mapping[str, Any] | bytes) -> Delivery:
        """Return any event, with whatever payload."""
        return signed_delivery(self.forge, event, payload, self.secret, form=self.form)

    def repository(self) -> dict[str, Any]:
        owner, _, name = self.full_name.partition("/")
        return {
            "id": self.id,
            "name": name,
            "full_name": self.full_name,
            "owner": {"id": 2, "login": owner},
            "private": False,
            "fork": False,
            "html_url": self.clone_url.removesuffix(".git"),
            "ssh_url": f"git@git.example:{self.full_name}.git",
            "clone_url": self.clone_url,
            "default_branch": self.default_branch,
            "archived": False,
        }

    def push(self, ref: str, before: str, after: str) -> Delivery:
        """Return a push of a full ref."""
        return self.send("push", {**self._push(ref, before, after), **self._common()})

    def pushed(self, branch: str, before: str, after: str) -> Delivery:
        """Return a push to a branch that was there before."""
        return self.push(f"refs/heads/{branch}", before, after)

    def pull_request(
        self,
        number: int,
        action: str,
        commit: str,
        *,
        head: str = "fix",
        fork: bool = False,
        labels: Iterable[str] = (),
        fields: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        label: str = "",
    ) -> Delivery:
        """Return an event of a pull request.

        `action`: "opened", "pushed", "labelled", "closed" or the forge's own name of any other.
        `fields` replaces fields of the pull request; `changes` says what was edited; `label` which
        one was set or removed, where the forge tells.
        """
        state = {"state": "closed" if action == "closed" else "open"}
        pull = self.pull(number, commit, head=head, fork=fork, labels=labels, fields=state)
        payload = {
            "action": self.actions.get(action, action),
            "number": number,
            "changes": changes,
            "pull_request": {**pull, **(fields or {})},
            **self._labelled(label),
        }
        return self.send("pull_request", {**payload, **self._common()})

    def pull(
        self,
        number: int,
        commit: str,
        *,
        head: str = "fix",
        fork: bool = False,
        labels: Iterable[str] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return a pull request as it stands in events and in the API's lists."""
        base = {"label": self.default_branch, "ref": self.default_branch, "sha": "b" * 40}
        return {
            "id": 900 + number,
            "number": number,
            "state": "open",
            "draft": False,
            "merged": False,
            "updated_at": UPDATED_AT,
            "labels": [{"id": i, "name": name} for i, name in enumerate(labels)],
            "base": {**base, "repo_id": self.id, "repo": self.repository()},
            "head": self._head(head, commit, fork=fork),
            **(fields or {}),
        }

    def _labelled(self, label: str) -> dict[str, Any]:  # noqa: ARG002
        """Return what says which label was set or removed."""
        return {}

    def _common(self) -> dict[str, Any]:
        return {"repository": self.repository(), "sender": {"id": 3, "login": "ada"}}

    def _push(self, ref: str, before: str, after: str) -> dict[str, Any]:
        author = {"name": "Ada", "email": "ada@git.example", "username": "ada"}
        commit = {"id": after, "message": "Sell more", "author": author, "committer": author}
        gone = set(after) == {"0"}
        return {
            "ref": ref,
            "before": before,
            "after": after,
            "commits": [] if gone else [commit],
            "head_commit": None if gone else commit,
            "pusher": author,
        }

    def _head(self, name: str, commit: str, *, fork: bool) -> dict[str, Any]:
        theirs = {**self.repository(), "id": 9, "full_name": "eve/shop", "fork": True}
        repo = theirs if fork else self.repository()
        return {"label": name, "ref": name, "sha": commit, "repo_id": repo["id"], "repo": repo}

    @property
    @abstractmethod
    def actions(self) -> Mapping[str, str]:
        """Return this forge's names for "pushed" and "labelled"."""

    @abstractmethod
    def created(self, branch: str, commit: str) -> list[Delivery]:
        """Return what is sent for a new branch, in order."""

    @abstractmethod
    def deleted(self, branch: str, commit: str) -> list[Delivery]:
        """Return what is sent for a branch that went. `commit`: where it was."""

    @abstractmethod
    def tagged(self, tag: str, commit: str) -> list[Delivery]:
        """Return what is sent for a new tag, in order."""

    @abstractmethod
    def test(self, commit: str) -> Delivery:
        """Return what is sent when somebody tests the hook."""


@dataclass(frozen=True, kw_only=True)
class GiteaSender(Sender):
    """Gitea; and Forgejo's hooks of type `gitea`. Refs in `create` and `delete` are short."""

    forge: ClassVar[str] = "gitea"
    prefixes: ClassVar[Mapping[str, str]] = {"branch": "", "tag": ""}

    @property
    def actions(self) -> Mapping[str, str]:
        return {"pushed": "synchronized", "labelled": "label_updated"}

    def ref_event(self, event: str, kind: str, name: str, **more: str) -> Delivery:
        """Return a `create` or `delete` of a ref of `kind` "branch" or "tag"."""
        return self.send(
            event, {"ref": self.prefixes[kind] + name, "ref_type": kind, **more, **self._common()}
        )

    def created(self, branch: str, commit: str) -> list[Delivery]:
        created = self.ref_event("create", "branch", branch, sha=commit)
        return [created, self.pushed(branch, ZEROS, commit)]

    def deleted(self, branch: str, commit: str) -> list[Delivery]:  # noqa: ARG002
        """Return a `delete` alone: no push goes with it."""
        return [self.ref_event("delete", "branch", branch, pusher_type="user")]

    def tagged(self, tag: str, commit: str) -> list[Delivery]:
        pushed = self.push(f"refs/tags/{tag}", ZEROS, commit)
        return [pushed, self.ref_event("create", "tag", tag, sha=commit)]

    def test(self, commit: str) -> Delivery:
        return self.pushed(self.default_branch, commit, commit)


@dataclass(frozen=True, kw_only=True)
class ForgejoSender(GiteaSender):
    """Forgejo's hooks of type `forgejo`. Refs in `create` and `delete` are full."""

    forge: ClassVar[str] = "forgejo"
    prefixes: ClassVar[Mapping[str, str]] = {"branch": "refs/heads/", "tag": "refs/tags/"}


@dataclass(frozen=True, kw_only=True)
class GitHubSender(Sender):
    """GitHub. Every creation and deletion comes with a push."""

    forge: ClassVar[str] = "github"

    @property
    def actions(self) -> Mapping[str, str]:
        return {"pushed": "synchronize", "labelled": "labeled"}

    def _labelled(self, label: str) -> dict[str, Any]:
        return {"label": {"id": 5, "name": label}} if label else {}

    def _push(self, ref: str, before: str, after: str) -> dict[str, Any]:
        flags = {"created": before == ZEROS, "deleted": after == ZEROS, "forced": False}
        return {**super()._push(ref, before, after), **flags, "base_ref": None}

    def ref_event(self, event: str, kind: str, name: str) -> Delivery:
        """Return a `create` or `delete` of a ref of `kind` "branch" or "tag"."""
        payload = {"ref": name, "ref_type": kind, "pusher_type": "user", **self._common()}
        return self.send(event, payload)

    def created(self, branch: str, commit: str) -> list[Delivery]:
        return [self.ref_event("create", "branch", branch), self.pushed(branch, ZEROS, commit)]

    def deleted(self, branch: str, commit: str) -> list[Delivery]:
        return [self.ref_event("delete", "branch", branch), self.pushed(branch, commit, ZEROS)]

    def tagged(self, tag: str, commit: str) -> list[Delivery]:
        return [self.ref_event("create", "tag", tag), self.push(f"refs/tags/{tag}", ZEROS, commit)]

    def test(self, commit: str) -> Delivery:  # noqa: ARG002
        payload = {"zen": "Keep it logically awesome.", "hook_id": 4711, "hook": {"type": "Repo"}}
        return self.send("ping", {**payload, **self._common()})
