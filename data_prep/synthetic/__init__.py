"""A corpus of rendered people who talk, made offline."""
