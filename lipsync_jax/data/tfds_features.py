"""The TFDS features of a clip, as `features.json` declares them to every TFDS reader."""

from typing import TYPE_CHECKING

import numpy as np

from lipsync_jax.data.clip import CropSpec
from lipsync_jax.data.clip_record import ARRAYS, AUDIO_FEATURES

if TYPE_CHECKING:  # half a second; inference never needs it
    import tensorflow_datasets as tfds


def clip_features(crop_spec: CropSpec) -> "tfds.features.FeaturesDict":
    """Returns the features that `features.json` declares.

    Frames are declared as JPEG images, so that any TFDS reader decodes them, to uint8 RGB
    (height, width, 3). They are written as the JPEG bytes they are.
    """
    from tensorflow_datasets import features

    aligned = {"text": features.Text(), "start": np.float32, "end": np.float32}
    image_shape = crop_spec.height, crop_spec.width, 3
    return features.FeaturesDict(
        {
            "clip_id": features.Text(),
            "speaker": features.Text(),
            "frames": features.Sequence(features.Image(shape=image_shape, encoding_format="jpeg")),
            "frame_rate": features.Tensor(shape=(2,), dtype=np.int64),
            "audio": features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
            "audio_rate": features.Scalar(np.int32),
            "landmarks": features.Tensor(shape=(None, 5, 2), dtype=np.float32),
            "sync_offset": features.Scalar(np.float32),
            "sync_confidence": features.Scalar(np.float32),
            "words": features.Sequence(aligned),
            "transcript": features.Text(),
            "phones": features.Sequence(aligned),
            **{
                name: features.Tensor(shape=(None, *shape), dtype=dtype, encoding="bytes")
                for name, (dtype, shape) in ARRAYS.items()
                if name in AUDIO_FEATURES
            },
        }
    )
