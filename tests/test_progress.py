import io
import json
import logging
import math
import sys
import time

import pytest
from absl import logging as absl_logging

from lipsync_jax import progress
from lipsync_jax.cli._terminal import PROGRESS_COMMANDS
from lipsync_jax.cli.main import build_parser, main
from lipsync_jax.progress import ProgressBar, RateEstimator
from tests.helpers.imports import assert_help_imports_none, assert_not_imported
from tests.helpers.terminal import stderr_terminal


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


@pytest.fixture
def mode():
    """Sets how progress is shown."""
    yield progress.set_mode
    progress.set_mode("auto")


def _lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_line_every_ten_seconds_with_the_time_left(at, capsys):
    with ProgressBar("videos", 40) as bar:
        for second in range(1, 41):
            at(float(second))
            bar(second, f"{second} clips")
    assert _lines(capsys) == [
        "videos 10/40 (25%), ETA 0:30, 10 clips",
        "videos 20/40 (50%), ETA 0:20, 20 clips",
        "videos 30/40 (75%), ETA 0:10, 30 clips",
        "videos 40/40 (100%), 40 clips",
    ]


def test_lines_are_rarer_in_long_runs(at, capsys):
    with ProgressBar("videos", 2000) as bar:
        for second in range(1, 2000):
            at(float(second))
            bar(second)
    counts = [int(line.split()[1].partition("/")[0]) for line in _lines(capsys)]
    steps = [b - a for a, b in zip([0, *counts], counts, strict=False)]
    assert steps[0] == 10 and steps[-1] == 60 and steps == sorted(steps)


def test_short_work_writes_no_line(at, capsys):
    with ProgressBar("clips", 3) as bar:
        for second in range(1, 4):
            at(float(second))
            bar(second)
    assert _lines(capsys) == []


def test_a_loop_of_slow_units_tells_its_first_one_at_once(at, capsys):
    with ProgressBar("videos", 2) as bar:
        bar(0, "a\x1b[2Jb.mp4")
        at(2.0)
        bar(1, "c.mp4")
        at(4.0)
        bar(2)
    assert _lines(capsys) == [r"videos 0/2 (0%), a\x1b[2Jb.mp4", "videos 2/2 (100%)"]


def test_another_label_begins_another_loop(at, capsys):
    with ProgressBar("detect faces", rate_unit="fps") as bar:
        for second in range(1, 13):
            at(float(second))
            bar(100 * second, total=1200)
        for second in range(13, 24):
            at(float(second))
            bar(25 * (second - 13), total=1500, label="generate")
    assert _lines(capsys) == [
        "detect faces 1000/1200 (83%), 100 fps, ETA 0:02",
        "detect faces 1200/1200 (100%), 100 fps",
        "generate 0/1500 (0%)",
        "generate 250/1500 (16%), 25 fps, ETA 0:50",
    ]


@pytest.mark.parametrize(
    ("level", "lines"), [(logging.INFO, "clips 7/9 (77%), ETA 0:03\n"), (logging.ERROR, "")]
)
def test_a_logger_writes_the_lines_if_its_level_allows(level, lines, at, capsys):
    written = io.StringIO()
    log = logging.Logger("tests.progress", level)
    log.addHandler(logging.StreamHandler(written))
    with ProgressBar("clips", 9, log) as bar:
        at(10.5)
        bar(7)
    assert written.getvalue() == lines and _lines(capsys) == []


def test_several_iterables_share_a_bar(at, capsys):
    with ProgressBar("clips", 5) as bar:
        at(11.0)
        assert [*bar.each("abc"), *bar.each("de")] == [*"abcde"]
    assert _lines(capsys) == ["clips 1/5 (20%), ETA 0:44", "clips 5/5 (100%)"]


def test_the_rate_is_that_of_the_last_seconds(at):
    estimator = RateEstimator()
    estimator.update(0)
    assert estimator.seconds_left(0, 10) == math.inf
    at(1.0)
    estimator.update(500)  # of a cache
    assert estimator.rate == 500
    for second in range(2, 60):
        at(float(second))
        estimator.update(500 + second)
    assert estimator.rate == pytest.approx(1)
    assert estimator.seconds_left(559, 619) == pytest.approx(60)


def test_slow_units_are_averaged_however_long_they_take(at):
    estimator = RateEstimator()
    for unit in range(8):
        at(600.0 * unit + 300 * (unit % 2))
        estimator.update(unit)
    assert estimator.rate == pytest.approx(7 / 4500)


def test_bars_are_rows_below_other_output(monkeypatch):
    terminal = stderr_terminal(monkeypatch)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with ProgressBar("videos", 2) as outer, ProgressBar("generate", rate_unit="fps") as inner:
            outer(1, "[b]a.mp4" * 20)
            inner(3, total=4)
            time.sleep(0.5)  # rows are refreshed five times a second
            logging.getLogger().warning("a warning")
            print("a note", file=sys.stderr)
            print("a result")
    finally:
        logging.getLogger().removeHandler(handler)
    shown = terminal.text()
    assert "1/2 (50%)" in shown and "3/4 (75%)" in shown and "[b]a.mp4" in shown
    assert "…" in shown  # one row each, however long the note
    assert "a warning\n" in shown and "a note\n" in shown and "a result" not in shown
    assert sys.stdout.getvalue() == "a result\n"
    assert sys.stderr is terminal is handler.stream
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_lines_of_absl_are_above_the_bars(monkeypatch):
    terminal = stderr_terminal(monkeypatch)
    handler = absl_logging.get_absl_handler()
    monkeypatch.setattr(handler.python_handler, "stream", terminal)
    logging.getLogger().addHandler(handler)
    try:
        with ProgressBar("train", 9):
            shown = handler.python_handler.stream
    finally:
        logging.getLogger().removeHandler(handler)
    assert shown is not terminal and handler.python_handler.stream is terminal


def test_units_of_an_earlier_process_are_not_in_the_rate(at, capsys):
    with ProgressBar("train", 1000, rate_unit="steps/s", done=500) as bar:
        at(10.0)
        bar(520)
    assert _lines(capsys) == ["train 520/1000 (52%), 2.0 steps/s, ETA 4:00"]


def test_callers_with_lines_of_their_own_get_none(at, capsys):
    with ProgressBar("train", 9, lines=False) as bar:
        bar(0)
        at(60.0)
        bar(9)
    assert _lines(capsys) == []


def _events(capsys):
    return [json.loads(line) for line in _lines(capsys)]


def test_json_is_written_every_second_and_at_the_end(mode, at, capsys):
    mode("json")
    with ProgressBar("load", rate_unit="fps") as bar:
        for tenth in range(1, 26):
            at(tenth / 10)
            bar(tenth, "ä.mp4", total=25, label="generate")
    events = _events(capsys)
    shape = [(e["label"], e["done"], e["total"]) for e in events]
    assert shape == [("load", 0, None), *(("generate", n, 25) for n in (1, 11, 21, 25))]
    first, last = events[0], events[-2]
    assert {e["event"] for e in events} == {"progress"} and list(map(len, events)) == [7] * 5
    assert first["note"] is first["rate_per_second"] is first["eta_seconds"] is None
    assert last["rate_per_second"] == 10 and last["eta_seconds"] == 0.4 and last["note"] == "ä.mp4"


def test_json_has_no_prefix_of_a_logger_and_replaces_lines_of_the_caller(mode, capsys):
    mode("json")
    log = logging.Logger("tests.progress", logging.INFO)
    with ProgressBar("videos", 2, log), ProgressBar("train", 4, done=3, lines=False):
        pass
    assert [(e["label"], e["done"]) for e in _events(capsys)] == [("videos", 0), ("train", 3)]


@pytest.mark.parametrize(("name", "lines"), [("plain", ["videos 0/2 (0%)"]), ("none", [])])
def test_modes_without_bars(name, lines, mode, monkeypatch):
    mode(name)
    terminal = stderr_terminal(monkeypatch)
    with ProgressBar("videos", 2) as bar:
        bar(0)
    assert terminal.getvalue().splitlines() == lines


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'bars' must be one of auto, plain, json, none"):
        progress.set_mode("bars")


def test_the_commands_that_show_progress_have_the_option():
    for name in [*PROGRESS_COMMANDS, "verify"]:
        (subparsers,) = build_parser([name])._subparsers._group_actions
        options = subparsers.choices[name]._option_string_actions
        assert ("--progress" in options) == (name in PROGRESS_COMMANDS)


@pytest.mark.parametrize("command", ["dub", "animate"])
def test_the_option_is_none_of_the_generation(command, mode, capsys):
    line = [command, "--face=nowhere.mp4", "--audio=a.wav", "--progress=json", "--json"]
    assert main(line) == 1
    captured = capsys.readouterr()
    assert "nowhere.mp4" in json.loads(captured.out)["error"]
    assert json.loads(captured.err.splitlines()[0])["event"] == "progress"


def test_an_error_gives_the_terminal_back(monkeypatch):
    terminal = stderr_terminal(monkeypatch)
    with pytest.raises(ValueError, match="broken"), ProgressBar("videos", 2):
        raise ValueError("broken")
    assert sys.stderr is terminal and "\x1b[?25h" in terminal.getvalue()
    with ProgressBar("clips", 2):
        time.sleep(0.5)
    assert "clips" in terminal.text() and "0/2 (0%)" in terminal.text()


def test_a_terminal_without_cursor_gets_lines(monkeypatch):
    terminal = stderr_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with ProgressBar("videos", 2) as bar:
        bar(0, "a.mp4")
    assert terminal.getvalue() == "videos 0/2 (0%), a.mp4\n"


def test_only_bars_import_rich():
    assert_help_imports_none(["dub", "--help"], {"rich", "tqdm"})
    assert_not_imported("from lipsync_jax.progress import ProgressBar as b; b('a')", {"rich"})


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (7205, "2:00:05"), (math.inf, "?")]
)
def test_clock(seconds, text):
    assert progress.format_duration(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0.04, "0.0"), (3.44, "3.4"), (9.96, "10"), (25, "25")])
def test_slow_speeds_have_a_decimal(rate, text):
    assert progress.format_rate(rate) == text
