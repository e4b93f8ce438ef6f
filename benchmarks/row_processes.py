"""Runs the rows of a benchmark in processes of their own, within a given time."""

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
COMPILE_SHARE = 0.65  # of the time, where all rows compile before the first is measured
MIN_SECONDS = 20.0  # of a row, where rows take turns
MIN_MEASURE_SECONDS = 5.0  # of a row that has compiled


@dataclasses.dataclass(frozen=True)
class Part:
    """What one row measures.

    Attributes:
        kind: `golden`, `inference`, `train` or `loader`.
        config: e.g. `wav2lip:accelerator`; of `golden` a network.
        system: `jax`, `torch eager` or `torch.compile`.
        precision: `float32`, `bfloat16`, or of `golden` also `highest`: float32 without TF32.
        batch: examples; 0: those of the config.
    """

    kind: str
    config: str
    system: str = "jax"
    precision: str = "float32"
    batch: int = 0

    def __str__(self) -> str:
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.kind} {self.config}, {self.system}, {self.precision}{batch}"


class RowProcess:
    """The process of one row.

    It prints `"ready"` as JSON once it has compiled, measures when it reads a line, and prints the
    row. What it writes to the standard error is the reason if it fails.

    Args:
        part: what to measure; the process gets it as JSON.
        command: starts the process.
        events: gets (process, message); None at the end of the process.
    """

    def __init__(self, part: Part, command: Sequence[str], events: queue.Queue) -> None:
        self.part, self.ready, self.ended = part, False, False
        self.row: Row | None = None
        self.events, self._began = events, time.monotonic()
        self._errors = tempfile.TemporaryFile()
        defaults = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._process = subprocess.Popen(
            [*command, json.dumps(dataclasses.asdict(part))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=defaults | dict(os.environ),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.events.put((self, json.loads(line)))
        self._process.wait()
        self.events.put((self, None))

    def finish(self, deadline: float) -> Row:
        """Measures if the process is ready, and ends it; returns the row, or why there is none.

        Args:
            deadline: of the monotonic clock.
        """
        if self.ready:
            with contextlib.suppress(OSError):  # the process has ended, as its output tells
                self._process.stdin.write(b"go\n")
                self._process.stdin.flush()
            while not (self.row or self.ended) and take_message(self.events, deadline):
                pass
        reason = ""
        if not (self.row or self.ended):
            lacking = "measured" if self.ready else "compiled"
            reason = f"not {lacking} after {time.monotonic() - self._began:.0f} s"
            self._process.kill()
        try:
            self._process.wait(MIN_MEASURE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        row = self.row or {"failed": reason or self._last_error()}
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # of a process that reads no more
                pipe.close()
        return {**dataclasses.asdict(self.part), **row}

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        status = self._process.returncode
        ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        return lines[-1].strip()[:300] if lines and status > 0 else ended


def take_message(events: queue.Queue, deadline: float) -> bool:
    """Notes the next message at its process; returns False if there is none by the deadline."""
    try:
        process, message = events.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return False
    if message is None:
        process.ended = True
    elif message == "ready":
        process.ready = True
    else:
        process.row = message
    return True


def measure_all(
    parts: Sequence[Part], command: Sequence[str], seconds: float, jobs: int
) -> Iterator[tuple[Part, Row]]:
    """Measures rows within a time; yields each as soon as it is known.

    Args:
        parts: the most important first.
        command: starts the process of a row, see `RowProcess`.
        seconds: for all rows together.
        jobs: processes that compile side by side before anything is measured; 1: rows take turns.
    """
    if jobs == 1:
        yield from _in_turn(parts, command, seconds)
    else:
        yield from _compile_first(parts, command, seconds, jobs)


def _in_turn(
    parts: Sequence[Part], command: Sequence[str], seconds: float
) -> Iterator[tuple[Part, Row]]:
    end, least = time.monotonic() + seconds, min(MIN_SECONDS, seconds / 2)
    for number, part in enumerate(parts):
        left = end - time.monotonic()
        if left < least:
            yield part, _not_reached(part)
            continue
        # A row may take thrice its share: most rows take less.
        deadline = time.monotonic() + min(left, max(least, 3 * left / (len(parts) - number)))
        process = RowProcess(part, command, queue.Queue())
        while not (process.ready or process.ended) and take_message(process.events, deadline):
            pass
        yield part, process.finish(deadline)


def _compile_first(
    parts: Sequence[Part], command: Sequence[str], seconds: float, jobs: int
) -> Iterator[tuple[Part, Row]]:
    events: queue.Queue = queue.Queue()
    end = time.monotonic() + seconds
    deadline = end - (1 - COMPILE_SHARE) * seconds
    waiting, running, ready = [*parts], [], []
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(RowProcess(waiting.pop(0), command, events))
        if not take_message(events, deadline):
            break
        for process in [x for x in running if x.ready or x.ended]:
            running.remove(process)
            if process.ready:
                ready.append(process)
            else:
                yield process.part, process.finish(end)
    for process in running:
        yield process.part, process.finish(deadline)
    for part in waiting:
        yield part, _not_reached(part)
    ready.sort(key=lambda process: parts.index(process.part))
    for number, process in enumerate(ready):
        left = end - time.monotonic()
        share = max(MIN_MEASURE_SECONDS, 3 * left / (len(ready) - number))
        yield process.part, process.finish(time.monotonic() + min(left, share))


def _not_reached(part: Part) -> Row:
    return {**dataclasses.asdict(part), "failed": "not reached in the given time"}
