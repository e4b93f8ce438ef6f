"""Networks, one file a paper; pure flax.linen modules."""
