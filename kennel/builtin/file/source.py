"""One file for each secret: `FOLDER/PROJECT/PROFILE/NAME`; what is shared: `FOLDER/ITEM/FIELD`."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

from kennel.domain import Env, Reference, Secret
from kennel.errors import Rejected
from kennel.plugin import PluginConfig, SecretSource, in_thread

K = TypeVar("K")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
"""One part of a path: nothing that leads out of the folder."""


class FileConfig(PluginConfig, frozen=True):
    """What `[plugins.file]` may say. `folder`: where the files are."""

    folder: Path


class FileSource(SecretSource):
    """Reads a file for each secret. What it holds is the value, but for one newline at its end."""

    name = "file"

    def __init__(self, config: FileConfig) -> None:
        self._folder = config.folder

    async def check(self) -> None:
        await in_thread(self._demand_folder)

    async def resolve(self, project: str, profile: str, names: Collection[str]) -> Env:
        found = await in_thread(self._read, {name: (project, profile, name) for name in names})
        return dict(found)

    async def shared(
        self, project: str, profile: str, wanted: Collection[Reference]
    ) -> Mapping[Reference, Secret]:
        del project, profile  # what is shared is the same for all it is shared with
        return await in_thread(
            self._read, {one: (*one.item.split("/"), one.field) for one in wanted}
        )

    def place(self, project: str, profile: str, name: str) -> str:
        return f"{self._folder}/{project}/{profile}/{name}"

    def _demand_folder(self) -> None:
        """Raise Rejected where there is no folder: it may not be mounted, which tells nothing."""
        if not self._folder.is_dir():
            raise Rejected(
                f"[plugins.file] folder: {self._folder} is no folder: make it, or mount what it is"
            )

    def _read(self, paths: Mapping[K, tuple[str, ...]]) -> dict[K, Secret]:
        self._demand_folder()
        values = {key: _value(self._folder, parts) for key, parts in paths.items()}
        return {key: value for key, value in values.items() if value is not None}


def _value(folder: Path, parts: tuple[str, ...]) -> Secret | None:
    """Return what a file holds; None where there is none. Raises Rejected if it cannot be told."""
    if not all(PART.fullmatch(part) for part in parts):
        return None
    path = folder.joinpath(*parts)
    try:
        return Secret(path.read_bytes().decode().removesuffix("\n"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except UnicodeDecodeError:
        raise Rejected(
            f"{path}: it is not text in UTF-8: keep it as base64, and declare it with encoding ="
            ' "base64" and as_path = true'
        ) from None
    except OSError as error:
        raise Rejected(f"{path}: {error.strerror}: let Kennel's user read it") from None
