import itertools
import re
from fractions import Fraction
from pathlib import Path

import pytest

from lipsync_jax import progress
from lipsync_jax.cli import _parser, _terminal, dub
from lipsync_jax.synthesis import dubbing, options

FILES = ["--checkpoint_path", "c", "--face", "f", "--audio", "a"]


def parse(*arguments):
    parser = _parser.Parser()
    dub.add_arguments(parser)
    parsed = vars(parser.parse_args([*FILES, *arguments]))
    for name in ("checkpoint_path", "face", "audio", "outfile"):
        assert isinstance(parsed.pop(name), Path)
    assert parsed.pop("manifest") is None
    assert parsed.pop("report_sync") is True
    return options.DubbingOptions.from_quality(**parsed)


def test_defaults_are_those_of_the_library():
    assert parse() == options.DubbingOptions()


def test_quality_sets_what_is_not_given():
    fast = parse("--quality", "fast")
    assert (fast.detect_every, fast.blend, fast.sharpen, fast.crf) == (5, "mask", False, 23)
    best = parse("--quality=best", "--crf", "18", "--sharpen", "no")
    assert (best.detect_every, best.blend, best.sharpen, best.crf) == (1, "outline", False, 18)
    assert parse("--quality", "good") == options.DubbingOptions()
    with pytest.raises(ValueError, match="`quality`='finest' is unknown; choose from fast, good"):
        parse("--quality", "finest")


def test_published_spellings():
    published = (
        "--static True --fps 30 --pads 0 20 0 0 --face_det_batch_size 16 --wav2lip_batch_size 128 "
        "--resize_factor 2 --crop 0 -1 0 -1 --box -1 -1 -1 -1 --rotate --nosmooth"
    )
    chosen = parse(*published.split())
    assert chosen == options.DubbingOptions(
        static=True, fps=Fraction(30), pads=(0, 20, 0, 0), batch_size=128, resize_factor=2,
        rotate=True, smooth=False,
    )  # fmt: skip
    assert parse(
        "--wav2lip-batch-size", "3", "--box", "1", "2", "3", "4"
    ) == options.DubbingOptions(batch_size=3, box=(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("arguments", "static"),
    [("--static", True), ("--static False", False), ("--static=0", False), ("", False)],
)
def test_booleans_mean_what_they_say(arguments, static):
    assert parse(*arguments.split()).static is static
    with pytest.raises(SystemExit):
        parse("--static", "perhaps")


def test_rates_are_exact():
    assert parse("--fps", "29.97").fps == Fraction(2997, 100)
    assert parse("--fps", "30000/1001").fps == Fraction(30000, 1001)


@pytest.mark.parametrize("rate", ["1/0", "fast", "nan"])
def test_what_is_no_rate_is_told(rate, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("--fps", rate)
    assert f"--fps: '{rate}' is no frame rate such as 25" in capsys.readouterr().err


def test_the_progress_tells_the_stage(capsys, monkeypatch):
    clock = itertools.count(step=100)  # seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with _terminal.generation_progress() as show:
        for stage, total in (("faces", 40), ("generate", 1500)):
            for done in (1, 2, total):
                show(dubbing.Progress(stage, done, total, done / 100))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("detect faces 1/40 (2%)")
    assert re.fullmatch(r"generate 1500/1500 \(100%\), [0-9.]+ fps", last)


def test_the_report_lists_when_faces_were_missing():
    result = dubbing.GenerationResult(
        outfile=Path("out.mp4"), frames=100, edited=80, unchanged=20, duration=4.0,
        wall_seconds=2.0, missing_intervals=((0.5, 1.0), (61.2, 3723.456)),
        frame_rate=Fraction(25), frames_per_second=70.0, model_hash="0",
    )  # fmt: skip
    text = _terminal.describe(result)
    assert "0:00.50-0:01.00, 1:01.20-1:02:03.46" in text
    assert "80 frames edited, 20 unchanged" in text
