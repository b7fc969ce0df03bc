"""Plugins that come with Kennel. They are under the same rules as anybody's."""
