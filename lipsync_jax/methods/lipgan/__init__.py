"""LipGAN (KR et al. 2019)."""
