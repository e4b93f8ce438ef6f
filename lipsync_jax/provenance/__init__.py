"""How a generated video says that it is synthetic."""
