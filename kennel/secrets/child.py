"""Asks the official secretspec library what the secrets of a specification are worth.

Run as a program of its own, with an empty environment and a home that is thrown away. A request
comes in on standard input and the answer goes out on standard output, as JSON, so that no value
is ever an argument, or in an environment that anybody can read:

    {"spec": …, "profile": …, "values": {NAME: TEXT}}
    {"secrets": {NAME: {"text": TEXT} or {"base64": CONTENT OF A FILE}}}
    {"kind": …, "missing": [NAME, …], "message": …}

The values are what the library's provider `env` finds: this process's own variables, set here.
"""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from secretspec import MissingRequiredError, ResolvedSecret, SecretSpec, SecretSpecError

PROVIDER = "env://"


def main() -> None:
    request = json.load(sys.stdin)
    json.dump(_answer(request), sys.stdout)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(request["values"])
    home = os.environ["HOME"]
    asked = SecretSpec.builder().with_inline_spec(request["spec"], home).with_provider(PROVIDER)
    asked = asked.with_profile(request["profile"]).with_reason("a deployment by Kennel")
    try:
        with asked.load() as resolved:
            return {"secrets": {name: _told(one) for name, one in resolved.secrets.items()}}
    except MissingRequiredError as error:
        return {"kind": error.kind, "missing": list(error.missing), "message": ""}
    except SecretSpecError as error:
        return {"kind": error.kind, "missing": [], "message": str(error)}


def _told(secret: ResolvedSecret) -> dict[str, str]:
    if secret.path is not None:
        return {"base64": base64.b64encode(Path(secret.path).read_bytes()).decode()}
    return {"text": secret.value or ""}


if __name__ == "__main__":
    main()
