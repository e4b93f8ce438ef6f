"""The choice of test clips that benchmarks share."""

import pytest

from benchmarks.audio_sensitivity import clip_range


def test_no_more_clips_are_taken_than_the_split_has():
    assert [len(clip_range(wanted, 3)) for wanted in (0, 1, 3)] == [3, 1, 3]
    for wanted, available in ((4, 3), (-1, 3), (0, 0)):
        with pytest.raises(SystemExit, match=f"--clips {wanted}: the split has {available} clips"):
            clip_range(wanted, available)
