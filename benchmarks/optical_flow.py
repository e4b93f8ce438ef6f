"""Endpoint errors of optical flow on synthetic pairs that no method was tuned on.

    python -m benchmarks.optical_flow [--pairs=256] [--seed=1] [--flownet RUN]

Prints a table: method, mean endpoint error in pixels at full size and after pooling 4 x 4 pixels
(lower is better). RUN is a run of configs/flownet.py; its flow, of a quarter of the size, is
upsampled bilinearly for the error at full size.
"""

import argparse
import functools

import cv2
import jax
import ml_collections
import numpy as np

from lipsync_jax.data.synthetic_flow import FlowPair, sample_flow_pairs
from lipsync_jax.methods.flownet import method as flownet_method
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.ops.luminance import RGB_WEIGHTS
from lipsync_jax.training import checkpoints

OPENCV = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5}


def opencv(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    flows = [
        cv2.calcOpticalFlowFarneback(*pair, None, **OPENCV, poly_sigma=1.2, flags=0)
        for pair in zip(*(np.rint(255 * x).astype(np.uint8) for x in (first, second)), strict=True)
    ]
    return np.stack(flows)


def pooled(flow: np.ndarray) -> np.ndarray:
    n, height, width, _ = flow.shape
    return flow.reshape(n, height // 4, 4, width // 4, 4, 2).mean(axis=(2, 4))


def endpoint_error(flow: np.ndarray, target: np.ndarray) -> float:
    """Returns the mean endpoint error in pixels."""
    return float(np.linalg.norm(flow - target, axis=-1).mean())


def flownet(run: str, pairs: FlowPair) -> np.ndarray:
    """Returns the flow of a trained FlowNetS, pooled, pixels."""
    variables, card = checkpoints.load_network(run, "flownet")
    module = flownet_method.network(ml_collections.ConfigDict(card["config"]))
    frames = np.stack([pairs.first, pairs.second], axis=1) * 2 - 1
    compute = jit(functools.partial(flownet_method.clip_flow, module))
    return optical_flow.FLOW_SCALE * np.asarray(compute(variables, frames))[:, 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flownet", metavar="RUN", help="a run of configs/flownet.py")
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
        flow = np.asarray(method(first, second))
        show(name, flow, pooled(flow), flow_examples.flow)
    if options.flownet:
        small = flownet(options.flownet, flow_examples)
        full = jax.image.resize(small, flow_examples.flow.shape, "bilinear")
        show("FlowNetS", np.asarray(full), small, flow_examples.flow)


def show(name: str, full: np.ndarray, small: np.ndarray, target: np.ndarray) -> None:
    errors = endpoint_error(full, target), endpoint_error(small, pooled(target))
    print(f"{name:28} {errors[0]:6.3f} {errors[1]:6.3f}")


if __name__ == "__main__":
    main()
