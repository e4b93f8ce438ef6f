"""TFDS builders of talking-face clips; ArrayRecord shards are written without TensorFlow."""

import abc
import contextlib
import dataclasses
import io
import logging
import tempfile
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from lipsync_jax.data.clip import CROP_SPECS, Clip, to_record


@dataclasses.dataclass(kw_only=True)
class TalkingFaceConfig(tfds.core.BuilderConfig):
    """A builder config named by its crop, a key of `clip.CROP_SPECS`."""

    def __post_init__(self):
        if self.name.partition("-")[0] not in CROP_SPECS:
            raise ValueError(f"unknown crop {self.name!r}; choose one of {sorted(CROP_SPECS)}")


class TalkingFace(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of every corpus: subclasses list the clips, this class defines how they are stored.

    Shards are ArrayRecord files, read by random access and without TensorFlow.
    """

    VERSION = tfds.core.Version("1.0.0")

    @abc.abstractmethod
    def clips(self) -> dict[str, Iterator[Clip]]:
        """Returns split name -> its clips, in a fixed order; clip ids are unique."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "clip_id": tfds.features.Text(),
                    "speaker": tfds.features.Text(),
                    "frames": tfds.features.Sequence(tfds.features.Text()),
                    "frame_rate": tfds.features.Tensor(shape=(2,), dtype=np.int64),
                    "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes"),
                    "audio_rate": tfds.features.Scalar(np.int32),
                    "landmarks": tfds.features.Tensor(shape=(None, 5, 2), dtype=np.float32),
                    "sync_offset": tfds.features.Scalar(np.float32),
                    "sync_confidence": tfds.features.Scalar(np.float32),
                    "words": tfds.features.Sequence(
                        {
                            "text": tfds.features.Text(),
                            "start": np.float32,
                            "end": np.float32,
                        }
                    ),
                }
            ),
            description="Pre-cropped talking faces with their speech.",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is ever downloaded
        return {
            split: ((clip.clip_id, to_record(clip)) for clip in clips)
            for split, clips in self.clips().items()
        }

    def _generate_examples(self, **_):
        raise NotImplementedError("splits are given as generators")


def write_shards(builder: TalkingFace, shards: int | None = None) -> str:
    """Writes a builder's shards and returns the folder they are in.

    Args:
        builder: constructed with `data_dir=...` and `file_format="array_record"`.
        shards: files a split; TFDS chooses when None.
    """
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as downloads, _quiet():
        builder.download_and_prepare(
            download_dir=downloads,  # stays empty: nothing is ever downloaded
            download_config=tfds.download.DownloadConfig(num_shards=shards),
        )
    return str(builder.data_path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses TFDS' output about downloads and sizes that do not exist."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
