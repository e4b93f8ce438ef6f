"""Small talking faces for the temporal GANs: toy clips of 32 x 32 pixels and data sets of them."""

import dataclasses
from fractions import Fraction

import cv2

from lipsync_jax.data.clip import CropSpec, decode_frames, encode_frame
from lipsync_jax.data_prep import builder
from tests.conftest import toy_clip

NAME, CROP_SPEC = "aligned32x32", CropSpec(32, 32, "aligned")


def aligned_clip(clip_id: str, seed: int, frames: int = 12):
    """Returns a toy clip of any length."""
    source_clip = toy_clip(clip_id, seed, -(-frames // 4) * 4)
    images = decode_frames(source_clip, range(frames))
    return dataclasses.replace(
        source_clip,
        frames=tuple(
            encode_frame(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
            for image in images
        ),
        audio=source_clip.audio[
            : int(frames * Fraction(source_clip.audio_rate) / source_clip.frame_rate)
        ],
        landmarks=source_clip.landmarks[:frames],
    )


def write_dataset(root) -> None:
    """Writes a data set of 6 training and 3 validation clips of 9 to 14 frames."""
    clips = {
        split: [aligned_clip(f"{split}/{i}", seed + i, 9 + i) for i in range(n)]
        for split, n, seed in (("train", 6, 0), ("validation", 3, 100))
    }
    builder.write_clips(clips, root, "toy", NAME, shards=1)
