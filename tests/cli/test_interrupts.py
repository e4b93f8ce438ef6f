"""Signals whose exceptions Python drops."""

import signal
import sys
import time

import pytest

from lipsync_jax.cli import _interrupts, main, verify


class _Raising:
    def __init__(self, error):
        self._error = error

    def __del__(self):
        raise self._error


def test_an_interrupt_in_a_callback_is_not_lost():
    # Shells let the commands that they start in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _interrupts.kept(), pytest.raises(KeyboardInterrupt):
            _Raising(KeyboardInterrupt())  # freed at once
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
def test_sigterm_in_a_callback_is_not_lost():
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with _interrupts.kept(), pytest.raises(SystemExit, match="143"):
            _Raising(SystemExit(128 + signal.SIGTERM))
            time.sleep(5)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_errors_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))
    with _interrupts.kept():
        _Raising(ValueError())
    assert told == [ValueError]


def test_an_interrupt_before_the_command_runs_is_one_line(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "add_arguments", interrupted)
    assert main.main(["verify", "a.mp4"]) == 130
    assert capsys.readouterr().err == "lipsync: interrupted\n"
