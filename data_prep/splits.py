"""Who trains and who is held out."""

import collections
import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

SPLITS = ("train", "validation", "test")
SPLIT_BY = ("auto", "speaker", "video", "published")
SPEAKERS = 10  # from so many on, splits are made by speaker


def assign_splits(
    speakers: Mapping[str, str],
    split_by: str,
    tested: Collection[str],
    validation: float,
    test: float,
    copies: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """Assigns videos to splits.

    Args:
        speakers: video -> who talks in it.
        split_by: `speaker`, `video`, `published` (by speaker, with `tested` for the test), or
            `auto`: `video` for less than `SPEAKERS`, else `published`, or `speaker` where that
            can't be.
        tested: the speakers whom papers test on.
        validation: fraction for validation; if `published`, of those who aren't tested on.
        test: fraction for the test, if it isn't `published`.
        copies: video -> another of the same content, see `copies_of`; their speakers stay together.

    Returns:
        What `auto` became; and video -> `train`, `validation` or `test`.

    Raises:
        ValueError: `published`, and none of `tested` is there, or nobody else.
    """
    copies = copies or {}
    names = _merged(speakers, copies)
    everyone = set(names.values())
    held = {name for speaker, name in names.items() if speaker in tested}
    can_be = bool(held) and held != everyone
    if split_by == "auto":
        few = len(set(speakers.values())) < SPEAKERS
        split_by = "video" if few else "published" if can_be else "speaker"
    if split_by == "published" and everyone and not can_be:
        known = ", ".join(sorted(tested)) or "none"
        raise ValueError(
            f"split_by='published' needs some of the corpus' published test speakers ({known}) "
            "and some others; choose speaker or video"
        )
    if split_by == "video":
        speakers = {video: video for video in speakers}
        names = _merged(speakers, copies)
    speakers = {video: names[speaker] for video, speaker in speakers.items()}
    if split_by == "published":
        chosen = {**split(everyone - held, validation, 0), **dict.fromkeys(held, "test")}
    else:
        chosen = split(speakers.values(), validation, test)
    return split_by, {video: chosen[group] for video, group in speakers.items()}


def copies_of(paths: Mapping[str, Path]) -> dict[str, str]:
    """Finds videos that are the same file, byte for byte.

    Args:
        paths: video -> its file. Only files of equal size are read.

    Returns:
        Video -> the first one, by name, of the same content; for copies only.
    """
    by_size, found = collections.defaultdict(list), {}
    for video in sorted(paths):
        by_size[paths[video].stat().st_size].append(video)
    for alike in by_size.values():
        firsts: dict[bytes, str] = {}
        for video in alike if len(alike) > 1 else ():
            with open(paths[video], "rb") as file:
                digest = hashlib.file_digest(file, "blake2b").digest()
            first = firsts.setdefault(digest, video)
            if first != video:
                found[video] = first
    return found


def _merged(speakers: Mapping[str, str], copies: Mapping[str, str]) -> dict[str, str]:
    """A name for each speaker, the same for those who share a file."""
    names = {speaker: speaker for speaker in speakers.values()}
    for video, first in copies.items():
        if video in speakers and first in speakers:
            one, other = sorted((names[speakers[video]], names[speakers[first]]))
            names = {speaker: one if name == other else name for speaker, name in names.items()}
    return names


def split(groups: Iterable[str], validation: float, test: float) -> dict[str, str]:
    """Assigns groups (speakers or videos) to splits by a hash of their names.

    A group's split does not depend on the others, so a corpus that grows keeps its splits; except
    that in a small one every split gets a group while there are three, and before that all train.

    Args:
        groups: names; repeats do not matter.
        validation: fraction for validation.
        test: fraction for the test.

    Returns:
        Group -> `train`, `validation` or `test`.
    """
    place = {group: _place(group) for group in groups}
    order = sorted(place, key=place.get)
    if len(order) < 3:
        return dict.fromkeys(order, "train")
    tested = max(sum(place[g] < test for g in order), 1 if test else 0)
    tested = min(tested, len(order) - 2)
    held = sum(place[g] < test + validation for g in order) - tested
    held = min(max(held, 1 if validation else 0), len(order) - 1 - tested)
    names = ["test"] * tested + ["validation"] * held
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=False))


def _place(group: str) -> float:
    """A number in [0, 1) that is the group's for ever."""
    digest = hashlib.blake2b(group.encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") / 2**64
