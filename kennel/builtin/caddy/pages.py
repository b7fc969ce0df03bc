"""What people see where no deployment answers. Nothing in it tells how Kennel works inside."""

from typing import Any

Json = dict[str, Any]

NO_DEPLOYMENT = "No such deployment", "There is nothing at this address."
NOT_RUNNING = "Not running", "This deployment is not running at the moment. Try again soon."
NOT_ANSWERING = "Not answering", "This deployment does not answer at the moment. Try again soon."
NOT_FOUND = "Not found", "This deployment has no such page."
OTHER = "{http.error.status_text}", "This deployment could not answer the request."

TYPE = "text/html; charset=utf-8"
SHARED = (
    'style="font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:1rem"'
)


def answer(page: tuple[str, str], status: int | str) -> Json:
    """Return the handler that answers with a page."""
    title, text = page
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><body {SHARED}><h1>{title}</h1><p>{text}</p></body></html>\n"
    )
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": [TYPE], "Cache-Control": ["no-store"]},
        "body": body,
    }
