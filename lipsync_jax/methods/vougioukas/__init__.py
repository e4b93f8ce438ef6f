"""The temporal GANs of Vougioukas et al. (2018, 2020)."""
