"""Paired preference, as in the user study of Vougioukas et al. 2018: which of two videos is better?

A study is a folder: `preference.html` shows pairs of videos, `key.json` says which method made each
video, and is no part of the page.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lipsync_jax import paths
from lipsync_jax.evaluation.bootstrap import interval
from lipsync_jax.types import Json

PAGE, KEY, RESULT = "preference.html", "key.json", "preference.json"
_MIN_PARTICIPANTS = 5  # of the bootstrap over participants
_MAX_ANSWER_BYTES = 16_000_000
_CONFIDENCE_LEVEL, _Z = 0.95, 1.959964  # of the intervals, and its quantile of the normal
_RESAMPLES = 10_000  # of the bootstrap


class Preference(NamedTuple):
    """How often the first of two methods is preferred.

    Attributes:
        share: of the answers that prefer the first method.
        low: lower end of the confidence interval.
        high: upper end.
        answers: number of answers.
        participants: number of people who answered.
        method: of the interval: `wilson`, or `bootstrap over participants`.
    """

    share: float
    low: float
    high: float
    answers: int
    participants: int
    method: str


class Answers(NamedTuple):
    """The answers of one file.

    Attributes:
        participant: random name.
        chosen: number of the pair -> whether the first method was preferred.
    """

    participant: str
    chosen: dict[int, bool]


def write_key(folder: str | os.PathLike, key: Mapping[str, Json]) -> None:
    """Writes `key.json`: `study`, `methods`, and `pairs`: clip and video name -> method of each."""
    text = json.dumps(key, indent=1, ensure_ascii=False)
    paths.write_text(Path(folder, KEY), text + "\n", errors="backslashreplace")


def read_key(folder: str | os.PathLike) -> dict[str, Json]:
    """Reads `key.json`.

    Raises:
        FileNotFoundError: the folder has no study.
        ValueError: the file is damaged.
    """
    path = Path(folder, KEY)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give the --out folder of the study that the answers are of"
        )
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        if len(key["methods"]) == 2 and all(len(pair["videos"]) == 2 for pair in key["pairs"]):
            return dict(key)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); write the study again") from error
    raise ValueError(f"{path} is damaged; write the study again")


def read_answers(path: str | os.PathLike, key: Mapping[str, Json]) -> Answers:
    """Reads a file that the page saved.

    Args:
        path: of the file.
        key: of the study, see `read_key`.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it holds no answers of this study.
    """
    path = Path(path)
    paths.require_file(path, "files that the page saved")
    expected = f"--answers {path}: expected a file that {PAGE} saved"
    if path.stat().st_size > _MAX_ANSWER_BYTES:
        raise ValueError(f"{expected}, found {path.stat().st_size} bytes; give another file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        study, participant, answers = found["study"], str(found["participant"]), found["answers"]
        rows = [(int(row["pair"]), str(row["chosen"])) for row in answers]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{expected}, found {error!r}; give another file") from error
    if study != key["study"]:
        raise ValueError(f"{expected} of study {key['study']}, found study {study}")
    first, chosen = key["methods"][0], {}
    for pair, video in rows:
        videos = key["pairs"][pair]["videos"] if 0 <= pair < len(key["pairs"]) else {}
        if video not in videos:
            raise ValueError(f"{expected}, found a video that pair {pair} of the study has not")
        chosen[pair] = videos[video] == first
    return Answers(participant, chosen)


def preference(answers: Sequence[Answers]) -> Preference:
    """Computes the share of answers that prefer the first method, with its interval.

    From 5 participants on, participants are resampled (percentile bootstrap, seeded), since the
    answers of one person are not independent. With fewer, the interval is Wilson's for independent
    answers, which is too narrow for what other people would say.

    Args:
        answers: one entry a file; of one participant the last file counts.

    Raises:
        ValueError: there are no answers.
    """
    people = list({each.participant: each for each in answers if each.chosen}.values())
    if not people:
        raise ValueError("the files hold no answers; give files of people who chose videos")
    wins = [sum(each.chosen.values()) for each in people]
    totals = [len(each.chosen) for each in people]
    total = sum(totals)
    share = sum(wins) / total
    if len(people) < _MIN_PARTICIPANTS:
        method, (low, high) = "wilson", _wilson(share, total)
    else:
        method = "bootstrap over participants"
        shares = [won / count for won, count in zip(wins, totals, strict=True)]
        _, low, high, _ = interval(  # participants in place of clips
            shares, totals, resamples=_RESAMPLES, confidence_level=_CONFIDENCE_LEVEL
        )
    return Preference(share, low, high, total, len(people), method)


def sentence(found: Preference, methods: Sequence[str]) -> str:
    """Returns the result in words."""
    first, second = methods
    people = "1 person" if found.participants == 1 else f"{found.participants} people"
    text = (
        f"{first} is preferred to {second} in {found.share:.1%} [{found.low:.1%}, "
        f"{found.high:.1%}] of {found.answers} answers by {people} ({found.method})"
    )
    if found.low > 0.5:
        return f"{text}: {first} is better."
    if found.high < 0.5:
        return f"{text}: {second} is better."
    return f"{text}: no clear preference."


def _wilson(share: float, total: int) -> tuple[float, float]:
    """Returns Wilson's score interval of a share of independent answers (Wilson 1927)."""
    width = _Z * _Z / total
    centre = (share + width / 2) / (1 + width)
    half = _Z / (1 + width) * math.sqrt(share * (1 - share) / total + width / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)
