"""Options of dubbing and animation, and their checks."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from lipsync_jax import faces
from lipsync_jax.data.windows import AUDIO_OFFSETS
from lipsync_jax.faces.trajectory import MISSING_FACE, FaceOptions
from lipsync_jax.media import containers
from lipsync_jax.media.timeline import LOOPS
from lipsync_jax.text import each_file, naming_options
from lipsync_jax.types import Argument

SILENCE_MODES = ("model", "zero-audio", "passthrough")
BLEND_MODES = ("outline", "mask", "box")
DEFAULT_QUALITY = "good"
_FRAME_RATES = Fraction(1), Fraction(1000)  # least and greatest, frames a second
# What `quality` sets; the default quality is every option's default.
QUALITIES: Mapping[str, Mapping[str, Argument]] = {
    "fast": {"blend": "mask", "sharpen": False, "crf": 23},
    "good": {},
    "best": {"detect_every": 1, "crf": 14},
}
_NUM_PREVIEW_FRAMES = 4  # with `preview_only`, unless `preview` is given


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """Options of batching, encoding and provenance.

    Attributes:
        batch_size: frames per batch; None chooses by device.
        codec: FFmpeg's name of the video encoder.
        crf: the encoder's constant quality, lower is better; None for encoders without it.
        preset: the encoder's speed; None for encoders without it.
        lossless: store every pixel exactly (libx264rgb); for .mkv and .mp4, few video players
            decode it.
        label: a line of text written on every frame.
        c2pa_certificate: PEM file; sign the output, see `c2pa.sign_on_close`.
        c2pa_key: PEM file of the certificate's private key.
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
            raise ValueError(
                f"`crf`={self.crf}: give 0 to 51 (63 with AV1 and VP9), lower is better"
            )
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("`c2pa_certificate` and `c2pa_key` belong together; give both or none")

    @property
    def encoding(self) -> Mapping[str, Argument]:
        """The options that `video_writer.VideoWriter` takes."""
        names = ("codec", "crf", "preset", "lossless")
        return {name: getattr(self, name) for name in names}

    def files(
        self, face: str | os.PathLike, audio: str | os.PathLike | None = None
    ) -> dict[str, object]:
        """Returns the files to read, see `text.each_file`."""
        return {"face": face, "audio": audio}

    def outputs(self, outfile: str | os.PathLike) -> Iterator[Path]:
        """Yields the files to write."""
        yield Path(outfile)

    def check_inputs(self, face: str | os.PathLike, audio: str | os.PathLike | None = None) -> None:
        """Checks `files` without opening them.

        Raises:
            FileNotFoundError, ValueError: see `containers.check_file`; names the option.
        """
        files = self.files(face, audio)
        with naming_options(files):
            for _, path in each_file(files):
                containers.check_file(path)

    def check(
        self,
        face: str | os.PathLike,
        audio: str | os.PathLike | None,
        outfile: str | os.PathLike,
    ) -> None:
        """Checks inputs and output without opening them.

        Raises:
            FileNotFoundError, ValueError: there is no driving audio, or see `check_inputs`; or the
                output is a folder, one of the inputs, or can't be written.
        """
        files = self.files(face, audio)
        if audio is None and not files.get("speakers"):
            raise ValueError("`audio` is missing; give a recording of speech")
        self.check_inputs(face, audio)
        for path in self.outputs(outfile):
            _check_output(path, files)
        folder = Path(outfile).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"`outfile` {outfile}: the folder can't be made ({error}); give another"
            ) from error
        if not os.access(folder, os.W_OK):
            raise ValueError(f"`outfile` {outfile}: the folder can't be written to; give another")


@dataclasses.dataclass(frozen=True)
class AnimationOptions(OutputOptions):
    """Options of an animation, in addition to those of `OutputOptions`.

    Attributes:
        seed: of the noise for the motion that the audio does not determine.
        noise_std: standard deviation of that noise; None is the value used in validation.
        paste_back: output the whole image with the animated face, not only the crop.
        aligned: the image is a face crop already, as `lipsync animate` outputs it: skip detection.
        resize_factor: divide the image's width and height by this, before anything else.
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
                raise ValueError(f"`{name}`={getattr(self, name)}: give a number from 0")
        if self.aligned and self.paste_back:
            raise ValueError(
                "`aligned` and `paste_back` exclude each other: a crop has no surrounding image"
            )


@dataclasses.dataclass(frozen=True)
class DubbingOptions(FaceOptions, OutputOptions):
    """Options of dubbing, in addition to those of `trajectory.FaceOptions` and `OutputOptions`.

    Attributes:
        static: use the video's first frame only.
        fps: frame rate of a video made from an image, 25 by default; a video keeps its own.
        resize_factor: divide the frames' width and height by this, before anything else.
        rotate: then rotate by 90 degrees clockwise.
        crop: then keep these pixels: top, bottom, left, right; -1 is the far border.
        loop: what follows the video's last frame while the audio continues, see
            `timeline.loop_indices`.
        silence_mode: in pauses of the speech, `model` generates from the audio as it is,
            `zero-audio` from digital silence, and `passthrough` keeps the original frame.
        blend: `outline` replaces mouth, jaw and chin up to the face's outline and fades into the
            rest; `mask` does so without an outline; `box` pastes the whole face crop with hard
            edges, as published Wav2Lip does.
        match_colours: shift the generated face's colours to the original's at the seam.
        sharpen: sharpen the generated face until it is as sharp as the original, and enlarge it by
            bicubic instead of bilinear interpolation; not with `blend="box"`.
        source_detail: add the detail of the frame that a crop of the network's size has not, moved
            as the face has moved, see the module of that name; not with `blend="box"`.
        audio_offset: `corrected` aligns audio windows as in training; `reference` as published
            Wav2Lip does at inference, the audio is then 40 ms later than the lips.
        speakers: driving audio of each face, {face number: recording}; see `face_id` for numbers.
            Faces without a recording stay unchanged.
        preview: generate this number of frames first and write them next to the output.
        preview_only: stop after the preview, without a video; 4 frames unless `preview` is given.
        cache: keep the detected faces of this video in the cache folder.
        min_face_height: pixels; faces of less height stay unchanged, except with a constant box.
    """

    static: bool = False
    fps: Fraction | None = None
    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)
    loop: str = "ping-pong"
    silence_mode: str = "model"
    blend: str = "outline"  # deviation W14
    match_colours: bool = True
    sharpen: bool = True
    source_detail: bool = True
    audio_offset: str = "corrected"
    speakers: Mapping[int, str | os.PathLike] | Sequence[tuple[int, str | os.PathLike]] = ()
    preview: int = 0
    preview_only: bool = False
    cache: bool = True
    min_face_height: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("on_missing_face", MISSING_FACE),
            ("loop", LOOPS),
            ("silence_mode", SILENCE_MODES),
            ("blend", BLEND_MODES),
            ("audio_offset", tuple(AUDIO_OFFSETS)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}`={getattr(self, name)!r} is unknown; choose from {', '.join(choices)}"
                )
        _check_positive(self, "detect_every", "resize_factor")
        slowest, fastest = _FRAME_RATES
        if self.fps is not None and not slowest <= self.fps <= fastest:
            raise ValueError(f"`fps`={self.fps}: give {slowest} to {fastest} frames a second")
        if self.box is None:
            _check_detector(self.detector)
        for name in ("pads", "crop", "box"):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != 4:
                raise ValueError(f"`{name}`={value}: give four numbers, top, bottom, left, right")
            object.__setattr__(self, name, tuple(value))
        if any(value < -1 for value in self.crop):
            raise ValueError(f"`crop`={self.crop}: give pixels from 0, or -1 for the far border")
        if self.fps is not None:
            object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(1001))
        if self.preview < 0 or self.min_face_height < 0 or (self.face_id or 0) < 0:
            raise ValueError("`preview`, `min_face_height` and `face_id` must be numbers from 0")
        if self.preview_only and not self.preview:
            object.__setattr__(self, "preview", _NUM_PREVIEW_FRAMES)
        speakers = self.speakers
        pairs = tuple(dict(speakers).items())
        if len(pairs) != len(speakers):
            raise ValueError("`speakers`: a face has two recordings; give one for each face")
        object.__setattr__(self, "speakers", pairs)
        selectors = ("box", "face_id", "face_ref", "speakers")
        given = [f"`{name}`" for name in selectors if getattr(self, name) not in (None, ())]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} all select the face to dub; give only one")

    @classmethod
    def from_quality(cls, quality: str = DEFAULT_QUALITY, **options: Argument) -> "DubbingOptions":
        """Returns the options of a level of quality, overridden by the given ones.

        Args:
            quality: `fast`, `good` or `best`: how often faces are detected, whether the mask ends
                at the face's outline, whether faces are sharpened, and the `crf`; see `QUALITIES`.
            **options: fields; they override those that `quality` sets.

        Raises:
            ValueError: the quality is unknown, or the value of a field can't be used.
        """
        if quality not in QUALITIES:
            raise ValueError(
                f"`quality`={quality!r} is unknown; choose from {', '.join(QUALITIES)}"
            )
        return cls(**{**QUALITIES[quality], **options})

    @property
    def selects_identity(self) -> bool:
        """Whether the faces to dub are selected by identity."""
        return self.face_id is not None or self.face_ref is not None or bool(self.speakers)

    def check_streaming(self, face: str | os.PathLike) -> None:
        """Checks the options of a face that streaming audio will drive.

        Raises:
            FileNotFoundError, ValueError: see `check_inputs`; or an option needs the whole audio.
        """
        self.check_inputs(face)
        if self.silence_mode != "model":
            raise ValueError(
                f"`silence_mode`={self.silence_mode!r} needs the whole audio to detect pauses; "
                "streaming needs 'model'"
            )
        if self.speakers:
            raise ValueError(
                "`speakers`: streaming audio drives one face; select the face by `face_id`"
            )

    def files(
        self, face: str | os.PathLike, audio: str | os.PathLike | None = None
    ) -> dict[str, object]:
        """Returns the files to read, see `text.each_file`."""
        more = {"face_ref": self.face_ref, "speakers": self.speakers}
        return super().files(face, audio) | more

    def outputs(self, outfile: str | os.PathLike) -> Iterator[Path]:
        """Yields the files to write."""
        yield from super().outputs(outfile)
        if self.preview:
            yield preview_path(outfile)

    def check_box(self, size: tuple[int, int]) -> None:
        """Checks that the constant box lies in the frames.

        Args:
            size: (width, height) of the frames.

        Raises:
            ValueError: the box is empty or reaches beyond the frames.
        """
        if self.box is None:
            return
        top, bottom, left, right = self.box
        width, height = size
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"`box`={tuple(self.box)} (top, bottom, left, right) does not lie in the "
                f"{width}x{height} frames; top must be above bottom, left before right, both inside"
            )


def preview_path(outfile: str | os.PathLike) -> Path:
    """Returns the path of a video's preview: NAME.preview.png in the same folder."""
    return Path(outfile).with_suffix(".preview.png")


def _check_output(path: Path, inputs: Mapping[str, object]) -> None:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # e.g. a name that is too long
        raise ValueError(
            f"`outfile` {path} can't be written ({error.strerror}); give another path"
        ) from error
    if path.is_dir():
        raise ValueError(f"`outfile` {path} is a folder; give a file in it, e.g. out.mp4")
    for name, given in each_file(inputs):
        if path.exists() and os.path.samefile(given, path):
            raise ValueError(
                f"`outfile` {path} is also the {name}, which would be overwritten; give another "
                "path"
            )


def _check_detector(detector: str | faces.Detector) -> None:
    """Resolves a named detector; `auto` is resolved when a face is needed."""
    if isinstance(detector, str) and detector != faces.AUTO:
        faces.resolve_detector(detector)


def _check_positive(options: OutputOptions, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"`{name}`={value}: give a number above 0")
