import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.methods.common.window_sampling import AudioSpan, windows_inside

SHARED = dataclasses.replace(MEL, lookback=Fraction(0))


@pytest.mark.parametrize("frame_rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("columns", [40, 241])
def test_windows_whose_audio_ends_outside_of_the_clip_are_left_out(frame_rate, columns):
    def has_audio(spec, frame):
        start = int(80 * (frame / frame_rate - spec.lookback) // 1)
        return 0 <= start and start + 16 <= columns

    expected = [
        all(has_audio(MEL, first + k) for k in range(5)) and has_audio(SHARED, first)
        for first in range(60)
    ]
    inside = windows_inside(60, frame_rate, AudioSpan(MEL, columns, 5), AudioSpan(SHARED, columns))
    np.testing.assert_array_equal(inside, expected)
    assert not inside[0]  # its audio starts before the clip


def test_a_clip_without_such_a_window_is_refused():
    with pytest.raises(ValueError, match=r"none of the clip's 3 windows .*\(15 columns"):
        windows_inside(3, Fraction(25), AudioSpan(MEL, 15))
