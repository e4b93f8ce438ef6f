"""Words over frames: classes, runs, the likeliest path."""

import dataclasses
import itertools

import numpy as np
import pytest

from lipsync_jax.data import word_labels
from lipsync_jax.data.clip import Word
from tests.conftest import toy_clip


def test_each_frame_has_the_word_of_its_middle():
    clip = toy_clip("s/0", 0, frames=12)
    said = (Word("bin", 0.06, 0.2), Word("red", 0.2, 0.28))
    clip = dataclasses.replace(clip, words=said)
    classes = word_labels.frame_labels(clip, {"red": 1, "bin": 2})
    assert classes.tolist() == [0, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0]
    assert word_labels.collapse_repeats(classes) == [2, 1]
    with pytest.raises(ValueError, match="'bin' is not in"):
        word_labels.frame_labels(clip, {"red": 1})
    with pytest.raises(ValueError, match="has no words"):
        word_labels.frame_labels(toy_clip("s/0", 0), {"red": 1})


def test_runs_begin_where_the_word_changes():
    assert word_labels.collapse_repeats(np.array([3, 3, 0, 3, 1, 1, 0])) == [3, 3, 1]
    assert word_labels.collapse_repeats(np.zeros(4)) == []


@pytest.mark.parametrize("cost", [0.0, 0.7, 50.0])
def test_the_likeliest_path_is_that_of_all_paths(cost):
    rng = np.random.default_rng(0)
    for _ in range(5):
        scores = np.log(rng.dirichlet(np.ones(3), 6))

        def total(path, scores=scores):
            changes = sum(a != b for a, b in itertools.pairwise(path))
            return sum(scores[i, c] for i, c in enumerate(path)) - cost * changes

        best = max(itertools.product(range(3), repeat=6), key=total)
        assert word_labels.viterbi_decode(scores, cost).tolist() == list(best)
