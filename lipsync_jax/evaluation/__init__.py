"""Metrics, protocols and reports of generated videos."""
