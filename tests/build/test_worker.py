"""A push is built: from a real repository, by the real git and Nix."""

import subprocess
from typing import Any


async def test_a_commit_is_built(workshop: Any, repository: Any, simple_flake: str) -> None:
    commit = repository.commit({"flake.nix": simple_flake})
    project = await workshop.project(str(repository.path))
    build = await workshop.build(project, commit)
    assert build.state == "built", build.reason
    assert build.outputs
    assert build.manifest
    assert [*build.manifest.services] == ["api"]
    program = build.outputs.programs["api"]
    assert subprocess.check_output([program], text=True) == "api\n"
    assert program.startswith(build.outputs.paths["api"])
    assert workshop.built == 1
