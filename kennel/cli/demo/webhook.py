"""A git post-receive hook that tells Kennel what Forgejo would tell it.

A program of its own that needs nothing but the standard library: git starts it in the bare
repository. `webhook.json` there says where to deliver and what the forge would know:

    {"url": ..., "secret_file": ..., "repository": {...}, "pulls": {"1": {"head": BRANCH, ...}}}

Formats: services/webhook/deliver.go, services/webhook/shared/payloader.go and
modules/structs/{hook,pull,repo}.go of Forgejo's source. What depends on the commits' contents is
left out: Forgejo itself sends no more than the first few.
"""

import hashlib
import hmac
import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Payload: TypeAlias = dict[str, Any]
SETTINGS = "webhook.json"
TIMEOUT = 5.0
"""Seconds that Forgejo waits for an answer. It never tries again."""
HEADS = "refs/heads/"


def main() -> None:
    """Deliver what follows from the lines `OLD NEW REF` that git writes to a hook."""
    settings = json.loads(Path(SETTINGS).read_text())
    secret = Path(settings["secret_file"]).read_text().strip()
    for line in sys.stdin:
        old, new, ref = line.split()
        for event, payload in deliveries(settings, old, new, ref):
            print(_sent(settings["url"], secret, event, payload), flush=True)


def deliveries(
    settings: Mapping[str, Any], old: str, new: str, ref: str
) -> Iterator[tuple[str, Payload]]:
    """Yield the events, each with its payload, that a moved ref leads to."""
    if ref.startswith("refs/pull/"):
        yield "pull_request", _pull_request(settings, old, new, int(ref.split("/")[2]))
        return
    kind = "branch" if ref.startswith(HEADS) else "tag"
    repository, sender = settings["repository"], settings["repository"]["owner"]
    about = {"ref": ref, "ref_type": kind, "repository": repository, "sender": sender}
    if _absent(old):
        yield "create", {"sha": new, **about}
    if not _absent(new):
        yield "push", _push(settings, old, new, ref)
    if _absent(new):
        yield "delete", {**about, "pusher_type": "user"}


def _absent(commit: str) -> bool:
    return not commit.strip("0")


def _push(settings: Mapping[str, Any], old: str, new: str, ref: str) -> Payload:
    repository = settings["repository"]
    commits = [_commit(repository, new)]
    return {
        "ref": ref,
        "before": old,
        "after": new,
        "compare_url": f"{repository['html_url']}/compare/{old}...{new}",
        "commits": commits,
        "total_commits": len(commits),
        "head_commit": commits[0],
        "repository": repository,
        "pusher": repository["owner"],
        "sender": repository["owner"],
    }


def _commit(repository: Mapping[str, Any], commit: str) -> Payload:
    author, email, time, message = _git("log", "-1", "--format=%an%n%ae%n%cI%n%B", commit)
    person = {"name": author, "email": email, "username": ""}
    return {
        "id": commit,
        "message": message,
        "url": f"{repository['html_url']}/commit/{commit}",
        "author": person,
        "committer": person,
        "verification": None,
        "timestamp": time,
        "added": None,
        "removed": None,
        "modified": None,
    }


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return done.stdout.split("\n", 3)


def _pull_request(settings: Mapping[str, Any], old: str, new: str, number: int) -> Payload:
    repository, pull = settings["repository"], settings["pulls"][str(number)]
    action = "opened" if _absent(old) else "closed" if _absent(new) else "synchronized"
    return {
        "action": action,
        "number": number,
        "changes": None,
        "pull_request": {
            "id": 900 + number,
            "number": number,
            "user": repository["owner"],
            "title": pull["title"],
            "labels": [],
            "state": "closed" if action == "closed" else "open",
            "draft": False,
            "merged": False,
            "html_url": f"{repository['html_url']}/pulls/{number}",
            "base": _branch(repository, repository["default_branch"], pull["base"]),
            "head": _branch(repository, pull["head"], old if _absent(new) else new),
            "flow": 0,
        },
        "requested_reviewer": None,
        "repository": repository,
        "sender": repository["owner"],
        "commit_id": "",
        "review": None,
    }


def _branch(repository: Mapping[str, Any], name: str, commit: str) -> Payload:
    return {
        "label": name,
        "ref": name,
        "sha": commit,
        "repo_id": repository["id"],
        "repo": repository,
    }


def signed(secret: str, event: str, payload: Payload) -> tuple[bytes, dict[str, str]]:
    """Return body and headers: Forgejo's, and Gitea's, Gogs' and GitHub's beside them."""
    body = _text(payload)
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    old_signature = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    delivery = str(uuid.uuid4())
    headers = {
        "User-Agent": "Go-http-client/1.1",
        "Content-Type": "application/json",
        "X-Hub-Signature": f"sha1={old_signature}",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    for forge in ("Forgejo", "Gitea", "Gogs", "GitHub"):
        headers |= {f"X-{forge}-{name}": value for name, value in _names(delivery, event, payload)}
        if forge != "GitHub":
            headers[f"X-{forge}-Signature"] = signature
    return body, headers


def _names(delivery: str, event: str, payload: Payload) -> Iterable[tuple[str, str]]:
    synchronized = payload.get("action") == "synchronized"
    fine = "pull_request_sync" if synchronized else event
    return (("Delivery", delivery), ("Event", event), ("Event-Type", fine))


def _text(payload: Payload) -> bytes:
    """Write JSON as Go's `json.MarshalIndent(payload, "", "  ")` does."""
    text = json.dumps(payload, indent=2, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def _sent(url: str, secret: str, event: str, payload: Payload) -> str:
    """Deliver once and return what to tell whoever pushed: git shows it as `remote: ...`."""
    to = urlsplit(url)
    body, headers = signed(secret, event, payload)
    connection = HTTPConnection(to.hostname or "", to.port or 80, timeout=TIMEOUT)
    try:
        connection.request("POST", to.path, body, headers)
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
    except OSError as error:
        return f"webhook {event}: not delivered: {error}"
    else:
        fine = answer.status < HTTPStatus.BAD_REQUEST
        return f"webhook {event}: {answer.status} {answer.reason if fine else said}"
    finally:
        connection.close()


if __name__ == "__main__":
    main()
