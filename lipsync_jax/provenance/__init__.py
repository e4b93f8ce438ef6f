"""Marks of synthetic media: metadata tag, content credentials, visible label."""
