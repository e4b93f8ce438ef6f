"""Metrics, one a file; functions of arrays."""
