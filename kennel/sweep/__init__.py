"""Looks at every repository now and then: a webhook may be lost, and no forge sends it again."""
