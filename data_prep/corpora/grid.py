"""The GRID corpus (Cooke et al. 2006): 34 speakers, 1000 six-word sentences of 3 s each."""

import re
from collections.abc import Iterable
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data.grid_alignments import read_alignment
from lipsync_jax.data_prep.corpora import Video, video_files, with_unique_ids

# The test speakers of Vougioukas et al. (2018, 2020), who trained on about half of the 33.
TEST_SPEAKERS = frozenset(f"s{n}" for n in (2, 4, 11, 13, 15, 18, 19, 25, 31, 33))


def find(sources: Iterable[Path]) -> list[Video]:
    """Lists the videos below some folders.

    Args:
        sources: videos or folders; the nearest folder named like `s12` is the speaker, or else
            the folder that holds the video.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
    """
    videos = []
    for path, _ in video_files(sources):
        folders = [parent.name for parent in path.resolve().parents if parent.name]
        speaker_folders = (name for name in folders if re.fullmatch(r"s\d+", name))
        speaker = next(speaker_folders, folders[0] if folders else "unknown")
        videos.append(Video(path, f"{speaker}/{path.stem}", speaker))
    return with_unique_ids(videos)


def words(video: Video) -> tuple[Word, ...]:
    """Reads the words of a video's alignment file, without silences; empty without a file.

    The file is searched beside the video, in `align/` and `align/<speaker>/` beside the video, and
    in these folders of the two folders above.

    Raises:
        ValueError: a line is not `start end word`.
    """
    name = f"{video.path.stem}.align"
    for folder in [video.path.parent, *list(video.path.parents)[1:3]]:
        for inner in ("", "align", f"align/{video.speaker}", f"alignments/{video.speaker}"):
            if (file := folder / inner / name).is_file():
                return read_alignment(file)
    return ()
