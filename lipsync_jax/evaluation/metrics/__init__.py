"""Metrics, one per file; functions of arrays."""
