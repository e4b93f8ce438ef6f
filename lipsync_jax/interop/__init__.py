"""Conversion of official checkpoints to variables of this project's networks."""
