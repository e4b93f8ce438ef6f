"""What several papers share in training."""
