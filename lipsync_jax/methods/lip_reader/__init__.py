"""A lip reader, for word error rates."""
