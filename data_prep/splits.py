"""Assigns speakers or videos to the training, validation and test splits."""

import collections
import functools
import hashlib
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

SPLITS = ("train", "validation", "test")
SPLIT_BY = ("auto", "speaker", "video", "published")
MIN_SPEAKERS = 10  # with at least this many speakers, splits are by speaker
_END_BYTES = 4096  # at each end of a file, which are compared before the whole is read


def assign_splits(
    speakers: Mapping[str, str],
    split_by: str,
    test_speakers: Collection[str],
    validation: float,
    test: float,
    copies: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """Assigns videos to splits.

    Args:
        speakers: video -> its speaker.
        split_by: `speaker`, `video`, `published` (by speaker, with `test_speakers` for the test),
            or `auto`: `video` for fewer than `MIN_SPEAKERS`, else `published`, or `speaker` where
            the published test speakers are absent.
        test_speakers: the speakers of the published test set.
        validation: fraction for validation; if `published`, of the other speakers.
        test: fraction for the test; ignored if `published`.
        copies: video -> another of the same content, see `find_duplicates`; their speakers stay in
            one split.

    Returns:
        The split rule that `auto` selected; and video -> `train`, `validation` or `test`.

    Raises:
        ValueError: `published`, and none of `test_speakers` is present, or no other speaker.
    """
    copies = copies or {}
    names = _merge_speakers(speakers, copies)
    everyone = set(names.values())
    held_out = {name for speaker, name in names.items() if speaker in test_speakers}
    has_published_split = bool(held_out) and held_out != everyone
    if split_by == "auto":
        few = len(set(speakers.values())) < MIN_SPEAKERS
        split_by = "video" if few else "published" if has_published_split else "speaker"
    if split_by == "published" and everyone and not has_published_split:
        known = ", ".join(sorted(test_speakers)) or "none"
        raise ValueError(
            f"--split-by published needs some of the corpus' published test speakers ({known}) "
            "and some others; choose --split-by speaker or video"
        )
    if split_by == "video":
        speakers = {video: video for video in speakers}
        names = _merge_speakers(speakers, copies)
    speakers = {video: names[speaker] for video, speaker in speakers.items()}
    if split_by == "published":
        assignment = {
            **split_groups(everyone - held_out, validation, 0),
            **dict.fromkeys(held_out, "test"),
        }
    else:
        assignment = split_groups(speakers.values(), validation, test)
    return split_by, {video: assignment[group] for video, group in speakers.items()}


def assign_held_out(
    speakers: Mapping[str, str],
    validation: Collection[str],
    test: Collection[str],
    copies: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assigns the videos of named speakers to validation and test, all others to training.

    Args:
        speakers: video -> its speaker.
        validation: the speakers held out for validation.
        test: the speakers held out for the test.
        copies: video -> another of the same content, see `find_duplicates`; their speakers stay in
            one split.

    Returns:
        Video -> `train`, `validation` or `test`.

    Raises:
        ValueError: no video is of a named speaker, a speaker is in both lists, or no speaker is
            left for training.
    """
    if not speakers:
        return {}
    if both := sorted(set(validation) & set(test)):
        raise ValueError(
            f"speaker {both[0]} is held out for validation and for the test; name the speaker in "
            "one of --validation-speakers and --test-speakers"
        )
    held_out = {**dict.fromkeys(validation, "validation"), **dict.fromkeys(test, "test")}
    present = sorted(set(speakers.values()))
    if unknown := sorted(held_out.keys() - set(present)):
        raise ValueError(
            f"--{held_out[unknown[0]]}-speakers: no video is of speaker {unknown[0]}; the speakers "
            f"are {', '.join(present[:20])}"
        )
    names = _merge_speakers(speakers, copies or {})
    split_of = {names[speaker]: split for speaker, split in held_out.items()}
    assignment = {
        video: split_of.get(names[speaker], "train") for video, speaker in speakers.items()
    }
    if "train" not in assignment.values():
        raise ValueError(
            "every speaker is held out; name fewer in --validation-speakers and --test-speakers"
        )
    return assignment


def find_duplicates(paths: Mapping[str, Path]) -> dict[str, str]:
    """Finds videos whose files are equal byte for byte.

    Args:
        paths: video -> its file. Only files of equal size, beginning and end are read whole.

    Returns:
        Video -> the first video, by name, of the same content; copies only.
    """
    groups = [sorted(paths)]
    for key in (_size, _ends, _content):
        known: Callable[[Path], Hashable] = functools.cache(key)  # videos may be parts of one file
        groups = [equal for group in groups for equal in _groups(group, paths, known)]
    return {video: first for first, *others in groups for video in others}


def _groups(
    videos: Sequence[str], paths: Mapping[str, Path], key: Callable[[Path], Hashable]
) -> list[list[str]]:
    """Returns the videos whose files share a key with others, in their order, grouped."""
    groups = collections.defaultdict(list)
    for video in videos:
        groups[key(paths[video])].append(video)
    return [group for group in groups.values() if len(group) > 1]


def _size(path: Path) -> int:
    return path.stat().st_size


def _ends(path: Path) -> bytes:
    with open(path, "rb") as file:
        start = file.read(_END_BYTES)
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END_BYTES))
        return hashlib.blake2b(start + file.read(_END_BYTES), digest_size=16).digest()


def _content(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _merge_speakers(speakers: Mapping[str, str], copies: Mapping[str, str]) -> dict[str, str]:
    """Returns a group name for each speaker; speakers that share a file share the name."""
    names = {speaker: speaker for speaker in speakers.values()}

    def group(speaker: str) -> str:
        while names[speaker] != speaker:
            names[speaker] = speaker = names[names[speaker]]
        return speaker

    for video, first in copies.items():
        if video in speakers and first in speakers:
            one, other = sorted((group(speakers[video]), group(speakers[first])))
            names[other] = one
    return {speaker: group(speaker) for speaker in names}


def split_groups(groups: Iterable[str], validation: float, test: float) -> dict[str, str]:
    """Assigns groups (speakers or videos) to splits by a hash of their names.

    A group's split does not depend on the others, so a corpus that grows keeps its splits; except
    that in a small corpus of three groups or more every split gets a group. Fewer than three groups
    are all training data.

    Args:
        groups: names; repetitions are ignored.
        validation: fraction for validation.
        test: fraction for the test.

    Returns:
        Group -> `train`, `validation` or `test`.
    """
    positions = {group: hash_position(group) for group in groups}
    order = sorted(positions, key=positions.__getitem__)
    if len(order) < 3:
        return dict.fromkeys(order, "train")
    num_test = max(sum(positions[g] < test for g in order), 1 if test else 0)
    num_test = min(num_test, len(order) - 2)
    num_validation = sum(positions[g] < test + validation for g in order) - num_test
    num_validation = min(max(num_validation, 1 if validation else 0), len(order) - 1 - num_test)
    names = ["test"] * num_test + ["validation"] * num_validation
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=False))


def hash_position(group: str) -> float:
    """Returns a number in [0, 1) that depends on the name only."""
    digest = hashlib.blake2b(group.encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") / 2**64


def add_validation(
    splits: Mapping[str, str], speakers: Mapping[str, str], fraction: float
) -> dict[str, str]:
    """Holds out a validation split where a published split has none.

    Args:
        splits: video -> split, as published.
        speakers: video -> its speaker.
        fraction: of the training speakers, or of the videos if there are few speakers; one stays
            for training.

    Returns:
        Video -> split. A video of a held-out speaker that is neither `train` nor `test` is left
        out, so that no speaker both trains and validates.
    """
    result = dict(splits)
    train = [video for video, split in splits.items() if split == "train"]
    if "validation" in splits.values() or not fraction or len(train) < 2:
        return result
    groups = {video: speakers[video] for video in train}
    if len(set(groups.values())) < MIN_SPEAKERS:
        groups = {video: video for video in train}
    positions = sorted(set(groups.values()), key=hash_position)
    count = max(1, sum(hash_position(group) < fraction for group in positions))
    held_out = set(positions[: min(count, len(positions) - 1)])
    for video, split in splits.items():
        if groups.get(video, speakers[video]) in held_out and split != "test":
            if split == "train":
                result[video] = "validation"
            else:
                del result[video]
    return result
