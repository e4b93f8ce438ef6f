"""Average content distance: does the face stay the same person."""

import numpy as np

DISTANCES = ("cosine", "euclidean")


def acd(frames: np.ndarray, reference: np.ndarray, distance: str = "cosine") -> float:
    """Mean distance of each frame's face embedding to the reference's (Tulyakov et al. 2018).

    ACD-C is 1 − cosine, ACD-E the Euclidean distance, of embeddings as they are. Values depend on
    the embedding network and can't be compared between networks: name it with the result. (In
    Tulyakov's paper the distance is between pairs of frames; in Vougioukas et al. 2018, as here, to
    the still that is animated.)

    Args:
        frames: (frames, d), one embedding a frame; rows of NaN (no face found) don't count.
        reference: (d,).
        distance: one of DISTANCES.

    Returns:
        The mean; NaN where no frame has an embedding.

    Raises:
        ValueError: shapes don't fit, or there is no such distance.
    """
    frames, reference = np.asarray(frames, np.float64), np.asarray(reference, np.float64)
    if frames.ndim != 2 or reference.shape != frames.shape[1:]:
        raise ValueError(
            f"embeddings of shapes {frames.shape} and {reference.shape} don't fit; they must be "
            "(frames, d) and (d,)"
        )
    if distance not in DISTANCES:
        raise ValueError(f"ACD has no distance {distance!r}; choose from {', '.join(DISTANCES)}")
    frames = frames[np.isfinite(frames).all(axis=1)]
    if not len(frames):
        return float("nan")
    if distance == "euclidean":
        return float(np.linalg.norm(frames - reference, axis=1).mean())
    lengths = np.linalg.norm(frames, axis=1) * np.linalg.norm(reference)
    return float((1 - frames @ reference / lengths).mean())
