from pathlib import Path

import pytest
from kennel_scratch.folders import FolderProvisioner

from kennel.domain import Env
from kennel.plugin import Provisioner
from kennel.testing import MakeProvisioner, ProvisionerContract


class TestFolders(ProvisionerContract):
    @pytest.fixture
    def make_provisioner(self, tmp_path: Path) -> MakeProvisioner:
        self.folders = tmp_path / "folders"
        return lambda: FolderProvisioner(tmp_path)

    # The rest is optional: each method lets the contract look closer.

    def inventory(self) -> set[str]:
        return {path.name for path in self.folders.glob("*")}

    def make_foreign(self) -> None:
        (self.folders / "lovelace--mine").mkdir(parents=True)

    def unreachable(self) -> Provisioner:
        return FolderProvisioner(Path("/dev/null"))

    def put(self, env: Env, text: str) -> None:
        (Path(env["SCRATCH_DIR"].value) / "note").write_text(text)

    def get(self, env: Env) -> str | None:
        note = Path(env["SCRATCH_DIR"].value) / "note"
        return note.read_text() if note.exists() else None
