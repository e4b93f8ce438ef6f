"""Experiments, one file a method; see `get_config` of each."""
