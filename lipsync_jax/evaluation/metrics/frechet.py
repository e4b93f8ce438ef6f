"""Fréchet distance of two sets of features."""

import numpy as np
import scipy.linalg
from jaxtyping import Num


def frechet(
    a: Num[np.ndarray, "samples_a features"], b: Num[np.ndarray, "samples_b features"]
) -> float:
    """Computes the Fréchet distance of Gaussians fitted to two samples (Heusel et al. 2017, eq. 6).

    ‖µa − µb‖² + tr(Σa + Σb − 2·(Σa·Σb)^½), covariances unbiased. With the 2048 pooled features of
    Inception v3 this is FID. No maintained package supplies that network without PyTorch, so
    features come from the caller; name the network, the crop and the number of images with the
    result. The distance decreases with the number of samples, most of all below the number of
    features.

    Args:
        a: (samples, features), at least two samples.
        b: (samples, features), at least two samples.

    Raises:
        ValueError: the shapes don't fit, or values are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"features of shapes {a.shape} and {b.shape} can't be compared; both must be "
            "(samples, features) with two samples or more"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite numbers; check the network that computed them")
    difference = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The product's eigenvalues are those of a symmetric positive matrix, so its root's trace is
    # free of the complex rounding errors of a general matrix root.
    root = _root(first)
    eigenvalues = np.linalg.eigvalsh(root @ second @ root)
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return float(difference @ difference + trace)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
