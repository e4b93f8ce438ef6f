"""Experiments, one file per method; see `get_config` of each."""
