"""The TFDS builder that all corpora share: raw folder -> clips -> shards."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.data_prep.builder import TalkingFace, TalkingFaceConfig
from lipsync_jax.data_prep.corpora.layout import LayoutError, Video

OFFICIAL = "official"


@dataclasses.dataclass(frozen=True)
class NamedSplit:
    """A published split.

    Attributes:
        assign: videos -> split of each video id; videos that are not in it are not used.
        description: whose split, and its test speakers.
    """

    assign: Callable[[Sequence[Video]], Mapping[str, str]]
    description: str


class CorpusBuilder(TalkingFace, skip_registration=True):
    """Base of the corpora: subclasses have a name, a source and published splits.

    `tfds.builder(name, data_dir=OUT).download_and_prepare(...)` with the raw corpus as `manual_dir`
    writes what `lipsync prepare --corpus NAME --input manual_dir --out OUT` writes.
    """

    SPLITS: ClassVar[Mapping[str, NamedSplit]] = {}

    def __init__(
        self, *, workers: int = 0, settings: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Makes the builder.

        Args:
            workers: processes that extract clips; 0 uses only this one.
            settings: fields of `ExtractionSettings` other than the crop.
            options: of the TFDS builder: `data_dir`, `config`, `version`.
        """
        self._workers, self._settings = workers, dict(settings or {})
        self._prepared: Mapping[str, Callable[[], Iterator[Clip]]] | None = None
        super().__init__(**options)

    def use(self, clips: Mapping[str, Callable[[], Iterator[Clip]]], num_bytes: int) -> None:
        """Sets the clips to write, split -> function that yields them, and the raw videos' size."""
        self._prepared = clips
        # TFDS calls a size of zero unknown; what was fetched is the raw corpus.
        self.info.download_size = num_bytes

    def clips(self) -> dict[str, Iterator[Clip]]:
        """Split -> clips, extracted before."""
        return {split: make() for split, make in (self._prepared or {}).items()}

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        if self._prepared is None:
            from lipsync_jax.data_prep import prepare  # imports the corpora

            source = self._raw_corpus(dl_manager)
            prepare.extract_for(self, source, self._workers, self._settings)
        return super()._split_generators(dl_manager)

    def _raw_corpus(self, dl_manager: Any) -> Path:
        """Returns the folder of the raw corpus.

        Raises:
            LayoutError: the folder does not exist.
        """
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError:  # which does not say what is in the folder, as `find` does
            if self.raw_dir.is_dir():
                return self.raw_dir
            raise LayoutError(
                f"{self.raw_dir} does not exist; name the folder of the raw corpus as "
                f"DownloadConfig(manual_dir=...).\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            ) from None


def configs(splits: Mapping[str, NamedSplit]) -> tuple[TalkingFaceConfig, ...]:
    """Returns a config for each crop, and one for each crop and split that is not the default."""
    return tuple(
        TalkingFaceConfig(name=name, description=description)
        for crop in CROP_SPECS
        for name, description in [
            (crop, f"Crops {crop}, the default split."),
            *(
                (f"{crop}-{split}", f"Crops {crop}. {named.description}")
                for split, named in splits.items()
                if split != OFFICIAL
            ),
        ]
    )
