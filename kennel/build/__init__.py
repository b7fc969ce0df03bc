"""From a commit to what runs: fetch, evaluate, build. The only place that runs git and Nix."""

from kennel.build.follow import follow
from kennel.build.outputs import has_outputs
from kennel.build.worker import Worker

__all__ = ["Worker", "follow", "has_outputs"]
