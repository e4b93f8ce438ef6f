"""What exists only for XLA on CPUs: convolutions and compiler options."""
