"""No site may lead out of the Nix store. Blocking.

A commit decides what is in its output, links too, and Caddy follows them. One to `/etc` or to
Kennel's own state would put on the web whatever Caddy's user may read.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kennel.domain import Tenant
from kennel.errors import Rejected

IN_STORE = re.compile(r"(?P<store>.*)/[0-9a-df-np-sv-z]{32}-[^/]+(?:/|$)")
MANY = 200_000
"""Files and folders that a site may have, with everything its links lead to."""


class Links:
    """Looks at each site once: what is under a store path never changes."""

    def __init__(self) -> None:
        self._good: set[str] = set()

    def refuse_escapes(self, tenant: Tenant, roots: Iterable[str]) -> None:
        """Raise Rejected if a site holds a link that leads out of it and out of the store."""
        for root in roots:
            if root not in self._good:
                _Walk(tenant, root).walk()
                if IN_STORE.match(root):
                    self._good.add(root)


class _Walk:
    def __init__(self, tenant: Tenant, root: str) -> None:
        self._tenant = tenant
        self._given = root
        self._root = os.path.realpath(root)
        found = IN_STORE.match(f"{root}/")
        self._store = os.path.realpath(found["store"]) if found else None
        self._left = MANY
        self._seen: set[str] = set()

    def walk(self) -> None:
        if self._store and not self._in_store(self._root):
            self._refuse(self._given)
        folders = [self._root]
        while folders:
            folder = folders.pop()
            if folder not in self._seen:
                self._seen.add(folder)
                folders += self._inside(folder)

    def _inside(self, folder: str) -> list[str]:
        """Return the folders in one, and those that its links lead to."""
        found: list[str] = []
        if not Path(folder).is_dir():
            return found
        with os.scandir(folder) as entries:
            for entry in entries:
                self._count()
                if entry.is_symlink():
                    found += self._follow(entry.path)
                elif entry.is_dir():
                    found.append(entry.path)
        return found

    def _follow(self, link: str) -> list[str]:
        end = os.path.realpath(link)
        if end == self._root or end.startswith(f"{self._root}/"):
            return []  # a dangling one too: nothing will ever be there
        if not self._in_store(end) or not os.path.lexists(end):
            self._refuse(link)
        return [end] if Path(end).is_dir() else []

    def _in_store(self, path: str) -> bool:
        found = IN_STORE.match(f"{path}/") if self._store else None
        return found is not None and found["store"] == self._store

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Rejected(f"{self._tenant}: the site {self._root} has over {MANY} files")

    def _refuse(self, link: str) -> None:
        within = os.path.relpath(link, self._given if link == self._given else self._root)
        raise Rejected(
            f"{self._tenant}: the site's link {within} leads to {os.path.realpath(link)}, which is"
            " not in the site and not in the Nix store: copy the file into the package"
        )
