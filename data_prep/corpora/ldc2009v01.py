"""LDC2009V01, Audiovisual Database of Spoken American English (Richie, Warburton, Carter 2009).

Its layout is behind a fee; what is known of it is inferred from the published code of its users.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora.base import CorpusBuilder, NamedSplit, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    by_speaker,
    collect,
    require_exists,
    walk,
)

log = logging.getLogger(__name__)

TEST_SPEAKERS = frozenset({"F02", "M01"})  # Chen et al. 2018, published code
_SPEAKER = re.compile(r"(?<![A-Za-z0-9])[FM]\d\d(?!\d)")
_WANTED = "*.mov files named after their speakers, e.g. video/F02/F02_CID_Sentences_List_A.mov"


class Builder(CorpusBuilder):
    """LDC2009V01: read American English of 14 speakers."""

    name = "ldc2009v01"
    DESCRIPTION = (
        "LDC2009V01: 14 speakers of the North Midland dialect read words and sentences, 7 hours. "
        "One file is a whole list and is cut into clips; there are no transcripts."
    )
    HOMEPAGE = "https://catalog.ldc.upenn.edu/LDC2009V01"
    LICENSE = "Agreement of the Linguistic Data Consortium; membership or fee."
    CITATION = """@misc{richie2009audiovisual,
  author = {Richie, Carolyn and Warburton, Sarah and Carter, Megan},
  title = {Audiovisual Database of Spoken American English},
  howpublished = {Linguistic Data Consortium, LDC2009V01}, year = {2009},
  note = {ISBN 1-58563-496-4}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """Order LDC2009V01 at
https://catalog.ldc.upenn.edu/LDC2009V01 (member or fee) and unpack it into one folder. Its layout
is inferred from the published code of its users: QuickTime files, the speaker first in their names,
  video/F02/F02_CID_Sentences_List_A.mov ...
Any *.mov below the folder whose name, or whose folder's name, has a speaker (F01, M02) is used."""
    SPLITS = {  # noqa: RUF012
        "chen2018": NamedSplit(
            by_speaker(lambda speaker: "test" if speaker in TEST_SPEAKERS else "train"),
            "Tests on F02 and M01 (Chen et al. 2018, published code).",
        )
    }
    BUILDER_CONFIGS = configs(SPLITS)


def find(sources: Iterable[Path]) -> list[Video]:
    """Returns the `.mov` files that name a speaker.

    Raises:
        FileNotFoundError: a source does not exist, or holds no such file.
    """
    sources = [Path(source) for source in sources]
    instructions = Builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    videos: dict[str, Video] = {}
    for source in sources:
        require_exists(source)
        for path in walk(source) if source.is_dir() else [source]:
            if path.suffix.lower() != ".mov":
                continue
            match = _SPEAKER.search(path.stem.replace("_", " ")) or _SPEAKER.fullmatch(
                path.parent.name
            )
            if match:
                name = f"{match[0]}/{path.stem}"
                videos.setdefault(name, Video(path, name, match[0]))
    result = [videos[name] for name in sorted(videos)]
    result = collect(result, "LDC2009V01", sources, _WANTED, instructions)
    log.warning("the layout of LDC2009V01 is inferred: compare the report's speakers with its own")
    return result


def words(video: Video) -> tuple[Word, ...]:
    """None: the word lists are known, their times are not."""
    del video
    return ()
