"""Several prepared data sets as one stream of training clips, sampled by weight.

`config.data.dirs = "data/grid=0.5,data/rendered=0.5"` names the data sets; validation
and test clips are those of `config.data.dir`.
"""

import dataclasses
import math
from collections.abc import Sequence

import grain

from lipsync_jax.data import loader, pipeline
from lipsync_jax.types import Entry


@dataclasses.dataclass(frozen=True)
class Part:
    """One data set of a mixture.

    Attributes:
        dir: the folder that `lipsync prepare` wrote, or any folder above it.
        weight: relative frequency of its clips, positive.
    """

    dir: str
    weight: float


def parse(text: str) -> tuple[Part, ...]:
    """Parses `config.data.dirs`.

    Args:
        text: `DIR=WEIGHT,DIR=WEIGHT`; the weight may be omitted and is 1 then.

    Returns:
        The parts in the order given; empty for an empty text.

    Raises:
        ValueError: a part has no folder, its weight is not a positive number, or a folder is
            named twice.
    """
    parts: list[Part] = []
    for item in filter(None, (piece.strip() for piece in text.split(","))):
        folder, equals, number = item.rpartition("=")
        if not equals:
            folder, number = item, "1"
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not folder or not 0 < weight < math.inf:
            raise ValueError(
                f"config.data.dirs has {item!r}: expected DIR=WEIGHT with a positive weight, "
                "e.g. data/grid=0.6,data/rendered=0.4"
            )
        if folder in [part.dir for part in parts]:
            raise ValueError(f"config.data.dirs names {folder} twice; give it one weight")
        parts.append(Part(folder, weight))
    return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Training clips of several data sets; a `pipeline.OrderedDataSource`.

    Attributes:
        sources: random access to the clips of each data set.
        weights: relative frequency of each.
    """

    sources: tuple[loader.DataSource, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __getitem__(self, index: int, /) -> Entry:
        for source in self.sources:
            if index < len(source):
                return source[index]
            index -= len(source)
        raise IndexError("the mixture has fewer clips")

    def dataset(self, seed: int, epochs: int) -> grain.MapDataset:
        """Returns shuffled clips, each data set by its weight.

        The order depends on the arguments only, so an iterator's state holds its position. Each
        data set is shuffled and repeated by itself, so a small one repeats more often.

        Args:
            seed: of the order.
            epochs: repetitions of each data set.
        """
        sources = [
            pipeline.shuffled(source, seed + 7919 * number, epochs)
            for number, source in enumerate(self.sources)
        ]
        return grain.MapDataset.mix(sources, self.weights)


def load(parts: Sequence[Part], crop: str) -> Mixture:
    """Returns the training splits of several prepared data sets.

    Args:
        parts: what `parse` returns.
        crop: name of the crop, which each data set must have.

    Raises:
        FileNotFoundError: a folder is missing or holds no data set with that crop.
        ValueError: a data set has other crops, or no training clips.
    """
    sources = []
    for part in parts:
        clips = loader.ClipDataSource(loader.find_dataset(part.dir, crop), "train")
        loader.check_crop(clips, crop)
        sources.append(clips)
    return Mixture(tuple(sources), tuple(part.weight for part in parts))
