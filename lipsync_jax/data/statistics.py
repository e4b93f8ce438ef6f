"""Statistics of a prepared data set: what its clips are, by split and by speaker."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync_jax.data import loader
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.types import Json

_MAX_BINS = 24
_LISTED_WORDS = 30


@dataclasses.dataclass(frozen=True)
class ClipSummary:
    """What the statistics take from one clip.

    Attributes:
        split: of the data set.
        record: number of the clip in its split.
        speaker: identity of the speaker.
        frames: number of frames.
        frame_rate: frames a second.
        audio_rate: samples a second.
        crop_size: height and width of a crop, pixels.
        sync_offset: seconds by which the audio is later than the video; NaN: not measured.
        sync_confidence: of the offset; NaN: not measured.
        words: texts of the aligned words.
        phones: number of aligned phones.
        has_transcript: whether the clip has a transcript.
        speech_frames: number of frames with speech; None where it is not stored.
    """

    split: str
    record: int
    speaker: str
    frames: int
    frame_rate: Fraction
    audio_rate: int
    crop_size: tuple[int, int]
    sync_offset: float
    sync_confidence: float
    words: tuple[str, ...]
    phones: int
    has_transcript: bool
    speech_frames: int | None

    @property
    def seconds(self) -> float:
        """Returns the length of the video."""
        return float(self.frames / self.frame_rate)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A clip that can't be read: its split, its number in the split, and the reason."""

    split: str
    record: int
    reason: str


class ClipsBySplit:
    """Reads the clips of all splits of a prepared data set.

    Attributes:
        folder: of the data set.
        name: corpus, config and version of the data set.
        sources: split -> its clips.

    Args:
        folder: of the data set, see `loader.find_dataset`.

    Raises:
        ValueError: the data set has no clips.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name, self.sources = loader.open_splits(folder)
        if not self.sources:
            raise ValueError(f"{folder} holds no clips; prepare the data set again")

    def __len__(self) -> int:
        return sum(map(len, self.sources.values()))

    def summarize(
        self, on_progress: Callable[[int], None] = lambda _: None
    ) -> tuple[list[ClipSummary], list[Unreadable]]:
        """Reads every clip, of its frames the first one.

        Args:
            on_progress: called with the number of clips read so far.

        Raises:
            ValueError: no clip can be read.
        """
        found: list[ClipSummary] = []
        unreadable: list[Unreadable] = []
        for split, clips in self.sources.items():
            for record in range(len(clips)):
                try:
                    found.append(_summarize(split, record, clips[record]))
                except (ValueError, OSError) as error:
                    unreadable.append(Unreadable(split, record, str(error)))
                on_progress(len(found) + len(unreadable))
        if not found:
            raise ValueError(
                f"no clip of {self.folder} can be read, e.g. of split {unreadable[0].split}: "
                f"{unreadable[0].reason}"
            )
        return found, unreadable

    def sample_frames(self, summaries: Sequence[ClipSummary], count: int) -> list[np.ndarray]:
        """Decodes frames spread evenly over some clips.

        Args:
            summaries: of the clips.
            count: number of frames.

        Returns:
            uint8 (height, width, 3) each, BGR; fewer where frames are damaged or clips are short.
        """
        places: dict[tuple[int, int], None] = {}  # ordered, each once
        for number in range(count):
            part, whole = math.modf((number + 0.5) / count * len(summaries))
            places[int(whole), int(part * summaries[int(whole)].frames)] = None
        images = []
        for clip_number, frame in places:
            summary = summaries[clip_number]
            try:
                clip = self.sources[summary.split][summary.record]
                images.append(decode_frames(clip, [frame])[0])
            except (ValueError, OSError):
                continue  # the clip's first frame could be read: the page shows the other frames
        return images


def _summarize(split: str, record: int, clip: Clip) -> ClipSummary:
    speech = clip.stored_features("speech_activity")
    height, width = decode_frames(clip, [0]).shape[1:3]
    return ClipSummary(
        split=split,
        record=record,
        speaker=clip.speaker,
        frames=len(clip.frames),
        frame_rate=clip.frame_rate,
        audio_rate=clip.audio_rate,
        crop_size=(height, width),
        sync_offset=clip.sync_offset,
        sync_confidence=clip.sync_confidence,
        words=tuple(word.text for word in clip.words),
        phones=len(clip.phones),
        has_transcript=bool(clip.transcript),
        speech_frames=None if speech is None else int(np.count_nonzero(speech[:])),
    )


def compute(summaries: Sequence[ClipSummary]) -> dict[str, Json]:
    """Computes the statistics, as JSON values.

    The keys are described in docs/how-to/training-data.md.

    Args:
        summaries: of the clips, at least one.
    """
    splits = list(dict.fromkeys(each.split for each in summaries))
    by_speaker = group_by_speaker(summaries)
    speakers: dict[str, dict[str, Json]] = {
        name: {
            "clips": len(members),
            "seconds": _seconds(members),
            "splits": [split for split in splits if any(each.split == split for each in members)],
        }
        for name, members in by_speaker.items()
    }
    # Rounded, since 0.04 s of float32 is less than 40 ms and would be in another bin.
    offsets = [round(1000 * each.sync_offset, 3) for each in summaries]
    words = collections.Counter(word for each in summaries for word in each.words)
    return {
        "splits": {name: _size([s for s in summaries if s.split == name]) for name in splits},
        "total": _size(summaries),
        "duration_seconds": histogram([each.seconds for each in summaries], 0.05),
        "frame_rates": _counts([f"{float(each.frame_rate):.6g}" for each in summaries]),
        "audio_rates": _counts([str(each.audio_rate) for each in summaries]),
        "crop_sizes": _counts(["{}x{}".format(*each.crop_size) for each in summaries]),
        "sync_offset_ms": histogram(offsets, 5.0),
        "sync_confidence": histogram([each.sync_confidence for each in summaries]),
        "speakers": speakers,
        "speakers_in_several_splits": [
            n for n, each in speakers.items() if len(each["splits"]) > 1
        ],
        "text": {
            "clips_with_words": sum(bool(each.words) for each in summaries),
            "clips_with_phones": sum(bool(each.phones) for each in summaries),
            "clips_with_transcript": sum(each.has_transcript for each in summaries),
            "words": words.total(),
            "distinct_words": len(words),
            "frequent_words": dict(words.most_common(_LISTED_WORDS)),
            "phones": sum(each.phones for each in summaries),
        },
    }


def group_by_speaker(summaries: Sequence[ClipSummary]) -> dict[str, list[ClipSummary]]:
    """Returns speaker -> summaries of the speaker's clips, sorted by the speaker's name."""
    groups: dict[str, list[ClipSummary]] = {}
    for each in summaries:
        groups.setdefault(each.speaker, []).append(each)
    return dict(sorted(groups.items()))


def histogram(values: Sequence[float], min_width: float = 0.0) -> dict[str, Json] | None:
    """Counts values in bins of a round width: 1, 2 or 5 times a power of ten.

    Args:
        values: NaN is left out.
        min_width: of a bin.

    Returns:
        `edges` (bins + 1), `counts` (bins), `values` (number of values), `min`, `median`, `max`;
        None where every value is NaN. Bins include their lower edge.
    """
    finite = np.array(values, float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    width = _round_width(max((high - low) / _MAX_BINS, min_width) or abs(high) / 10 or 1.0)
    # Rounded, since 0.35 / 0.05 is less than 7.
    first, last = (math.floor(round(value / width, 9)) for value in (low, high))
    last += 1
    edges = [float(f"{number * width:.12g}") for number in range(first, last + 1)]
    counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
    return {
        "edges": edges,
        "counts": counts.tolist(),
        "values": len(finite),
        "min": low,
        "median": float(np.median(finite)),
        "max": high,
    }


def _round_width(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _size(summaries: Sequence[ClipSummary]) -> dict[str, Json]:
    seconds = [each.seconds for each in summaries]
    stored = [each for each in summaries if each.speech_frames is not None]
    frames = sum(each.frames for each in stored)
    speech = sum(each.speech_frames or 0 for each in stored)
    return {
        "clips": len(summaries),
        "speakers": len({each.speaker for each in summaries}),
        "frames": sum(each.frames for each in summaries),
        "seconds": _seconds(summaries),
        "min_seconds": round(min(seconds), 3),
        "median_seconds": round(float(np.median(seconds)), 3),
        "max_seconds": round(max(seconds), 3),
        "speech_fraction": round(speech / frames, 4) if frames else None,
    }


def _seconds(summaries: Sequence[ClipSummary]) -> float:
    return round(sum(each.seconds for each in summaries), 3)


def _counts(values: Sequence[str]) -> Mapping[str, int]:
    return dict(collections.Counter(values).most_common())
