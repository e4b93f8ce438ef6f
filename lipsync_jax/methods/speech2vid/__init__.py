"""Speech2Vid (Chung et al. 2017)."""
