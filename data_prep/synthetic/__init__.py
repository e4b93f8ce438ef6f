"""A corpus of rendered talking faces."""
