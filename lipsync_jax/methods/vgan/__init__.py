"""VGAN (Vondrick et al. 2016), conditioned on speech."""
