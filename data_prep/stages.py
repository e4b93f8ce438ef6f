"""The stages of the preparation, and what each of them took, dropped and left."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

# Name -> what the stage takes, and what it leaves.
STAGES: Mapping[str, tuple[str, str]] = {
    "probe": ("videos", "videos"),
    "25 fps": ("videos", "videos"),
    "scene cuts": ("videos", "shots"),
    "face tracks": ("shots", "clips"),
    "alignment": ("clips", "clips"),
    "sync offset": ("clips", "clips"),
    "sync confidence": ("clips", "clips"),
    "quality": ("clips", "clips"),
    "crop": ("clips", "clips"),
    "audio features": ("clips", "clips"),
    "shards": ("clips", "clips"),
}


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A video, or a segment of a video, that was rejected, by which stage, and the reason."""

    clip_id: str
    reason: str
    detail: str = ""
    stage: str = ""


@dataclasses.dataclass
class StageCounts:
    """What one stage did.

    Attributes:
        entered: items that the stage took, see `STAGES`.
        left: items that it left to the next stage.
        dropped: reason -> number of items that were dropped.
        changed: change -> number of items that were changed and kept, e.g. `deinterlaced`.
        seconds: processor time of all processes; 0 where the time is in the next stage's.
    """

    entered: int = 0
    left: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    changed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0

    def add(self, other: "StageCounts") -> None:
        """Adds the counts of other items."""
        self.entered += other.entered
        self.left += other.left
        self.seconds += other.seconds
        self.dropped.update(other.dropped)
        self.changed.update(other.changed)

    def as_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return {
            "in": self.entered,
            "out": self.left,
            "dropped": dict(self.dropped.most_common()),
            "changed": dict(self.changed.most_common()),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StageCounts":
        """Returns the counts of `as_json`."""
        dropped, changed = (collections.Counter(values[name]) for name in ("dropped", "changed"))
        return cls(values["in"], values["out"], dropped, changed, values["seconds"])


class StageLog:
    """Counts what the stages do with one video.

    Attributes:
        counts: of each stage that was reached.
        rejected: the video or segments that were dropped; bystanders are only counted.
    """

    def __init__(self) -> None:
        self.counts: dict[str, StageCounts] = {}
        self.rejected: list[Rejected] = []

    def __getitem__(self, stage: str) -> StageCounts:
        return self.counts.setdefault(stage, StageCounts())

    def reject(self, stage: str, clip_id: str, reason: str, detail: str = "") -> None:
        """Counts an item that a stage drops, and keeps the reason."""
        self[stage].dropped[reason] += 1
        self.rejected.append(Rejected(clip_id, reason, detail, stage))

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[StageCounts]:
        """Adds the processor time of a block to a stage."""
        started = time.process_time()
        try:
            yield self[stage]
        finally:
            self[stage].seconds += time.process_time() - started


class StageSums(dict[str, StageCounts]):
    """The sums over videos, of every stage, in the order of `STAGES`."""

    def __init__(self) -> None:
        super().__init__((name, StageCounts()) for name in STAGES)

    def add(self, counts: Mapping[str, StageCounts]) -> None:
        """Adds the counts of a video."""
        for name, each in counts.items():
            self[name].add(each)


def as_json(counts: Mapping[str, StageCounts]) -> dict[str, dict[str, Any]]:
    """Returns JSON values of every stage, in the order of `STAGES`."""
    return {name: counts.get(name, StageCounts()).as_json() for name in STAGES}


def format_stages(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Formats the stages of a report, see `StageCounts.as_json`, one line each."""
    lines = [f"{'stage':<16}{'in':>14}{'out':>14}{'seconds':>9}  dropped; changed"]
    for name, counts in stages.items():
        takes, leaves = STAGES[name]
        seconds = f"{counts['seconds']:.1f}" if counts["seconds"] else "-"
        parts = [
            ", ".join(f"{count} {what}" for what, count in counts[key].items())
            for key in ("dropped", "changed")
        ]
        notes = "; ".join(part for part in (parts[0] or "none", parts[1]) if part)
        entered, left = f"{counts['in']} {takes}", f"{counts['out']} {leaves}"
        lines.append(f"{name:<16}{entered:>14}{left:>14}{seconds:>9}  {notes}")
    return lines
