"""Weights of luminance: ITU-R BT.601, applied to gamma-coded values."""

RGB_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green, blue
BGR_WEIGHTS = RGB_WEIGHTS[::-1]  # in OpenCV's order of channels
