"""Writes the page of a paired preference study: one file, videos included, sides hidden."""

import base64
import html
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import paths
from lipsync_jax.evaluation import cropping, preference, samples
from lipsync_jax.evaluation.sync_models import FRAME_RATE
from lipsync_jax.media import audio, frame_source, video_reader
from lipsync_jax.provenance import metadata
from lipsync_jax.types import Json

QUESTION = "In which video do the face and the mouth look more natural?"
_TEMPLATE = Path(__file__).parent / "preference.html"
_MAX_HEIGHT = 360  # pixels
_RATE = 48_000  # of the audio
_CRF = 20

OnClip = Callable[[int, int, str], None]  # pairs finished, of how many, name of the next one


def write(
    folder: str | os.PathLike,
    methods: Mapping[str, Path],
    *,
    question: str = QUESTION,
    limit: int = 0,
    on_clip: OnClip = lambda *_: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes `preference.html` and `key.json`.

    Both videos of a pair are encoded alike, at 25 frames a second and of equal length, and have
    random names in the page, so that neither the picture's format nor the page tells the method.

    Args:
        folder: output folder.
        methods: two names -> folders of videos; the videos of equal names are a pair.
        question: that the page asks.
        limit: pairs at most; 0 takes all.
        on_clip: called before each pair.

    Returns:
        Number of pairs; and (clip, reason) of those that failed.

    Raises:
        FileNotFoundError, ValueError: see `samples.list_videos`; or no pair can be made.
    """
    (first, first_videos), (second, second_videos) = (
        (name, samples.list_videos(path)) for name, path in methods.items()
    )
    clips = [clip for clip in first_videos if clip in second_videos]
    if not clips:
        raise ValueError(
            f"no video of {methods[first]} has the name of one in {methods[second]}, such as "
            f"{next(iter(second_videos))}; give the videos equal names"
        )
    clips = clips[:limit] if limit else clips
    pairs: list[dict[str, Json]] = []
    shown: list[list[dict[str, str]]] = []
    failed = []
    for number, clip in enumerate(clips):
        on_clip(number, len(clips), clip)
        try:
            encoded = _encode_pair(first_videos[clip], second_videos[clip])
        except (ValueError, OSError) as error:
            failed.append((clip, str(error)))
            continue
        names = [secrets.token_hex(8) for _ in encoded]
        pairs.append({"clip": clip, "videos": dict(zip(names, (first, second), strict=True))})
        entries = [
            {"name": name, "data": base64.b64encode(data).decode()}
            for name, data in zip(names, encoded, strict=True)
        ]
        shown.append(sorted(entries, key=lambda entry: entry["name"]))  # names are random
    if not pairs:
        clip, reason = failed[0]
        raise ValueError(f"no pair of videos can be shown, e.g. {clip}: {reason}")
    study = secrets.token_hex(8)
    Path(folder).mkdir(parents=True, exist_ok=True)
    preference.write_key(folder, {"study": study, "methods": [first, second], "pairs": pairs})
    page = _TEMPLATE.read_text(encoding="utf-8")
    # `</` would end the script element.
    data = json.dumps({"study": study, "pairs": shown}).replace("</", "<\\/")
    page = page.replace("{{QUESTION}}", html.escape(question)).replace("{{STUDY}}", data)
    paths.write_text(Path(folder, preference.PAGE), page, errors="backslashreplace")
    return len(pairs), failed


def _encode_pair(*paths: Path) -> list[bytes]:
    """Returns both videos as MP4, of equal length and height."""
    videos = [_Video(path) for path in paths]
    count = min(video.count for video in videos)
    height = min(_MAX_HEIGHT, *(video.source.size[1] for video in videos)) // 2 * 2
    return [video.encode(count, height) for video in videos]


class _Video:
    """A video at 25 frames a second.

    Raises:
        FileNotFoundError, ValueError: the video can't be read, or has no frames or no audio.
    """

    def __init__(self, path: Path) -> None:
        self.samples, _ = audio.load_from_video_start(path, _RATE)
        self.source = frame_source.open_frame_source(path)
        self.times = [frame.time for frame in self.source.frames(planes=True)]
        if not self.times:
            raise ValueError(f"{path} has no frames; give another video")
        times = frame_source.snap_times(self.times, self.source.frame_rate)
        self.indices = cropping.frame_indices_at_rate([time - times[0] for time in times])
        self.count = len(self.indices)

    def encode(self, count: int, height: int) -> bytes:
        width, full = self.source.size
        size = max(2, 2 * round(width * height / full / 2)), height
        with tempfile.TemporaryDirectory(prefix="lipsync_") as scratch:
            path, speech = Path(scratch) / "video.mp4", Path(scratch) / "audio.wav"
            part = self.samples[: round(count * _RATE / FRAME_RATE)]
            audio.save(speech, part if len(part) else np.zeros(_RATE, np.float32), _RATE)
            with video_reader.VideoWriter(
                path,
                Fraction(FRAME_RATE),
                size,
                crf=_CRF,
                preset="veryfast",
                audio=speech,
                shortest=True,
                metadata=metadata.tags("preference study"),
            ) as writer:
                for image in cropping.read_frames(self.source, self.times, self.indices[:count]):
                    writer.write(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            return path.read_bytes()
