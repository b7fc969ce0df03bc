"""The provisioner: folders, and a mark for each of them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from kennel.domain import Env, Secret, Tenant, names
from kennel.errors import Rejected, Unavailable
from kennel.plugin import Provisioner, in_thread

P = ParamSpec("P")
R = TypeVar("R")


class FolderProvisioner(Provisioner):
    name = "scratch"
    variables = frozenset({"SCRATCH_DIR"})

    def __init__(self, folder: Path) -> None:
        self._marks, self._folders = folder / "marks", folder / "folders"

    async def check(self) -> None:
        await self.observe()

    async def observe(self) -> set[Tenant]:
        return await self._call(self._observe)

    def check_options(self, options: Mapping[str, object]) -> None:
        if options:
            raise Rejected(f"resource scratch: unknown option {', '.join(options)}; it takes none")

    async def ensure(self, tenant: Tenant, options: Mapping[str, object]) -> Env:
        self.check_options(options)
        folder = await self._call(self._ensure, tenant)
        return {"SCRATCH_DIR": Secret(str(folder))}

    async def remove(self, tenant: Tenant) -> None:
        await self._call(self._remove, tenant)

    async def _call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await in_thread(function, *args, **kwargs)
        except OSError as error:
            raise Unavailable(f"scratch: {error}") from error

    def _open(self) -> None:
        self._marks.mkdir(parents=True, exist_ok=True)
        self._folders.mkdir(exist_ok=True)

    def _observe(self) -> set[Tenant]:
        self._open()
        return {Tenant.parse(str(mark.readlink())) for mark in self._marks.iterdir()}

    def _ensure(self, tenant: Tenant) -> Path:
        self._open()
        mark, folder = self._marks / names.tenant(tenant), self._folders / names.tenant(tenant)
        if folder.exists() and not mark.is_symlink():
            raise Rejected(f"scratch: {folder} is not Kennel's: move it away")
        _mark(mark, tenant)
        folder.mkdir(exist_ok=True)
        return folder

    def _remove(self, tenant: Tenant) -> None:
        self._open()
        mark, folder = self._marks / names.tenant(tenant), self._folders / names.tenant(tenant)
        if mark.is_symlink():
            shutil.rmtree(folder, ignore_errors=not folder.exists())
            mark.unlink(missing_ok=True)


def _mark(mark: Path, tenant: Tenant) -> None:
    """Note whose folder it is: a link that leads nowhere is written in one step."""
    try:
        mark.symlink_to(str(tenant))
    except FileExistsError:
        pass  # by an earlier call, or one for the same tenant that was quicker
