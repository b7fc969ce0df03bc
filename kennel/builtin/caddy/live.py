"""Where the requests of each tenant go: files that Caddy reads while it serves. Blocking.

    live/TENANT -> ../generations/TENANT/DIGEST     a link, replaced by one rename
    generations/TENANT/DIGEST/tenant                the tenant as it is written in the store
                              NAME.upstream         of a service: 127.0.0.1:20001
                              NAME.site             of a site: /nix/store/...-docs
                              NAME.etag             of a site: W/"..."

A folder is complete before it gets its name, and never changes after. So a crash at any point
leaves what was live before, or what is live now. Only the times at which its files were read last
are set back: see `kennel.builtin.caddy.visits`.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from threading import Lock

from kennel.builtin.caddy import visits
from kennel.domain import Files, Target, Tenant, names
from kennel.domain.route import digest_of

OWNER = "tenant"
"""The file that names the tenant. No service can be called like it: theirs end in `.upstream`."""


class Live:
    """The targets of every tenant. `group`: who else may read them; -1 for everybody."""

    def __init__(self, folder: Path, group: int = -1) -> None:
        self.links = folder / "live"
        self._generations = folder / "generations"
        self._group = group
        self._owners: dict[str, Tenant] = {}
        self._counted: dict[str, tuple[str, ...]] = {}
        self._counting = Lock()
        self._visited_before: set[Tenant] = set()

    def open(self) -> None:
        """Make the folders and take away what a crash left half done."""
        for place in (self.links, self._generations):
            self._folder(place)
        for half in [*self.links.glob(".*"), *self._generations.glob("*/.*")]:
            half.unlink() if half.is_symlink() else shutil.rmtree(half)

    def shows_visits(self) -> bool:
        """Return whether `visited` can tell anything here."""
        return visits.show(self._generations)

    def switch(self, tenant: Tenant, targets: Mapping[str, Target]) -> None:
        """Send a tenant's requests to these targets with one rename."""
        name, digest = names.tenant(tenant), digest_of(targets)
        before = self._target(name)
        if before == digest and (self.links / name).is_dir():
            return
        self._write(tenant, name, digest, targets)
        link = self.links / f".{name}.{token_hex(8)}"
        link.symlink_to(Path("..", "generations", name, digest))
        link.replace(self.links / name)
        self._keep(tenant, {digest, before})
        self._count_anew(name)

    def remove(self, tenant: Tenant) -> None:
        """Forget a tenant."""
        name = names.tenant(tenant)
        (self.links / name).unlink(missing_ok=True)
        shutil.rmtree(self._generations / name, ignore_errors=True)
        self._visited_before.discard(tenant)
        self._count_anew(name)

    def observe(self) -> dict[Tenant, str]:
        """Return the digest of each tenant's targets."""
        return dict(self._observe())

    def visited(self) -> set[Tenant]:
        """Return who was visited since this was asked last, be it in a generation before."""
        found = {tenant for link, tenant in self._tenants() if self._take(link.name)}
        while self._visited_before:
            found.add(self._visited_before.pop())
        return found

    def _take(self, name: str) -> bool:
        """Return whether a tenant's files were read. Which there are is looked up once a switch."""
        with self._counting:  # or a list from before a switch would be kept after it
            files = self._counted.get(name)
            if files is None:
                files = self._counted[name] = visits.counted(self._generations / name)
        return visits.take(files)

    def _count_anew(self, name: str) -> None:
        with self._counting:
            self._counted.pop(name, None)

    def _observe(self) -> Iterator[tuple[Tenant, str]]:
        for link, tenant in self._tenants():
            try:
                link.stat()  # of what it leads to: a link to nothing is not live
                digest = os.readlink(link.path).rpartition("/")[2]  # noqa: PTH115  a thousand times
            except OSError:
                continue
            yield tenant, digest

    def _tenants(self) -> Iterator[tuple[os.DirEntry[str], Tenant]]:
        with os.scandir(self.links) as entries:
            for entry in entries:
                if not entry.is_symlink() or entry.name.startswith("."):
                    continue
                if tenant := self._owner(entry.name):
                    yield entry, tenant

    def _owner(self, name: str) -> Tenant | None:
        """Return whose link it is. Names are unique and never pass on, so it is read once."""
        if name not in self._owners:
            try:
                tenant = Tenant.parse((self.links / name / OWNER).read_text())
            except (OSError, ValueError):
                return None
            if names.tenant(tenant) != name:
                return None
            self._owners[name] = tenant
        return self._owners[name]

    def _target(self, name: str) -> str:
        try:
            return (self.links / name).readlink().name
        except OSError:
            return ""

    def _write(self, tenant: Tenant, name: str, digest: str, targets: Mapping[str, Target]) -> None:
        folder = self._generations / name / digest
        if folder.is_dir():
            return
        half = folder.with_name(f".{digest}.{token_hex(8)}")
        self._folder(half)
        for file, text in {OWNER: str(tenant), **_files(targets)}.items():
            (half / file).write_text(text)
            visits.expect(half / file)
            self._readable(half / file, 0o640 if self._group >= 0 else 0o644)
        half.rename(folder)

    def _keep(self, tenant: Tenant, kept: set[str]) -> None:
        """Remove the generations that are not kept: the last one is there for a rollback."""
        for folder in (self._generations / names.tenant(tenant)).iterdir():
            if folder.name not in kept:
                if visits.take(visits.counted_in(folder)):
                    self._visited_before.add(tenant)
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, place: Path) -> None:
        for folder in (place, place.parent) if place.name.startswith(".") else (place,):
            folder.mkdir(parents=True, exist_ok=True)
            self._readable(folder, 0o750 if self._group >= 0 else 0o755)

    def _readable(self, place: Path, mode: int) -> None:
        """Set who may read, whatever the umask is."""
        if self._group >= 0:
            os.chown(place, -1, self._group)
        place.chmod(mode)


def _files(targets: Mapping[str, Target]) -> dict[str, str]:
    files: dict[str, str] = {}
    for name, target in targets.items():
        if isinstance(target, Files):
            files[f"{name}.site"] = target.root
            files[f"{name}.etag"] = f'W/"{sha256(target.root.encode()).hexdigest()[:16]}"'
        else:
            files[f"{name}.upstream"] = str(target)
    return files
