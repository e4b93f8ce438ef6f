"""Adapts a trained dubbing model to one person: `lipsync personalize`.

    personalize("me.mp4", "my_model")

writes a run that every option for a checkpoint accepts, and reports the error of the mouth on
seconds of the video that were not trained on, beside that of the model the run began with.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from lipsync_jax import paths, weights
from lipsync_jax.data.clip import CROP_SPECS, Clip
from lipsync_jax.data_prep import builder, extraction
from lipsync_jax.data_prep.settings import NO_SYNC_MODEL, ExtractionSettings
from lipsync_jax.evaluation import face_clip
from lipsync_jax.evaluation.generators import DubbingGenerator
from lipsync_jax.evaluation.sync import dub_sync, video_sync
from lipsync_jax.evaluation.sync_models import FRAME_RATE, SyncModel
from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
from lipsync_jax.media import audio, containers, video_reader
from lipsync_jax.methods.inference import DubbingInference
from lipsync_jax.synthesis import model_info
from lipsync_jax.text import naming_options
from lipsync_jax.training import checkpoint_folder, checkpoints, loop, model_cards, sharding
from lipsync_jax.types import Json

Pathlike = str | os.PathLike

MIN_SECONDS = 30
STEPS = 1000
_HELD_OUT = 0.1  # of the clips for validation, and again for the test
_RATE = 2  # times the base model's learning rate: one person is learnt in few steps
_MIN_SHIFT = 1.5  # frames; a smaller audio offset is left as it is
_REPORT = "personalize.json"


@dataclasses.dataclass(frozen=True)
class Personalization:
    """The result of `personalize`.

    Attributes:
        out: folder of the personalized model, for `--checkpoint-path`.
        seconds: of the face, in clips, by split: train, validation, test.
        sync: the audio offset of the video, in a sentence.
        held_out_mouth_l1: mean absolute error of the mouth on the test clips, in [0, 1], lower is
            better: `base`, `personalized`, and `copy_baseline`, which repeats the first frame.
        base: name of the model that the run began with.
    """

    out: Path
    seconds: dict[str, float]
    sync: str
    held_out_mouth_l1: dict[str, float]
    base: str

    @property
    def improvement(self) -> float:
        """The fraction by which the error fell; negative where it rose."""
        return 1 - self.held_out_mouth_l1["personalized"] / self.held_out_mouth_l1["base"]


def personalize(
    video: Pathlike,
    out: Pathlike,
    *,
    base: Pathlike | None = None,
    sync_model: Pathlike | None = None,
    steps: int = STEPS,
    min_seconds: float = MIN_SECONDS,
    detector: str | Callable = "auto",
    detect_every: int = 2,
    configure: Callable[[ml_collections.ConfigDict], None] = lambda config: None,
) -> Personalization:
    """Trains a dubbing model further on the video of one person; resumes an interrupted run.

    The last clips of the video are held out: validation selects the best weights, and the test
    clips, at the very end, are only measured. Where a confident audio offset is found, the audio is
    shifted before training.

    Args:
        video: a video of one person who speaks, with audio.
        out: folder of the run; holds the data, too.
        base: the checkpoint to begin with; None for the built-in model.
        sync_model: the frozen sync expert, and what measures the offset; None for the built-in one.
        steps: of training.
        min_seconds: least seconds of the video, and of the face in it.
        detector: see `faces.get_detector`.
        detect_every: frames from one detection to the next.
        configure: changes the config of the training before it starts.

    Raises:
        FileNotFoundError: the video or a model is missing.
        ValueError: the video is too short, or shows no face, or has no audio; or `out` has a run
            of another video.
        KeyboardInterrupt: the run was stopped; the same call resumes it.
    """
    video, out = Path(video), Path(out)
    with naming_options({"video": video}):
        containers.check_file(video)
        folder = weights.resolve(base, weights.DUBBING)
        expert = weights.resolve(sync_model, weights.SYNC, "--sync-model")
        if steps < 1:
            raise ValueError(f"`steps`={steps}: give at least 1")
        _check_length(video, min_seconds)
    card = checkpoints.read_model_card(folder)
    checkpoints.load_inference(
        folder, DubbingInference, "which does not dub; give a run of configs/wav2lip.py"
    )
    _claim(out, video)
    settings = ExtractionSettings(
        crop=card["config"]["data"]["crop"],
        detector=detector,
        detect_every=detect_every,
        sync_model=NO_SYNC_MODEL,  # the video as a whole is in sync
    )
    source, sync = _in_sync(video, out, expert, detector, detect_every)
    splits = _split(_clips(source, out, settings, min_seconds))
    seconds = {name: sum(len(c.frames) for c in part) / FRAME_RATE for name, part in splits.items()}
    data = builder.write_clips(splits, out / "data", "person", settings.crop, shards=1)
    config = _config(card["config"], folder, expert, data, steps, len(splits["train"]))
    configure(config)
    loop.train(config, out)
    errors = measure_mouth_l1(splits["test"], {"base": folder, "personalized": out})
    result = Personalization(out, seconds, sync, errors, model_info.short_name(folder))
    _update(out, {**dataclasses.asdict(result), "out": out.name, "steps": steps})
    return result


def measure_mouth_l1(clips: Sequence[Clip], models: dict[str, Path]) -> dict[str, float]:
    """Computes the mean absolute error of the generated mouths of prepared clips.

    Args:
        clips: with their own audio, which drives the model.
        models: name -> checkpoint.

    Returns:
        Name -> error in [0, 1], of MOUTH_FACE96, lower is better; and `copy_baseline`, the error
        of each clip's first frame.
    """
    generators = {name: DubbingGenerator.load(folder) for name, folder in models.items()}
    errors: dict[str, list[float]] = {name: [] for name in (*models, "copy_baseline")}
    for clip in clips:
        whole = face_clip.from_clip(clip).in_memory()
        for name, generator in generators.items():
            size = CROP_SPECS[generator.crop].height
            real = _mouths(whole, size)
            errors[name].append(_l1(_mouths(generator(whole), size), real))
        errors["copy_baseline"].append(_l1(np.repeat(real[:1], len(real), axis=0), real))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def _mouths(clip: face_clip.FaceClip, size: int) -> np.ndarray:
    return crop_mouth(clip.crops(size), MOUTH_FACE96).astype(np.float32) / 255


def _l1(generated: np.ndarray, real: np.ndarray) -> float:
    return np.abs(generated[: len(real)] - real[: len(generated)]).mean()


def _check_length(video: Path, min_seconds: float) -> None:
    samples, _ = audio.load_from_video_start(video, audio.SAMPLE_RATE)  # refuses files without
    seconds, duration = len(samples) / audio.SAMPLE_RATE, video_reader.probe(video).duration
    if duration is not None:  # recordings of browsers do not give it
        seconds = min(float(duration), seconds)
    if seconds < min_seconds:
        raise ValueError(
            f"`video` {video} has {seconds:.0f} s of video with audio; at least {min_seconds:g} s "
            "are needed, some minutes are better: record more of the same person"
        )


def _claim(out: Path, video: Path) -> None:
    """Notes which video a run is of; refuses a folder with a run of another one."""
    digest = paths.sha256(video)
    before = _read(out).get("video_sha256", digest)
    if before != digest:
        raise ValueError(
            f"`out` {out} has a run of another video than {video}; choose another folder, or "
            "remove that one"
        )
    out.mkdir(parents=True, exist_ok=True)
    _update(out, {"video": video.name, "video_sha256": digest})


def _read(out: Path) -> dict[str, Json]:
    file = out / _REPORT
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _update(out: Path, values: dict[str, Json]) -> None:
    text = json.dumps({**_read(out), **values}, indent=1, sort_keys=True)
    paths.write_text(out / _REPORT, text + "\n")


def _in_sync(
    video: Path, out: Path, expert: Path, detector: str | Callable, detect_every: int
) -> tuple[Path, str]:
    """Returns the video with its audio in sync, as far as that is known, and what was measured."""
    shifted, before = out / "data" / "in_sync.mkv", _read(out).get("sync")
    if before:
        return (shifted if shifted.is_file() else video), before
    tracks = video_sync.measure(
        video, SyncModel.load(expert), end=dub_sync.SECONDS, detector=detector,
        detect_every=detect_every, longest_only=True,
    )  # fmt: skip
    longest = video_sync.longest(tracks)
    if longest is None:
        raise ValueError(
            f"`video` {video}: no face was found in the first {int(dub_sync.SECONDS)} s; check "
            "that the video is upright and shows one person who speaks"
        )
    sync, source = dub_sync.format_offset(longest), video
    shift = longest.av_offset is not None and abs(longest.av_offset.subframe) >= _MIN_SHIFT
    if longest.is_confident and shift:
        shifted.parent.mkdir(parents=True, exist_ok=True)
        video_sync.shift_audio(video, shifted, [longest])
        sync, source = f"{sync}; the audio was shifted for training", shifted
    _update(out, {"sync": sync})
    return source, sync


def _clips(source: Path, out: Path, settings: ExtractionSettings, min_seconds: float) -> list[Clip]:
    with extraction.extract([source], out / "data" / "clips", settings=settings) as found:
        clips = [clip for split in set(found.splits.values()) for clip in found.clips(split)]
    seconds = sum(len(clip.frames) for clip in clips) / FRAME_RATE
    # Three clips are the least that give one to each split.
    if seconds < min_seconds / 2 or len(clips) < 3:
        rejected = [item for summary in found.summaries for item in summary.rejected]
        reasons = ", ".join(dict.fromkeys(item.reason for item in rejected)) or "none"
        raise ValueError(
            f"`video` {source.name} gives {seconds:.0f} s of clips with a face and audio; at least "
            f"{min_seconds / 2:g} s are needed (reasons of rejected parts: {reasons})"
        )
    return clips


def _split(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Holds the end of the video out, so that no held-out clip lies between training clips."""
    held = max(1, round(_HELD_OUT * len(clips)))
    return {
        "train": [*clips[: -2 * held]],
        "validation": [*clips[-2 * held : -held]],
        "test": [*clips[-held:]],
    }


def _config(
    base: dict[str, Json], folder: Path, expert: Path, data: Path, steps: int, clips: int
) -> ml_collections.ConfigDict:
    """Returns the base model's config, changed to train on one person."""
    config = ml_collections.ConfigDict(base)
    names = model_cards.network_names(checkpoint_folder.resolve_checkpoint(folder))
    trained = [name for name in ("generator", "discriminator") if name in names]
    with config.unlocked():
        config.init_from = {name: checkpoint_folder.full_name(folder) for name in trained}
        if "discriminator" not in trained:
            config.discriminators = {}  # a new one would first have to learn
        if "expert" in config.frozen:
            config.frozen.expert.checkpoint = checkpoint_folder.full_name(expert)
            config.frozen.expert.min_accuracy = 0.0
    config.data.dir, config.data.dirs = str(data.absolute()), ""
    config.data.batch_size = min(config.data.batch_size, clips)
    sharding.fit_batch_sizes(config)
    config.data.validation_clips = 0
    for block in (config, *config.discriminators.values()):
        block.optimizer.learning_rate *= _RATE
        block.optimizer.warmup_steps = min(20, steps // 10)
        block.optimizer.lr_decay_steps = steps
    config.train.steps = steps
    config.train.log_every = min(20, steps)
    config.train.validate_every = config.train.checkpoint_every = min(100, steps)
    return config
