"""Raw videos, and synthetic ones, -> TFDS shards."""
