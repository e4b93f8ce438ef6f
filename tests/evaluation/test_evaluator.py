"""Metrics of clips against their references."""

import math

import numpy as np
import pytest

from lipsync_jax.evaluation import protocol
from lipsync_jax.evaluation.evaluator import ClipFeatures, Evaluator


def features(embeddings):
    faces = np.zeros((4, 128, 128, 3), np.uint8)
    return ClipFeatures(faces, None, np.float32(embeddings), {})


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ([[1, 0], [0, 1]], 0.0),
        ([[math.nan] * 2, [0, 1]], 1.0),  # the first frame shows no face
        ([[math.nan] * 2] * 2, math.nan),
    ],
)
def test_acd_compares_with_the_first_face_of_the_reference(reference, expected):
    evaluator = Evaluator(protocol.get("face-2"), None, None)
    metrics, _ = evaluator.reference_metrics(features([[1, 0], [1, 0]]), features(reference))
    np.testing.assert_equal(metrics["acd_c"], expected)
