"""Checks of uploaded files before a job is queued; at most one frame is decoded."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2

from lipsync_jax.media import containers, image_files, packets, video_reader

MAX_SIDE = 8192  # pixels
MAX_SECONDS = 4 * 3600
_FREE_FACTOR = 3  # times the inputs' bytes that must be free on the disk
_THUMBNAIL_SIDE = 240  # pixels


class MediaFile(NamedTuple):
    """What a file's header says.

    Attributes:
        width: pixels, as displayed; 0 without video.
        height: pixels, as displayed; 0 without video.
        seconds: duration, 0 for an image, or for audio of unknown duration.
        frame_rate: frames a second; 0 without video.
        has_audio: whether there is an audio stream.
    """

    width: int
    height: int
    seconds: float
    frame_rate: float
    has_audio: bool

    @property
    def has_video(self) -> bool:
        """Whether the file is a video or an image."""
        return self.width > 0

    def describe(self) -> str:
        """Formats the header in words."""
        size = f"{self.width} x {self.height} pixels" if self.has_video else "audio"
        if not self.seconds:
            return size
        rate = f", {self.frame_rate:.6g} frames a second" if self.has_video else ""
        return f"{size}, {self.seconds:.1f} s{rate}"


def inspect(path: Path, name: str = "") -> MediaFile:
    """Reads the header of an audio, video or image file, and the first frame of a video.

    Args:
        path: the file.
        name: by which the user knows the file, for errors.

    Raises:
        FileNotFoundError, ValueError: the file can't be read, is too large or too long.
    """
    name = name or path.name
    with renamed_errors(path, name):
        found = _inspect(path)
    if max(found.width, found.height) > MAX_SIDE:
        raise ValueError(
            f"{name} has {found.width} x {found.height} pixels; give one of at most {MAX_SIDE} "
            "on a side"
        )
    if found.seconds > MAX_SECONDS:
        raise ValueError(
            f"{name} lasts {found.seconds / 3600:.1f} hours; give at most {MAX_SECONDS // 3600}"
        )
    return found


def _inspect(path: Path) -> MediaFile:
    image = image_files.probe(path)
    if image is not None:
        seconds = float(image.duration) if len(image.times) > 1 else 0.0
        rate = len(image.times) / seconds if seconds else 0.0
        return MediaFile(image.width, image.height, seconds, rate, False)
    with containers.open_container(path) as container:
        video, audio = containers.video_stream(container), containers.main_audio(container)
        if video is None and audio is None:
            raise ValueError(f"{path} has neither audio nor video; name a media file")
        known = container.duration
        seconds = 0.0 if known is None else known / 1_000_000
        if video is None:
            return MediaFile(0, 0, seconds, 0.0, True)
        containers.require_whole_photo(video, path)
        single = audio is None and (video.frames == 1 or container.format.name.endswith("_pipe"))
        rate = float(containers.frame_rate(container, video))
        if known is None and not single:  # browsers record so; the header's rate is a guess, too
            times = packets.frame_times(path)
            if times and times[-1]:
                rate = float((len(times) - 1) / times[-1])
                seconds = len(times) / rate
        size = video.codec_context.width, video.codec_context.height
        if max(size) <= MAX_SIDE:  # larger ones are refused undecoded
            frame, _ = packets.first_frame(container, video, path)
            size = size[::-1] if frame.rotation % 180 else size  # of a phone held upright
        return MediaFile(*size, 0.0 if single else seconds, rate, audio is not None)


def require_face(path: Path, name: str = "", role: str = "face") -> MediaFile:
    """Inspects the file of a face; see `inspect`.

    Args:
        path: the file.
        name: by which the user knows the file.
        role: named in errors before the name.

    Raises:
        FileNotFoundError, ValueError: see `inspect`; or the file is audio only.
    """
    told = f"`{role}` {name or path.name}"
    found = inspect(path, told)
    if not found.has_video:
        raise ValueError(f"{told} has no picture; give a video or an image of a face")
    return found


def require_audio(path: Path, name: str = "", role: str = "audio") -> MediaFile:
    """Inspects the file of speech; see `require_face`."""
    told = f"`{role}` {name or path.name}"
    return _with_audio(inspect(path, told), told, "give a recording of speech")


def require_talking_face(path: Path, name: str = "") -> MediaFile:
    """Inspects a video with sound, `video` in errors; see `require_face`."""
    found, told = require_face(path, name, "video"), f"`video` {name or path.name}"
    if not found.seconds:
        raise ValueError(f"{told} is an image; give a video with sound")
    return _with_audio(found, told, "give a video with sound")


def _with_audio(found: MediaFile, told: str, action: str) -> MediaFile:
    if not found.has_audio:
        raise ValueError(f"{told} has no sound; {action}")
    return found


def require_space(folder: Path, size: int) -> None:
    """Raises ValueError if the disk of a folder lacks space for a job with inputs of `size` bytes.

    Args:
        folder: where the job's files go.
        size: bytes.
    """
    free = shutil.disk_usage(folder).free
    if free < _FREE_FACTOR * size:
        raise ValueError(
            f"the disk has {free / 1e6:,.0f} MB free, and this job may need "
            f"{_FREE_FACTOR * size / 1e6:,.0f} MB; delete old jobs, or start `lipsync web` with "
            "--work on another disk"
        )


def write_thumbnail(path: Path, outfile: Path) -> None:
    """Writes the first frame of a video or an image in small, as JPEG."""
    with contextlib.closing(video_reader.read_frames(path)) as frames:
        image = next(frames).image
    scale = min(1.0, _THUMBNAIL_SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    video_reader.write_image(outfile, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


@contextlib.contextmanager
def renamed_errors(path: Path, name: str) -> Iterator[None]:
    """Names a file in errors as the user does, not by its path on the server."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(str(error).replace(str(path), name)) from error
