import numpy as np

from lipsync_jax.data_prep.undecoded import UndecodedFrames


def frame(colour=(128, 128, 128), *, decoded=0.0, seed=0):
    """A frame of one colour, its lower part decoded."""
    image = np.full((72, 88, 3), colour, np.uint8)
    rows = round(72 * decoded)
    if rows:
        image[-rows:] = np.random.default_rng(seed).integers(0, 256, (rows, 88, 3))
    return image


def test_frames_before_the_first_key_frame():
    undecoded = UndecodedFrames()
    frames = [
        frame(),
        frame((129, 130, 128)),
        frame(decoded=0.3),
        frame(decoded=0.7),
        frame(decoded=1),
    ]
    assert [undecoded(image) for image in frames] == [True, True, True, True, False]
    assert not undecoded(frame(decoded=0.5))  # a grey wall, later


def test_black_frames_are_images():
    undecoded = UndecodedFrames()
    frames = [frame((0, 0, 0)), frame((0, 0, 0), decoded=0.5), frame((0, 0, 0))]
    assert [undecoded(image) for image in frames] == [False, False, False]


def test_a_grey_wall_is_an_image():
    undecoded = UndecodedFrames()
    assert not any(undecoded(frame(decoded=0.4, seed=i)) for i in range(3))
