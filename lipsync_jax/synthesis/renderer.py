"""The second pass over a face video: its frames in the order of the output, faces redrawn."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces.trajectory import FacePath
from lipsync_jax.media import frame_source, prefetch, timeline
from lipsync_jax.media.frame_source import Source
from lipsync_jax.provenance import visible_label
from lipsync_jax.synthesis import blending, driving_audio
from lipsync_jax.synthesis.batching import Batcher, Pending
from lipsync_jax.synthesis.face_detection_pass import QUEUE
from lipsync_jax.synthesis.options import Options

Planned = tuple[int, Fraction]  # number of a frame of the face video, seconds at which it is shown


class Role(NamedTuple):
    """One face and what it says.

    Attributes:
        path: where the face is.
        voice: what it says.
        gate: at which seconds it speaks, see `speech.voice_gate`; None where that plays no part.
    """

    path: FacePath
    voice: driving_audio.Speech | driving_audio.Live
    gate: Callable[[Fraction], float] | None = None


def plan(
    shown: Source,
    times: Sequence[Fraction],
    length: Callable[[Fraction], Fraction],
    loop: str,
) -> Iterator[Planned]:
    """Which frame is shown when, until the voice ends.

    Args:
        shown: the face video.
        times: seconds at which its frames are shown.
        length: of the voice, see `timeline.schedule`.
        loop: see `timeline.passes`.
    """
    even = frame_source.even_times(times, shown.frame_rate)
    numbers, moments = timeline.fill_gaps(even, shown.frame_rate, shown.output_rate)
    for i, moment in timeline.schedule(moments, 1 / shown.output_rate, length, loop):
        yield numbers[i], moment


class Redrawing:
    """Redraws the faces of a video.

    Attributes:
        edited: frames that were redrawn so far.
    """

    def __init__(
        self,
        batcher: Batcher,
        shown: Source,
        roles: Sequence[Role],
        options: Options,
        label: visible_label.Label | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            batcher: what draws.
            shown: the face video.
            roles: its faces that speak, over the same frames.
            options: how.
            label: what is written on every frame.
        """
        self._batcher, self._shown, self._roles = batcher, shown, tuple(roles)
        self._options, self._label, self.edited = options, label, 0

    def originals(self, planned: Iterable[Planned]) -> Generator[np.ndarray, None, None]:
        """The same frames as `images` gives, as they are in the face video."""
        return (frame.image for frame in self._frames(planned))

    def images(
        self, planned: Iterable[Planned], ahead: bool = True
    ) -> Generator[np.ndarray, None, None]:
        """The output's frames in order, uint8 RGB (height, width, 3).

        Args:
            planned: what to show.
            ahead: read, draw and blend at the same time, each on a thread, before they are asked
                for; else no more of the plan is taken than the frames asked for need.
        """

        def stage(items: Generator, depth: int) -> Generator:
            return prefetch.prefetch(items, depth) if ahead else items

        frames = stage(self._frames(planned), QUEUE)
        return stage(self._blended(stage(self._drawn(frames), 1)), QUEUE)

    def _frames(self, planned: Iterable[Planned]) -> Generator["_Frame", None, None]:
        with contextlib.closing(
            frame_source.Player(self._shown, self._roles[0].path.times)
        ) as player:
            for number, moment in planned:
                yield _Frame(number, moment, player[number])

    def _drawn(self, frames: Generator["_Frame", None, None]) -> Generator["_Group", None, None]:
        """Groups of frames, with their faces that the device is still drawing."""
        with contextlib.closing(frames):
            while group := list(itertools.islice(frames, self._batcher.size)):
                cells = [
                    cell
                    for i, frame in enumerate(group)
                    for role in self._roles
                    if (cell := self._cell(i, frame, role)) is not None
                ]
                drawn = None
                if cells:
                    crops = np.stack([cell.crop for cell in cells])[..., ::-1]
                    drawn = self._batcher.start(self._sound(cells), crops)
                yield _Group([frame.image for frame in group], cells, drawn)

    def _cell(self, place: int, frame: "_Frame", role: Role) -> "_Cell | None":
        box = role.path.boxes[frame.number]
        weight = 1.0 if role.gate is None else role.gate(frame.moment)
        unheard = self._options.silence == "original" and not weight
        if not np.isfinite(box[0]) or unheard:
            return None
        crop = faces.crop(frame.image, box, self._batcher.editor.size)
        return _Cell(place, frame.number, frame.moment, role, weight, crop)

    def _sound(self, cells: Sequence["_Cell"]) -> np.ndarray:
        hears = self._batcher.editor.hears
        sound = np.empty((len(cells), hears.window, hears.bins), np.float32)
        for role in self._roles:
            mine = [i for i, cell in enumerate(cells) if cell.role is role]
            if not mine:
                continue
            moments = [cells[i].moment for i in mine]
            starts = hears.starts(moments, self._options.alignment)
            sound[mine] = role.voice.windows(starts)
        if self._options.silence == "close":
            weights = np.array([cell.weight for cell in cells], np.float32)[:, None, None]
            sound = hears.silence + (sound - hears.silence) * weights
        return sound.astype(np.float32)

    def _blended(
        self, groups: Generator["_Group", None, None]
    ) -> Generator[np.ndarray, None, None]:
        with contextlib.closing(groups):
            for images, cells, drawn in groups:
                redrawn = () if drawn is None else drawn.read()[..., ::-1]
                for cell, new in zip(cells, redrawn, strict=True):
                    images[cell.place] = self._paste(images[cell.place], cell, new)
                self.edited += len({cell.place for cell in cells})
                for image in images:
                    yield image if self._label is None else self._label(image)

    def _paste(self, image: np.ndarray, cell: "_Cell", new: np.ndarray) -> np.ndarray:
        path, face = cell.role.path, cell.crop
        if self._options.blend == "box":
            mask = blending.box_mask(len(face))
        else:
            mask = blending.mouth_mask(path.landmarks[cell.number], len(face))
        if self._options.match_colours:
            new = blending.match_colours(new, face, mask)
        if self._options.silence == "original":
            mask = mask * np.float32(cell.weight)
        return blending.blend(image, new, mask, path.boxes[cell.number])


class _Frame(NamedTuple):
    number: int  # in the face video
    moment: Fraction  # at which the output shows it
    image: np.ndarray


class _Cell(NamedTuple):
    """One face of one frame that is to be redrawn."""

    place: int  # of the frame in its group
    number: int
    moment: Fraction
    role: Role
    weight: float  # of its voice's gate
    crop: np.ndarray  # RGB


class _Group(NamedTuple):
    images: list[np.ndarray]  # RGB
    cells: list[_Cell]
    drawn: Pending | None  # the cells' faces, BGR
