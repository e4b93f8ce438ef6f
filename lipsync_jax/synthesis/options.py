"""What a user can choose about a video that is made, and what is wrong with a choice."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from lipsync_jax import faces
from lipsync_jax.data.windows import ALIGNMENTS
from lipsync_jax.faces.trajectory import MISSING_FACE, FaceOptions
from lipsync_jax.media.timeline import LOOPS
from lipsync_jax.types import Argument

SILENCE = ("model", "close", "original")
BLENDS = ("mask", "box")


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """How a video is drawn in batches, written, and says what it is.

    Attributes:
        batch_size: frames drawn at once; None chooses by device.
        codec: FFmpeg's name of the video encoder.
        crf: its constant quality, lower is better; None for encoders without it.
        preset: its speed; None for encoders without it.
        lossless: store every pixel exactly (libx264rgb); for .mkv and .mp4, few players show it.
        label: a line of text to be seen on every frame.
        c2pa_certificate: PEM file; sign the output, see `credentials.signing`.
        c2pa_key: PEM file of its private key.
    """

    batch_size: int | None = None
    codec: str = "libx264"
    crf: int | None = 18
    preset: str | None = "medium"
    lossless: bool = False
    label: str | None = None
    c2pa_certificate: str | os.PathLike | None = None
    c2pa_key: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        _check_positive(self, "batch_size")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ValueError(f"crf={self.crf}: give 0 to 51 (63 with AV1 and VP9), lower is better")
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_certificate and c2pa_key belong together; give both or none")

    @property
    def encoding(self) -> Mapping[str, Argument]:
        """Those that `video.VideoWriter` takes."""
        names = ("codec", "crf", "preset", "lossless")
        return {name: getattr(self, name) for name in names}

    def check_inputs(self, inputs: Sequence[tuple[str, str | os.PathLike]]) -> None:
        """Looks whether files are there, (name of an option, path) each; else FileNotFoundError."""
        for option, path in inputs:
            if not Path(path).is_file():
                what = "is a folder" if Path(path).is_dir() else "does not exist"
                raise FileNotFoundError(f"{option} {path} {what}; give the path of a file")

    def check_files(
        self, inputs: Sequence[tuple[str, str | os.PathLike]], outfile: str | os.PathLike
    ) -> None:
        """Looks whether files can be what they are to be, without opening them.

        Args:
            inputs: name of an option and its path.
            outfile: the video.

        Raises:
            FileNotFoundError: an input is missing.
            ValueError: the output is a folder, one of the inputs, or can't be written there.
        """
        self.check_inputs(inputs)
        if Path(outfile).is_dir():
            raise ValueError(f"outfile {outfile} is a folder; give a file in it, e.g. out.mp4")
        for option, path in inputs:
            if Path(outfile).exists() and os.path.samefile(path, outfile):
                raise ValueError(
                    f"outfile {outfile} is the {option} itself, which would be lost; give another"
                )
        folder = Path(outfile).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"outfile {outfile}: its folder can't be made ({error})") from error
        if not os.access(folder, os.W_OK):
            raise ValueError(f"outfile {outfile}: its folder can't be written to; give another")


@dataclasses.dataclass(frozen=True)
class AnimationOptions(OutputOptions):
    """Options of an animated still beside those of `OutputOptions`.

    Attributes:
        seed: of the noise that moves what the voice does not tell; the same one, the same video.
        noise_std: its standard deviation; None is what the network was validated with.
        paste_back: show the whole picture with the face in it moving, not the crop alone.
        aligned: the picture is a crop already, as `lipsync animate` shows one: look for no face.
        resize_factor: divide the picture's width and height by this, first of all.
        detector: see `faces.get_detector`.
    """

    seed: int = 0
    noise_std: float | None = None
    paste_back: bool = False
    aligned: bool = False
    resize_factor: int = 1
    detector: str | faces.Detector = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "resize_factor")
        _check_detector(self.detector)
        for name in ("seed", "noise_std"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number from 0")
        if self.aligned and self.paste_back:
            raise ValueError(
                "aligned and paste_back exclude each other: a crop has no picture around it"
            )

    def check(
        self,
        face: str | os.PathLike,
        audio: str | os.PathLike | None,
        outfile: str | os.PathLike,
    ) -> None:
        """Looks whether the files can be what they are to be, see `check_files`.

        Raises:
            FileNotFoundError: an input is missing.
            ValueError: there is no voice, or the output can't be written.
        """
        if audio is None:
            raise ValueError("audio is missing; give a recording of the voice")
        self.check_files([("face", face), ("audio", audio)], outfile)


@dataclasses.dataclass(frozen=True)
class Options(FaceOptions, OutputOptions):
    """Options of a generation beside those of `tracking.FaceOptions` and `OutputOptions`.

    Attributes:
        static: use the video's first frame only.
        fps: frames a second made of a picture, 25 by default; a video keeps its own.
        resize_factor: divide the frames' width and height by this, first of all.
        rotate: then turn them by 90 degrees clockwise.
        crop: then keep these pixels: top, bottom, left, right; -1 is the far border.
        loop: what follows the video's last frame while the voice goes on, see `timeline.passes`.
        silence: what the face does in pauses: `model` decides by what it hears, `close` hears
            digital silence, `original` shows the frame as it was.
        blend: `mask` redraws mouth, jaw and chin and fades into the rest; `box` pastes the whole
            face with hard edges, as published Wav2Lip does.
        match_colours: move the redrawn face's colours to the original's at the seam.
        alignment: see `data.windows`; `published` is 40 ms early, as published Wav2Lip.
        speakers: what each face says, {person: recording}; see `face_id` for numbers. Faces without
            a recording stay as they are.
        preview: draw so many frames first and write them beside the output.
        cache: remember where the faces of this video are.
    """

    static: bool = False
    fps: Fraction | None = None
    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)
    loop: str = "ping-pong"
    silence: str = "model"
    blend: str = "mask"
    match_colours: bool = True
    alignment: str = "matched"
    speakers: Mapping[int, str | os.PathLike] | Sequence[tuple[int, str | os.PathLike]] = ()
    preview: int = 0
    cache: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("on_missing_face", MISSING_FACE),
            ("loop", LOOPS),
            ("silence", SILENCE),
            ("blend", BLENDS),
            ("alignment", tuple(ALIGNMENTS)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown; choose from {', '.join(choices)}"
                )
        _check_positive(self, "detect_every", "resize_factor", "fps")
        if self.box is None:
            _check_detector(self.detector)
        for name in ("pads", "crop", "box"):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != 4:
                raise ValueError(f"{name}={value}: give four numbers, top, bottom, left, right")
            object.__setattr__(self, name, tuple(value))
        if any(value < -1 for value in self.crop):
            raise ValueError(f"crop={self.crop}: give pixels from 0, or -1 for the far border")
        if self.fps is not None:
            object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(1001))
        if self.preview < 0 or (self.face_id or 0) < 0:
            raise ValueError("preview and face_id are numbers from 0")
        speakers = self.speakers
        pairs = tuple(dict(speakers).items())
        if len(pairs) != len(speakers):
            raise ValueError("speakers: each face says one recording; name it once")
        object.__setattr__(self, "speakers", pairs)
        ways = ("box", "face_id", "face_ref", "speakers")
        given = [name for name in ways if getattr(self, name) not in (None, ())]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} all tell which face to redraw; give only one")

    @property
    def chooses(self) -> bool:
        """Whether the faces to redraw are chosen by person."""
        return self.face_id is not None or self.face_ref is not None or bool(self.speakers)

    def check_live(self, face: str | os.PathLike) -> None:
        """Looks whether a face can be prepared for a voice that is still to come.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: an option needs the whole voice.
        """
        self.check_inputs([("face", face)])
        if self.silence != "model":
            raise ValueError(
                f"silence={self.silence!r} must know the whole voice to tell its pauses; only "
                "'model' does for a live voice"
            )
        if self.speakers:
            raise ValueError("speakers: a live voice is one; choose its face by face_id")

    def check(
        self,
        face: str | os.PathLike,
        audio: str | os.PathLike | None,
        outfile: str | os.PathLike,
    ) -> None:
        """Looks whether the files can be what they are to be, see `check_files`.

        Raises:
            FileNotFoundError: an input is missing.
            ValueError: there is no voice, or the output can't be written.
        """
        if audio is None and not self.speakers:
            raise ValueError("audio is missing; give a recording of the voice")
        inputs = [("face", face), *([] if audio is None else [("audio", audio)])]
        inputs += [(f"speaker {number}", path) for number, path in dict(self.speakers).items()]
        self.check_files(inputs, outfile)

    def check_box(self, size: tuple[int, int]) -> None:
        """Looks whether the constant box is one and lies in the frames.

        Args:
            size: (width, height) of the frames.

        Raises:
            ValueError: it doesn't.
        """
        if self.box is None:
            return
        top, bottom, left, right = self.box
        width, height = size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"box={tuple(self.box)} (top, bottom, left, right) is no part of the {width}x"
                f"{height} frames; top must be above bottom, left before right, both inside"
            )


def _check_detector(detector: str | faces.Detector) -> None:
    """Tries a detector that was asked for; `auto` waits until a face is needed."""
    if isinstance(detector, str) and detector != faces.AUTO:
        faces.resolve_detector(detector)


def _check_positive(options: OutputOptions, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name}={value}: give a number above 0")
