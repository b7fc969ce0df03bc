"""Who asks, as far as a request tells. Pure."""

from kennel.waker.crawlers import is_crawler
from kennel.waker.head import Head

PAGES = frozenset({"document", "iframe", "frame", "embed", "object", "fencedframe"})
"""What a browser shows as a page: see Sec-Fetch-Dest."""


def wants_page(head: Head) -> bool:
    """Return whether a browser asks for something that it shows to a person.

    Browsers say so, but not over plain HTTP. There they are known by their wish for HTML, which
    scripts do not have unless they say it.
    """
    if head.method != "GET" or head.upgrades or head.get("x-requested-with"):
        return False
    mode, what = head.get("sec-fetch-mode"), head.get("sec-fetch-dest")
    if mode and (mode != "navigate" or (what and what not in PAGES)):
        return False
    return "text/html" in head.get("accept").lower()


def may_wake(head: Head) -> bool:
    """Return whether a request wakes who sleeps: crawlers and the like do not.

    Who does not say what it is does: many a script of the people who work on it is among those.
    """
    return not is_crawler(head.get("user-agent"))
