"""Print the JSON schema of kennel.json: `python -m kennel.build > docs/manifest.schema.json`."""

import json
import sys

from kennel.build.shape import schema

sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
