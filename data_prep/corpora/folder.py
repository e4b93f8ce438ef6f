"""Any folder of talking videos; the sub-folders of a source are the speakers."""

from collections.abc import Iterable
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora.base import CorpusBuilder, configs
from lipsync_jax.data_prep.corpora.layout import (
    Video,
    video_files,
    with_unique_ids,
)

TEST_SPEAKERS: frozenset[str] = frozenset()


class Builder(CorpusBuilder):
    """Any folder of talking videos."""

    name = "folder"
    DESCRIPTION = "Pre-cropped talking faces of a folder of videos."
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put the videos into a folder, those of each speaker into a folder of its own: "
        "SPEAKER/talk.mp4. A video without audio needs a .wav of its name beside it."
    )
    BUILDER_CONFIGS = configs({})


def find(sources: Iterable[Path]) -> list[Video]:
    """Lists the videos below some folders.

    Args:
        sources: videos or folders. The first folder below a source names the speaker; a video
            directly in the source is a speaker of its own.

    Raises:
        FileNotFoundError: a source does not exist, or the sources contain no video.
    """
    sources, videos = list(sources), []
    for path, root in video_files(sources):
        inside = path.relative_to(root).with_suffix("")
        videos.append(Video(path, inside.as_posix(), inside.parts[0]))
    return with_unique_ids(videos)


def words(video: Video) -> tuple[Word, ...]:
    """Returns no words: a folder has no transcripts."""
    del video
    return ()
