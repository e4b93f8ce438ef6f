"""Functions of arrays without weights."""
