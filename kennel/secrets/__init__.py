"""The secrets of a commit: read as hostile text, refused or normalised, looked up, worked out.

secretspec.toml -> shape -> spec (normalised, within what the operator grants) -> the store
spec + environment -> sources -> the official library, in a process of its own -> Env
"""

from kennel.secrets.grants import Grants
from kennel.secrets.read import MOST_BYTES, read

__all__ = ["MOST_BYTES", "Grants", "read"]
