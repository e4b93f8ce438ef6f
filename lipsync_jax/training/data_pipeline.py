"""Batches of a config's data set: the part of this host."""

import functools
import math
from collections.abc import Iterator

import jax
import ml_collections
from absl import logging

from lipsync_jax.data import loader, mixture, pipeline
from lipsync_jax.data.batch_iterator import BatchIterator
from lipsync_jax.data.loader import DataSource
from lipsync_jax.methods.base import Method
from lipsync_jax.text import naming_options
from lipsync_jax.training import sharding


class DataPipeline:
    """Makes this host's batches of the config's data set.

    Args:
        config: the experiment.
        method: makes examples from clips.
        mesh: the devices a batch is split over.

    Raises:
        FileNotFoundError, ValueError: there is no such data set, or its crops or the batch sizes
            don't fit.
    """

    def __init__(
        self, config: ml_collections.ConfigDict, method: Method, mesh: jax.sharding.Mesh
    ) -> None:
        self._config, self._method = config.data, method
        self._seed = config.seed
        self._process_kwargs = {
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
        }
        self._collate = functools.partial(method.collate, process_count=jax.process_count())
        self._batch_size = sharding.local_batch_size(config.data.batch_size, mesh)
        self._validation_batch_size = sharding.local_batch_size(
            config.data.validation_batch_size, mesh, "config.data.validation_batch_size"
        )
        self._clips: dict[str, loader.DataSource] = {}
        source = method.data_source("train")
        if source is None:
            with naming_options({"config.data.dir": config.data.dir}):
                self._folder = loader.find_dataset(config.data.dir, config.data.crop)
            parts = mixture.parse(config.data.dirs)
            if parts:
                self._clips["train"] = mixture.load(parts, config.data.crop)
            else:
                clips = loader.ClipDataSource(self._folder, "train")
                loader.check_crop(clips, config.data.crop)
                self._clips["train"] = clips
            folders = ", ".join(part.dir for part in parts) or self._folder
            logging.info("%d training clips in %s", len(self._clips["train"]), folders)
        else:
            self._clips["train"] = source

    def training_batches(self) -> BatchIterator:
        """Returns endless batches; every call starts with the same one."""
        return pipeline.training_batches(
            self._clips["train"],
            self._method.make_example,
            self._batch_size,
            seed=self._seed,
            collate=self._collate,
            num_threads=self._config.num_threads,
            num_workers=self._config.get("num_workers", 0),
            **self._process_kwargs,
        )

    def validation_batches(
        self, split: str = "validation", limit: int | None = None
    ) -> Iterator[dict]:
        """Returns one pass over a split; `limit` clips at most, 0 for all."""
        return pipeline.validation_batches(
            self._split(split),
            self._method.make_validation_example,
            self._validation_batch_size,
            limit=self._config.validation_clips if limit is None else limit,
            collate=self._collate,
            **self._process_kwargs,
        )

    def count_batches(self, split: str) -> int:
        """Returns the number of `validation_batches` of all clips of a split."""
        batch_size = self._validation_batch_size * self._process_kwargs["process_count"]
        return math.ceil(len(self._split(split)) / batch_size)

    def _split(self, name: str) -> DataSource:
        """Returns the clips of a split, which are opened once."""
        if name not in self._clips:
            source = self._method.data_source(name)
            self._clips[name] = (
                loader.ClipDataSource(self._folder, name) if source is None else source
            )
        return self._clips[name]
