"""Evaluation samples: from folders of videos, pairs of a file list, or clips of shards."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.data.loader import ClipDataSource, check_crop, find_dataset
from lipsync_jax.evaluation import baselines, face_clip
from lipsync_jax.evaluation.face_clip import FaceClip
from lipsync_jax.evaluation.generators import AnimationGenerator, DubbingGenerator
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.media import audio

SUFFIXES = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".webm", ".wmv", ".flv")


@dataclasses.dataclass(frozen=True)
class EvalSample:
    """One clip, and the outputs of methods for this clip.

    Attributes:
        clip: name of the clip.
        reference: loads the real clip.
        methods: name -> function of the real clip that loads or generates the output.
        baselines: function of the real clip: name -> baseline clip.
        silent_outputs: as `methods`, generated from silence; methods may be missing.
        has_ground_truth: whether the real clip shows what should be generated.
        transcript: words of the driving audio; empty if unknown.
        audio_clip: clip of the driving audio; empty where `clip` has its own.
        crop: of shards, see `clip.CROP_SPECS`; empty for videos.
    """

    clip: str
    reference: Callable[[], FaceClip]
    methods: Mapping[str, Callable[[FaceClip], FaceClip]]
    baselines: Callable[[FaceClip], Mapping[str, FaceClip]] = baselines.mouth_baselines
    silent_outputs: Mapping[str, Callable[[FaceClip], FaceClip]] = dataclasses.field(
        default_factory=dict
    )
    has_ground_truth: bool = True
    transcript: str = ""
    audio_clip: str = ""
    crop: str = ""


def list_videos(folder: str | os.PathLike) -> dict[str, Path]:
    """Lists a folder's videos by name without suffix; those in subfolders as `sub/name`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no videos, or two of one name.
    """
    folder = Path(folder)
    paths.require_folder(folder, "a folder of videos")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(
                f"{folder} has both {found[name].name} and {path.name}; names without their "
                "suffixes must differ"
            )
        found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no videos ({', '.join(SUFFIXES)})")
    return found


def from_folders(
    methods: Mapping[str, Path],
    references: str | os.PathLike,
    protocol: Protocol,
    silent: Mapping[str, Path] | None = None,
) -> list[EvalSample]:
    """Pairs generated videos with references of equal names.

    Args:
        methods: name -> folder of generated videos, of which a missing one counts as a failure, or
            a single video.
        references: folder of the real videos, or a single video. Two single videos are a pair,
            whatever their names.
        protocol: settings of the evaluation.
        silent: name -> folder of videos generated from silence, or a single video.

    Raises:
        FileNotFoundError, ValueError: see `list_videos`; or no name is in both.
    """
    references = Path(references)
    single = references.stem if references.is_file() else ""
    references_by_name = _named_videos(references)
    outputs_by_name = {name: _named_videos(path, single) for name, path in methods.items()}
    silent_by_name = {name: _named_videos(path, single) for name, path in (silent or {}).items()}
    clips = [
        clip
        for clip in references_by_name
        if any(clip in found for found in outputs_by_name.values())
    ]
    if not clips:
        raise ValueError(
            f"no video of {', '.join(str(f) for f in methods.values())} has the name of one in "
            f"{references}, such as {next(iter(references_by_name))}; give the videos equal names"
        )
    return [
        EvalSample(
            clip=clip,
            reference=_load_video(references_by_name[clip], protocol),
            methods={
                name: _output_of_folder(found.get(clip), protocol)
                for name, found in outputs_by_name.items()
            },
            silent_outputs={
                name: _output_of_folder(found[clip], protocol)
                for name, found in silent_by_name.items()
                if clip in found
            },
        )
        for clip in clips
    ]


def _named_videos(path: Path, name: str = "") -> dict[str, Path]:
    """Returns a folder's videos by name, or one video under `name`, by default its own."""
    if path.is_file():
        return {name or path.stem: path}
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a video or a folder of videos")
    return list_videos(path)


def read_pairs(path: str | os.PathLike, root: str | os.PathLike, order: str) -> list[tuple]:
    """Reads a file list in Wav2Lip's evaluation format.

    Args:
        path: two names per line, separated by a space. In the lists of LRS2, LRS3 and LRW they are
            audio and video without suffix; in those of ReSyncED video and audio, with suffixes.
        root: folder at which the names start.
        order: `audio-video` or `video-audio`.

    Returns:
        (audio path, video path) of each line; a name without suffix gets .mp4.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a line doesn't have two names.
    """
    path = Path(path)
    paths.require_file(path, "a text file of pairs", f"`filelist` {path}")  # not `data_root` too
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        names = line.split()
        if not names:
            continue
        if len(names) != 2:
            raise ValueError(f"{path}, line {number}: two names are needed, not {line!r}")
        first, second = (Path(root, name if Path(name).suffix else f"{name}.mp4") for name in names)
        pairs.append((first, second) if order == "audio-video" else (second, first))
    if not pairs:
        raise ValueError(f"{path} is empty; give a text file of pairs")
    return pairs


def from_pairs(
    pairs: Sequence[tuple[Path, Path]],
    methods: Mapping[str, Callable[[int], Path]],
    protocol: Protocol,
) -> list[EvalSample]:
    """Pairs faces with the audio of other clips: only sync and sharpness can be scored.

    The ground truth is the face's video with its own audio; the baseline `original video` is that
    video with the other audio.

    Args:
        pairs: (audio, video) paths.
        methods: name -> function of a pair's index that returns the generated video.
        protocol: settings of the evaluation.
    """
    return [
        EvalSample(
            clip=f"{index} {audio_path.stem} {video_path.stem}",
            reference=_load_video(video_path, protocol),
            methods={
                name: _output_of_pair(output_path, index, protocol)
                for name, output_path in methods.items()
            },
            baselines=_original_video(audio_path),
            has_ground_truth=False,
            audio_clip=audio_path.stem,
        )
        for index, (audio_path, video_path) in enumerate(pairs)
    ]


def _output_of_pair(
    output_path: Callable[[int], Path], index: int, protocol: Protocol
) -> Callable[[FaceClip], FaceClip]:
    return lambda reference: face_clip.matched_to(output_path(index), reference, protocol)


def _load_clip(clips: ClipDataSource, index: int, region: str) -> Callable[[], FaceClip]:
    return lambda: face_clip.from_clip(clips[index], region)


def from_shards(
    generators: Mapping[str, DubbingGenerator | AnimationGenerator],
    data: str | os.PathLike,
    split: str,
    limit: int,
) -> list[EvalSample]:
    """Runs generators on clips of prepared shards, driven by each clip's own audio.

    Args:
        generators: name -> generator, all of one crop, and all of one kind (dubbing or animation).
        data: folder that `lipsync prepare` wrote.
        split: `train`, `validation` or `test`.
        limit: clips at most; 0 takes all.

    Raises:
        FileNotFoundError, ValueError: there are no such shards, or the generators have different
        crops.
    """
    crop, is_animation = _common_crop_and_mode(generators)
    clips = ClipDataSource(find_dataset(str(data), crop), split)
    check_crop(clips, crop)
    count = min(limit, len(clips)) if limit else len(clips)
    ids_and_transcripts = [_id_and_transcript(clips[i]) for i in range(count)]
    region = CROP_SPECS[crop].region
    return [
        EvalSample(
            clip=name,
            reference=_load_clip(clips, i, region),
            baselines=baselines.static_baselines if is_animation else baselines.mouth_baselines,
            methods=dict(generators),
            silent_outputs={
                name: functools.partial(generator, silent=True)
                for name, generator in generators.items()
            },
            transcript=transcript,
            crop=crop,
        )
        for i, (name, transcript) in enumerate(ids_and_transcripts)
    ]


def _common_crop_and_mode(
    generators: Mapping[str, DubbingGenerator | AnimationGenerator],
) -> tuple[str, bool]:
    """Returns the crop of all generators, and whether they animate images."""
    crops = sorted({generator.crop for generator in generators.values()})
    if len(crops) > 1:
        raise ValueError(
            f"the checkpoints have different crops, {' and '.join(crops)}; evaluate them separately"
        )
    kinds = {generator.is_animation for generator in generators.values()}
    if len(kinds) > 1:
        raise ValueError(
            "some checkpoints dub faces and some animate images; evaluate the two kinds separately"
        )
    return crops[0], kinds.pop()


def _id_and_transcript(clip: Clip) -> tuple[str, str]:
    return clip.clip_id, " ".join(word.text for word in clip.words)


def _load_video(path: Path, protocol: Protocol) -> Callable[[], FaceClip]:
    return lambda: face_clip.from_video(path, protocol)


def _output_of_folder(path: Path | None, protocol: Protocol) -> Callable[[FaceClip], FaceClip]:
    def load(reference: FaceClip) -> FaceClip:
        if path is None:
            raise FileNotFoundError("the method has no video of this name")
        return face_clip.matched_to(path, reference, protocol)

    return load


def _original_video(audio_path: Path) -> Callable[[FaceClip], Mapping[str, FaceClip]]:
    def load(reference: FaceClip) -> Mapping[str, FaceClip]:
        samples, _ = audio.load_from_video_start(audio_path, audio.SAMPLE_RATE)
        return {baselines.ORIGINAL_VIDEO: dataclasses.replace(reference, samples=samples)}

    return load
