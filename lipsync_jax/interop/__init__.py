"""Official checkpoints -> variables of our networks."""
