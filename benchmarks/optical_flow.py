"""Endpoint errors of optical flow on synthetic pairs that no method was tuned on.

    python -m benchmarks.optical_flow [--pairs=256] [--seed=1]

Prints a table: method, mean endpoint error in pixels at full size and after pooling 4 x 4 pixels
(lower is better).
"""

import argparse
import functools

import cv2
import jax
import numpy as np

from lipsync_jax.data.synthetic_flow import sample_flow_pairs
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.ops.luminance import RGB_WEIGHTS

OPENCV = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5}


def opencv(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    flows = [
        cv2.calcOpticalFlowFarneback(*pair, None, **OPENCV, poly_sigma=1.2, flags=0)
        for pair in zip(*(np.rint(255 * x).astype(np.uint8) for x in (first, second)), strict=True)
    ]
    return np.stack(flows)


def endpoint_errors(flow: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Returns mean endpoint errors in pixels, at full size and pooled."""

    def pooled(x):
        n, height, width, _ = x.shape
        return x.reshape(n, height // 4, 4, width // 4, 4, 2).mean(axis=(2, 4))

    both = ((flow, target), (pooled(flow), pooled(target)))
    return tuple(float(np.linalg.norm(a - b, axis=-1).mean()) for a, b in both)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    flow_examples = sample_flow_pairs(options.seed, options.pairs)
    first, second = (x @ np.float32(RGB_WEIGHTS) for x in flow_examples[:2])
    wide = functools.partial(optical_flow.farneback, window=15)
    methods = {
        "zero": lambda a, b: np.zeros_like(flow_examples.flow),
        **{name: jit(method) for name, method in optical_flow.METHODS.items()},
        "farneback, window 15": jit(wide),
        "OpenCV Farneback, window 15": opencv,
    }
    print(f"{options.pairs} pairs of 64 x 64, on {jax.default_backend()}")
    for name, method in methods.items():
        full, small = endpoint_errors(np.asarray(method(first, second)), flow_examples.flow)
        print(f"{name:28} {full:6.3f} {small:6.3f}")


if __name__ == "__main__":
    main()
