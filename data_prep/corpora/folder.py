"""Any folder of talking videos; a sub-folder of the source is taken for a speaker."""

from collections.abc import Iterable
from pathlib import Path

from lipsync_jax.data.clip import Word
from lipsync_jax.data_prep.corpora import Video, files, unique

TEST_SPEAKERS: frozenset[str] = frozenset()


def find(sources: Iterable[Path]) -> list[Video]:
    """The videos below some folders.

    Args:
        sources: videos or folders. The first folder below a source names the speaker; of a video
            that lies directly in it, the speaker is the video's own name.

    Raises:
        FileNotFoundError: a source does not exist, or they hold no video.
    """
    videos = []
    for path, root in files(sources):
        inside = path.relative_to(root).with_suffix("")
        videos.append(Video(path, inside.as_posix(), inside.parts[0]))
    return unique(videos)


def words(video: Video) -> tuple[Word, ...]:
    """None: a folder has no transcripts."""
    del video
    return ()
