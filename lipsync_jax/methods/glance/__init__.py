"""Lip Movements Generation at a Glance (Chen et al. 2018)."""
