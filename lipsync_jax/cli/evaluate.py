"""`lipsync evaluate`: metrics of videos under a protocol, with a report, or a user study."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax import paths, weights
from lipsync_jax.cli import _parser, _preference
from lipsync_jax.cli._terminal import quiet
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable
from lipsync_jax.types import Json

if TYPE_CHECKING:
    from lipsync_jax.evaluation.evaluator import Evaluator
    from lipsync_jax.evaluation.landmarks import Landmarks
    from lipsync_jax.evaluation.lip_points import LipLandmarks
    from lipsync_jax.evaluation.lip_reading import LipReadingModel
    from lipsync_jax.evaluation.protocol import Protocol
    from lipsync_jax.evaluation.results import ReportSample
    from lipsync_jax.evaluation.samples import EvalSample
    from lipsync_jax.evaluation.sync_models import SyncModel

_NONE = "none"  # --sync-model none
FILELIST_ORDERS = ("audio-video", "video-audio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync evaluate`."""
    generated = parser.add_argument_group("generated videos, one of")
    generated.add_argument("--videos", type=Path, metavar="PATH",
                           help="generated videos: a folder, or one video")  # fmt: skip
    generated.add_argument("--compare", type=Path, nargs="+", metavar="PATH",
                           help="several such folders or videos: one table, and videos side by "
                           "side")  # fmt: skip
    generated.add_argument("--checkpoint-path", type=_parser.checkpoint, nargs="+",
                           metavar="DIR", help="generators, with --data or --filelist (default: "
                           "the built-in model, see `lipsync models`)")  # fmt: skip
    _preference.add_arguments(parser)
    references = parser.add_argument_group("references")
    references.add_argument("--references", type=Path, metavar="PATH",
                            help="the real videos, with the names of the generated ones, or the "
                            "one real video (for --videos, --compare)")  # fmt: skip
    references.add_argument("--silent-videos", type=Path, nargs="+", metavar="DIR",
                            help="the videos generated from digital silence, one folder per "
                            "method: adds LipLeak")  # fmt: skip
    references.add_argument("--data", type=Path, metavar="DIR", help="prepared shards")
    references.add_argument("--split", default="test", help="split of the shards (default: test)")
    references.add_argument("--filelist", type=Path, metavar="FILE",
                            help="pairs of audio and face in Wav2Lip's format")  # fmt: skip
    references.add_argument("--data-root", type=Path, default=Path(), metavar="DIR",
                            help="folder at which the names of the file list start")  # fmt: skip
    references.add_argument("--filelist-order", choices=FILELIST_ORDERS, default=FILELIST_ORDERS[0],
                            help="order of the names in a line; video-audio in the lists of "
                            "ReSyncED")  # fmt: skip
    how = parser.add_argument_group("metrics")
    how.add_argument("--sync-model", type=_parser.checkpoint, metavar="DIR",
                     help="the folder that `lipsync convert syncnet_v2.model` wrote gives LSE-D "
                     "and LSE-C; a run of configs/sync_expert.py Sync-D and Sync-C (default: "
                     "the built-in sync model if there is one; none: no sync metrics)")  # fmt: skip
    how.add_argument("--protocol", default="face-2",
                     help="face-2 (default), wav2lip-lrs-2, face-1 or wav2lip-lrs-1")  # fmt: skip
    how.add_argument("--landmarks", choices=("auto", "dlib68", "none"), default="auto",
                     help="LMD, ACD, blinks and LipLeak need the extra `landmarks`; auto uses the "
                     "extra if it is installed")  # fmt: skip
    how.add_argument("--lip-face", type=Path, metavar="FILE",
                     help="image or video of any frontal face, onto which crops of lips (shards "
                     "of lips64) are pasted to find their landmarks: adds LMD")  # fmt: skip
    how.add_argument("--transcripts", type=Path, metavar="FILE",
                     help="JSON {clip: text}, or a folder of .align files; shards contain their "
                     "own")  # fmt: skip
    lip_reading = how.add_mutually_exclusive_group()
    lip_reading.add_argument("--lip-reader", type=_parser.checkpoint, metavar="DIR",
                             help="a run of configs/lip_reader.py: adds WER")  # fmt: skip
    lip_reading.add_argument("--hypotheses", type=Path, metavar="FILE",
                             help="JSON {clip: text} or {method: {clip: text}} of any lip reader: "
                             "adds WER")  # fmt: skip
    how.add_argument("--limit", type=_parser.count, default=0, metavar="N",
                     help="the first N clips only")  # fmt: skip
    how.add_argument("--report-clips", type=_parser.count, default=4, metavar="N",
                     help="clips shown in the report (default: 4)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.json and report.html, or the study")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes result and report, prints the table; returns 1 if no clip was scored.

    Raises:
        FileNotFoundError, ValueError: an option or an input can't be used; raised before slow work.
    """
    from lipsync_jax.evaluation import protocol, results, transcripts, verdict

    quiet()
    if arguments.preference or arguments.answers:
        return _run_study(arguments)
    if arguments.question:
        raise ValueError("--question is of the user study; give --preference too")
    chosen = protocol.get(arguments.protocol)
    eval_samples = _eval_samples(arguments, chosen)
    eval_samples = eval_samples[: arguments.limit] if arguments.limit else eval_samples
    names = [*dict.fromkeys(name for sample in eval_samples for name in sample.methods)]
    eval_samples = _with_transcripts(arguments, eval_samples)
    rates = None
    if arguments.hypotheses is not None:
        transcripts_by_clip = {sample.clip: sample.transcript for sample in eval_samples}
        rates = transcripts.error_rates(transcripts_by_clip, arguments.hypotheses, names)
    evaluator, model_credits = _evaluator(arguments, chosen, eval_samples[0].crop)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ProgressBar("clips", len(eval_samples)) as bar:
        result, report_samples = results.evaluate(
            eval_samples,
            evaluator,
            word_errors=rates,
            report_clips=arguments.report_clips,
            on_clip=bar,
            log=lambda line: print(printable(line), file=sys.stderr),
        )
    result["models"] = model_credits
    result["lip_face"] = arguments.lip_face.name if arguments.lip_face else None
    verdict.add_verdict(result)
    _report(arguments, result, report_samples, f"Evaluation of {', '.join(names)}")
    if arguments.compare:
        _compare(arguments, eval_samples)
    out = printable(arguments.out)
    print(f"wrote {out}/results.json and {out}/report.html")
    for line in result["verdict"]:
        print(printable(line))
    scored = any(result["methods"].get(name, {}).get("clips") for name in names)
    return 0 if scored else 1


def _run_study(arguments: argparse.Namespace) -> int:
    """Makes the page of a user study, or evaluates its answers."""
    given = [arguments.videos, arguments.compare, arguments.checkpoint_path]
    if any(given) or arguments.data or arguments.filelist:
        raise ValueError(
            "--preference and --answers are of the user study; leave --videos, --compare, "
            "--checkpoint-path, --data and --filelist out"
        )
    return _preference.run(arguments, _names(arguments.preference or []))


def _evaluator(
    arguments: argparse.Namespace, chosen: "Protocol", crop: str
) -> "tuple[Evaluator, list[str]]":
    """Loads what computes the metrics; returns the credits of all models, too."""
    from lipsync_jax.evaluation.evaluator import Evaluator
    from lipsync_jax.evaluation.lip_reading import LipReadingModel
    from lipsync_jax.evaluation.sync_models import SyncModel
    from lipsync_jax.synthesis import model_info

    sync_folder = _sync_folder(arguments.sync_model, crop)
    sync_model = SyncModel.load(sync_folder) if sync_folder else None
    lip_reader = LipReadingModel.load(arguments.lip_reader) if arguments.lip_reader else None
    for path, network in ((sync_folder, sync_model), (arguments.lip_reader, lip_reader)):
        _check_crops(path, network, crop)
    used = [*_checkpoints(arguments), *filter(None, (sync_folder, arguments.lip_reader))]
    model_credits = [model_info.credit(folder) for folder in used]
    found = _landmarks(arguments.landmarks)
    lip_landmarks = _lip_landmarks(arguments.lip_face, crop, found)
    return Evaluator(chosen, sync_model, found, lip_reader, lip_landmarks), model_credits


def _report(
    arguments: argparse.Namespace,
    result: Mapping[str, Json],
    report_samples: "Sequence[ReportSample]",
    title: str,
) -> None:
    """Writes a result as JSON and as a page, and prints its table."""
    from lipsync_jax.evaluation import results, verdict
    from lipsync_jax.evaluation.report import html

    results.write(arguments.out / "results.json", result)
    html.write(arguments.out / "report.html", result, report_samples, title)
    unreliable = verdict.unreliable_metrics(result)
    arguments.json.update(
        results=arguments.out / "results.json",
        report=arguments.out / "report.html",
        **results.summary(result, unreliable),
        models=result["models"],
        verdict=result["verdict"],
        warnings=[],
    )
    print(results.table(result, unreliable))
    for credit in result["models"]:
        print(credit)
    for line in _skipped_lines(result):
        print(printable(line))


def _compare(arguments: argparse.Namespace, eval_samples: "Sequence[EvalSample]") -> None:
    """Writes videos of the methods beside each other."""
    from lipsync_jax.evaluation.report import side_by_side

    folder = arguments.out / "side_by_side"
    missing = side_by_side.write(folder, eval_samples)
    warnings = [f"{clip}: no side-by-side video, {reason}" for clip, reason in missing]
    arguments.json.update(side_by_side=folder, warnings=warnings)
    for warning in warnings:
        print(printable(warning))


def _eval_samples(arguments: argparse.Namespace, chosen: "Protocol") -> "list[EvalSample]":
    from lipsync_jax.evaluation import generators, samples

    given = [name for name in ("videos", "compare", "checkpoint_path") if getattr(arguments, name)]
    if len(given) > 1 or not (given or arguments.data or arguments.filelist):
        raise ValueError(
            "give one of --videos, --compare and --checkpoint-path, or --data or --filelist for "
            "the built-in model"
        )
    if arguments.videos or arguments.compare:
        folders = arguments.compare or [arguments.videos]
        if arguments.references is None:
            raise ValueError(
                "--references is missing; give the folder of the real videos, or the one real video"
            )
        if arguments.silent_videos and len(arguments.silent_videos) != len(folders):
            raise ValueError("--silent-videos needs one folder for each folder of videos")
        names = _names(folders)
        silent = dict(zip(names, arguments.silent_videos or [], strict=False))
        methods = dict(zip(names, folders, strict=True))
        return samples.from_folders(methods, arguments.references, chosen, silent)
    if (arguments.data is None) == (arguments.filelist is None):
        raise ValueError("--checkpoint-path needs either --data (shards) or --filelist (pairs)")
    folders = _checkpoints(arguments)
    checkpoints = dict(zip(_names(folders), folders, strict=True))
    if arguments.data is not None:
        loaded = {name: generators.load(path) for name, path in checkpoints.items()}
        return samples.from_shards(loaded, arguments.data, arguments.split, arguments.limit)
    pairs = samples.read_pairs(arguments.filelist, arguments.data_root, arguments.filelist_order)
    pairs = pairs[: arguments.limit] if arguments.limit else pairs
    output_paths = {
        name: _generator(path, pairs, arguments.out / "videos" / name)
        for name, path in checkpoints.items()
    }
    return samples.from_pairs(pairs, output_paths, chosen)


def _checkpoints(arguments: argparse.Namespace) -> list[Path]:
    """Returns the generators' folders: those given, or the built-in one; none for videos."""
    if arguments.videos or arguments.compare:
        return []
    return arguments.checkpoint_path or [weights.resolve(None, weights.DUBBING)]


def _sync_folder(given: Path | None, crop: str) -> Path | None:
    """Returns the sync model's folder: the given one, or the built-in one if its crops fit."""
    from lipsync_jax.training import checkpoints

    if given is not None:
        return None if str(given) == _NONE else given
    name = weights.default(weights.SYNC)
    if name is None:
        return None
    trained_crop = checkpoints.read_model_card(weights.path(name))["config"]["data"]["crop"]
    if crop and not _crops_fit(crop, trained_crop):
        print(
            f"without sync metrics: the built-in model takes {trained_crop} crops, and these "
            f"shards have {crop} crops; give another model as --sync-model",
            file=sys.stderr,
        )
        return None
    return weights.path(name)


def _with_transcripts(arguments: argparse.Namespace, eval_samples: list) -> list:
    """Returns the samples with their transcripts, if a lip reader is given."""
    from lipsync_jax.evaluation import transcripts

    has_lip_reading = arguments.lip_reader or arguments.hypotheses
    if arguments.transcripts is None:
        if has_lip_reading and not any(sample.transcript for sample in eval_samples):
            raise ValueError("WER needs the transcripts of the clips; give --transcripts")
        return eval_samples
    if not has_lip_reading:
        raise ValueError("--transcripts needs --lip-reader or --hypotheses; give one of them")
    transcripts_by_clip = transcripts.load_transcripts(arguments.transcripts)
    names = [sample.audio_clip or sample.clip for sample in eval_samples]
    if not any(transcripts.transcript_of_clip(transcripts_by_clip, name) for name in names):
        raise ValueError(
            f"--transcripts {arguments.transcripts}: no transcript has the name of a clip, such as "
            f"{names[0]}; name the transcripts like the clips"
        )
    return [
        dataclasses.replace(
            sample, transcript=transcripts.transcript_of_clip(transcripts_by_clip, name)
        )
        for sample, name in zip(eval_samples, names, strict=True)
    ]


def _crops_fit(crop: str, trained_crop: str) -> bool:
    from lipsync_jax.data.clip import CROP_SPECS

    data_spec, trained_spec = CROP_SPECS[crop], CROP_SPECS[trained_crop]
    return (data_spec.method, data_spec.region) == (trained_spec.method, trained_spec.region)


def _check_crops(
    path: Path | None, network: "SyncModel | LipReadingModel | None", crop: str
) -> None:
    """Raises ValueError for shards whose crops a network was not trained on."""
    if not crop or not (trained_crop := network.crop if network else ""):
        return
    if not _crops_fit(crop, trained_crop):
        raise ValueError(
            f"{path} was trained on {trained_crop} crops, and these shards have {crop} crops; "
            "leave this model out, or generate videos and give their folder as --videos"
        )


def _generator(
    checkpoint: Path, pairs: Sequence[tuple[Path, Path]], folder: Path
) -> Callable[[int], Path]:
    """Returns a function that generates the video of a pair by its number, as NUMBER.mp4."""
    from lipsync_jax.synthesis.dubbing import LipSyncPipeline

    pipeline = LipSyncPipeline.load(checkpoint)

    def generate(index: int) -> Path:
        audio, face = pairs[index]
        outfile = folder / f"{index}.mp4"
        pipeline.generate(face, audio, outfile)
        return outfile

    return generate


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns unique short names: the folders' own, or with their parents'."""
    for length in (1, 2, 3):
        parts = (folder.absolute().parts[-length:] for folder in folders)
        names = ["_".join(some).replace("/", "_") for some in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError("two of the folders are the same; give each folder once")


def _landmarks(wanted: str) -> "Landmarks | None":
    from lipsync_jax.evaluation import landmarks

    missing = landmarks.missing_packages()
    if wanted == "dlib68" and missing:
        raise ValueError(f"--landmarks dlib68: {missing}")
    if wanted == "none" or missing:
        if wanted == "auto":
            print(f"without LMD, ACD, blinks and LipLeak: {missing}", file=sys.stderr)
        return None
    return landmarks.Landmarks()


def _lip_landmarks(
    path: Path | None, crop: str, landmark_model: "Landmarks | None"
) -> "LipLandmarks | None":
    """Returns the landmarks of crops of lips; None for other crops, or without a face."""
    from lipsync_jax.data.clip import CROP_SPECS
    from lipsync_jax.evaluation.lip_points import LipLandmarks
    from lipsync_jax.media import video_reader

    of_lips = bool(crop) and CROP_SPECS[crop].region == "lips"
    if path is None:
        if of_lips and landmark_model:
            print(
                "without LMD: crops of lips show no face; give an image or video of any frontal "
                "face as --lip-face",
                file=sys.stderr,
            )
        return None
    if not of_lips:
        shown = f"these shards have {crop} crops" if crop else "these are videos of faces"
        raise ValueError(f"--lip-face {path}: it is for crops of lips, and {shown}; leave it out")
    if landmark_model is None:
        raise ValueError("--lip-face needs landmarks; pip install 'lipsync_jax[landmarks]'")
    paths.require_file(path, "an image or a video")
    image = next(video_reader.read_frames(path)).image
    try:
        return LipLandmarks(landmark_model, image[..., ::-1])
    except ValueError as error:
        raise ValueError(f"--lip-face {path}: {error}") from error


def _skipped_lines(result: Mapping) -> list[str]:
    lines = [f"left out: {each['clip']}, {each['reason']}" for each in result["skipped"]]
    for name in result["order"]:
        success = result["methods"][name].get("success")
        if success and success["failed"]:
            rate = "-" if success["rate"] is None else f"{success['rate']:.1%}"
            lines.append(f"{name}: {rate} of the clips could be scored")
            lines += [f"  {each['clip']}: {each['reason']}" for each in success["failed"]]
    return lines
