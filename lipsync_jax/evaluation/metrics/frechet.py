"""Fréchet distance of two sets of features."""

import numpy as np
import scipy.linalg


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two samples (Heusel et al. 2017, eq. 6).

    ‖µa − µb‖² + tr(Σa + Σb − 2·(Σa·Σb)^½), covariances unbiased. With the 2048 pooled features of
    Inception v3 this is FID; no torch-free package of that network is well kept, so features come
    from the caller, and a result must name the network, the crop and the number of pictures. It
    falls with the number of samples, far more so when that is below the number of features.

    Args:
        a: (samples, features), at least two samples.
        b: (samples, features), any number of samples from two on.

    Raises:
        ValueError: not such samples, of different features, or not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"features of shapes {a.shape} and {b.shape} can't be compared; both must be "
            "(samples, features) with two samples or more"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite numbers; look for NaN in what made them")
    difference = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # The product's eigenvalues are those of a symmetric positive matrix, so its root's trace is
    # found without the complex noise of a general matrix root.
    root = _root(first)
    middle = np.linalg.eigvalsh(root @ second @ root)
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(middle, 0)).sum()
    return float(difference @ difference + trace)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
