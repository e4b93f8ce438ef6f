"""TFDS builders of talking-face clips; ArrayRecord shards are written without TensorFlow."""

import abc
import contextlib
import dataclasses
import errno
import functools
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import file_adapters, shuffle
from tensorflow_datasets.proto import tf_example_pb2

from lipsync_jax.data import clip_index, shard_file
from lipsync_jax.data.clip import CROP_SPECS, Clip, to_record
from lipsync_jax.data.feature_cache import compute_features
from lipsync_jax.data.tfds_features import clip_features
from lipsync_jax.data_prep.bucket_file import BucketFile
from lipsync_jax.progress import ProgressBar
from lipsync_jax.types import Untyped

log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class TalkingFaceConfig(tfds.core.BuilderConfig):
    """A builder config named by its crop, a key of `CROP_SPECS`.

    The crop may be followed by `-` and the name of a split: `face96-unseen`.
    """

    def __post_init__(self) -> None:
        if self.crop not in CROP_SPECS:
            raise ValueError(f"unknown crop {self.name!r}; choose one of {sorted(CROP_SPECS)}")

    @property
    def crop(self) -> str:
        """The key of `CROP_SPECS`."""
        return self.name.partition("-")[0]

    @property
    def split_name(self) -> str:
        """The name of the split, or an empty text for the default one."""
        return self.name.partition("-")[2]


class _Info(tfds.core.DatasetInfo):
    """Keeps the size of the raw corpus: TFDS writes the size of its downloads, which is zero."""

    @property
    def download_size(self) -> Any:
        """Bytes of the raw corpus."""
        return super().download_size

    @download_size.setter
    def download_size(self, size: int) -> None:
        if size:
            self.as_proto.download_size = size


class TalkingFace(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]  # TFDS has no annotations
):
    """Base of every corpus: subclasses list the clips, this class defines how they are stored.

    Shards are ArrayRecord files, read by random access and without TensorFlow.

    Attributes:
        raw_dir: folder of the raw corpus, as `download_and_prepare` was told.
    """

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar[Mapping[str, str]] = {
        "1.0.0": "First version.",
        "1.1.0": "Frames are declared as images; transcript and phones are added.",
        "1.2.0": "Audio features are added; shards are uncompressed and have an index.",
    }
    DESCRIPTION = "Pre-cropped talking faces with their speech."
    HOMEPAGE = CITATION = LICENSE = ""

    def __init_subclass__(cls, *, skip_registration: bool = False, **options: Any) -> None:
        """Registers a corpus with TFDS, by its name, unless told not to."""
        super().__init_subclass__(skip_registration=skip_registration, **options)

    def __init__(self, *, file_format: str = "array_record", **options: Any) -> None:
        self.raw_dir = Path()
        self._taken = self._stored = 0  # clips that TFDS has taken, and that are in shards
        super().__init__(file_format=file_format or "array_record", **options)

    @abc.abstractmethod
    def clips(self) -> dict[str, Iterator[Clip]]:
        """Returns split name -> its clips, in a fixed order; clip ids are unique."""

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            features=clip_features(CROP_SPECS[self.builder_config.crop]),
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
            license=self.LICENSE or None,
        )

    def download_and_prepare(
        self,
        *,
        download_dir: str | os.PathLike | None = None,
        download_config: tfds.download.DownloadConfig | None = None,
        **options: Any,
    ) -> None:
        """Writes the shards, like the method of TFDS, without a folder of downloads.

        Args:
            download_dir: where `manual/` is looked for; nothing is written there.
            download_config: its `manual_dir` is the folder of the raw corpus.
            options: of the method of TFDS.
        """
        config = download_config or tfds.download.DownloadConfig()
        usual_dir = Path(download_dir or Path(self._data_dir_root, "downloads")) / "manual"
        self.raw_dir = Path(config.manual_dir or usual_dir)
        config = config.replace(manual_dir=self.raw_dir, try_download_gcs=False)
        tfds.disable_progress_bar()
        self._taken = self._stored = 0
        with (
            tempfile.TemporaryDirectory() as downloads,
            _quiet(),
            ProgressBar("clips sorted into shards", log=log) as bar,
            _own_writers(functools.partial(self._counted, bar)),
        ):
            # Nothing is ever downloaded: TFDS' own folder stays empty.
            super().download_and_prepare(download_dir=downloads, download_config=config, **options)
        self._write_index()

    def _write_index(self) -> None:
        """Writes the index of each split that has none; without one, reading is slower only."""
        is_array_record = self.info.file_format is file_adapters.FileFormat.ARRAY_RECORD
        if not shard_file.IS_SUPPORTED or not is_array_record:
            return
        wanted = {}
        for split, info in self.info.splits.items():
            shards = [Path(path) for path in info.filepaths]
            if info.num_examples and not clip_index.is_current(self.data_path, split, shards):
                wanted[split] = shards
        count = sum(self.info.splits[split].num_examples for split in wanted)
        with ProgressBar("clips indexed", count, log) as bar:
            for split, shards in wanted.items():
                try:
                    clip_index.write(Path(self.data_path), split, shards, bar.each)
                except ValueError as error:
                    log.warning("%s gets no index: %s", self.data_path, error)

    def _split_generators(self, dl_manager: Untyped) -> dict[str, Iterator[tuple[str, Untyped]]]:
        del dl_manager  # nothing is ever downloaded
        return {split: self._records(clips) for split, clips in self.clips().items()}

    def _records(self, clips: Iterable[Clip]) -> Iterator[tuple[str, Untyped]]:
        for clip in clips:
            self._taken += 1
            yield clip.clip_id, to_record(clip, compute_features(clip))

    def _counted(self, bar: ProgressBar, records: Iterable) -> Iterator:
        """Yields the records of a shard; shows how many of the clips taken so far are stored."""
        for record in records:
            self._stored += 1
            bar(self._stored, total=self._taken)
            yield record

    def _generate_examples(self, **_: Untyped) -> NoReturn:
        raise NotImplementedError("splits are given as generators")


def write_shards(builder: TalkingFace, shards: int | None = None) -> str:
    """Writes a builder's shards and returns the folder they are in.

    Args:
        builder: made with `data_dir=...`.
        shards: files a split; TFDS chooses when None.
    """
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder.download_and_prepare(download_config=config)
    return str(builder.data_path)


def write_clips(
    clips: Mapping[str, Iterable[Clip]],
    data_dir: str | os.PathLike,
    dataset: str,
    crop: str = "face96",
    *,
    shards: int | None = None,
) -> Path:
    """Writes clips as a data set, unless it is there already.

    Args:
        clips: split -> its clips, whose IDs differ; taken once.
        data_dir: folder of data sets.
        dataset: name of this one, in lower case.
        crop: of the clips, a key of `CROP_SPECS`.
        shards: files a split; TFDS chooses when None.

    Returns:
        Its folder, `data_dir/DATASET/CROP/VERSION`.
    """

    class Clips(TalkingFace, skip_registration=True):
        name = dataset
        BUILDER_CONFIGS = (TalkingFaceConfig(name=crop),)

        def clips(self) -> dict[str, Iterator[Clip]]:
            return {split: iter(part) for split, part in clips.items()}

    return Path(write_shards(Clips(config=crop, data_dir=data_dir), shards))


class _UncompressedShards(file_adapters.ArrayRecordFileAdapter):
    """Writes records uncompressed: JPEGs do not get smaller, and frames stay addressable.

    The features of a record are a map, which protobuf writes in another order in every process;
    here they are sorted, so that equal clips give equal bytes.
    """

    @classmethod
    def write_examples(cls, path: Any, iterator: Iterable) -> None:
        with _as_os_errors(os.fspath(path)):
            options = "group_size:1,uncompressed"
            writer = array_record_module.ArrayRecordWriter(os.fspath(path), options)
            for _, serialized in cls.counted(iterator):
                example = tf_example_pb2.Example.FromString(serialized)
                writer.write(example.SerializeToString(deterministic=True))
            writer.close()


@contextlib.contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """Raises OSError where ArrayRecord raises RuntimeError because the disk is full."""
    try:
        yield
    except RuntimeError as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from error
        raise


@contextlib.contextmanager
def _own_writers(counted: Callable[[Iterable], Iterable]) -> Iterator[None]:
    """Lets TFDS write with `_UncompressedShards` and `BucketFile`; it has no option for that.

    Args:
        counted: yields the records that it is given.
    """
    shards = type("Shards", (_UncompressedShards,), {"counted": staticmethod(counted)})
    adapters, key = file_adapters.ADAPTER_FOR_FORMAT, file_adapters.FileFormat.ARRAY_RECORD
    # A TFDS without that private name still writes all but large splits.
    before = adapters[key], getattr(shuffle, "_Bucket", None)
    adapters[key], shuffle._Bucket = shards, BucketFile
    try:
        yield
    finally:
        adapters[key], shuffle._Bucket = before


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
