"""Small talking faces for the temporal GANs: the toy clips, 32 x 32, and data sets of them."""

import dataclasses
from fractions import Fraction

import cv2

from lipsync_jax.data.clip import Geometry, decode_frames, encode_frame
from lipsync_jax.data_prep import builder
from tests.conftest import toy_clip

NAME, GEOMETRY = "aligned32x32", Geometry(32, 32, "aligned")


def clip(clip_id: str, seed: int, frames: int = 12):
    """A toy clip of any length."""
    made = toy_clip(clip_id, seed, -(-frames // 4) * 4)
    pictures = decode_frames(made, range(frames))
    return dataclasses.replace(
        made,
        frames=tuple(
            encode_frame(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA))
            for picture in pictures
        ),
        audio=made.audio[: int(frames * Fraction(made.audio_rate) / made.frame_rate)],
        landmarks=made.landmarks[:frames],
    )


def write(root) -> None:
    """A data set of 6 training and 3 validation clips of 9 to 14 frames."""
    import tensorflow_datasets as tfds

    class Toy(builder.TalkingFace, skip_registration=True):
        BUILDER_CONFIGS = (builder.TalkingFaceConfig(name=NAME),)

        def clips(self):
            return {
                split: (clip(f"{split}/{i}", seed + i, 9 + i) for i in range(n))
                for split, n, seed in (("train", 6, 0), ("validation", 3, 100))
            }

    tfds.disable_progress_bar()
    builder.write(Toy(config=NAME, data_dir=root, file_format="array_record"), shards=1)
