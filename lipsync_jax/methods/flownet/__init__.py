"""FlowNetS (Dosovitskiy et al. 2015)."""
