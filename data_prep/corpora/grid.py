"""The GRID corpus (Cooke et al. 2006): 34 speakers, 1000 six-word sentences of 3 s each."""

import re
from collections.abc import Iterable
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data.grid_alignments import read_alignment
from lipsync_jax.data_prep.corpora import Video, files, unique

# Whom Vougioukas et al. (2018, 2020) tested on; about half of the 33 were trained on.
TEST_SPEAKERS = frozenset(f"s{n}" for n in (2, 4, 11, 13, 15, 18, 19, 25, 31, 33))


def find(sources: Iterable[Path]) -> list[Video]:
    """The videos below some folders.

    Args:
        sources: videos or folders; the nearest folder named like `s12` is the speaker, or else
            the folder that holds the video.

    Raises:
        FileNotFoundError: a source does not exist, or they hold no video.
    """
    videos = []
    for path, _ in files(sources):
        folders = [parent.name for parent in path.resolve().parents if parent.name]
        named = (name for name in folders if re.fullmatch(r"s\d+", name))
        speaker = next(named, folders[0] if folders else "unknown")
        videos.append(Video(path, f"{speaker}/{path.stem}", speaker))
    return unique(videos)


def words(video: Video) -> tuple[Word, ...]:
    """The words of a video's alignment file, without silences; none where there is no such file.

    It is looked for beside the video, in `align/` or `align/<speaker>/` beside it, and in those
    of the folders above.

    Raises:
        ValueError: a line is not `start end word`.
    """
    name = f"{video.path.stem}.align"
    for folder in [video.path.parent, *list(video.path.parents)[1:3]]:
        for inner in ("", "align", f"align/{video.speaker}", f"alignments/{video.speaker}"):
            if (file := folder / inner / name).is_file():
                return read_alignment(file)
    return ()
