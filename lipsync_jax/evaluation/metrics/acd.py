"""Average content distance: how well the identity of the face is preserved."""

import numpy as np
from jaxtyping import Num

DISTANCES = ("cosine", "euclidean")


def acd(
    frames: Num[np.ndarray, "frames d"], reference: Num[np.ndarray, " d"], distance: str = "cosine"
) -> float:
    """Computes the mean distance of face embeddings to the reference's (Tulyakov et al. 2018).

    ACD-C is 1 − cosine, ACD-E the Euclidean distance, of embeddings as they are. Values are not
    comparable between embedding networks: name the network with the result. (In Tulyakov's paper
    the distance is between pairs of frames; in Vougioukas et al. 2018, as here, to the reference
    image.)

    Args:
        frames: (frames, d), one embedding per frame; rows of NaN (no face found) are ignored.
        reference: (d,).
        distance: one of DISTANCES.

    Returns:
        The mean; NaN where no frame has an embedding.

    Raises:
        ValueError: the shapes don't fit, or there is no such distance.
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
