"""Layers that several papers share; pure flax.linen modules."""
