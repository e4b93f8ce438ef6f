"""`lipsync evaluate`: figures others can compare with, and a report."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync_jax.cli._terminal import quiet
from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.evaluation.landmarks import Landmarks
    from lipsync_jax.evaluation.lip_reading import Reader
    from lipsync_jax.evaluation.protocol import Protocol
    from lipsync_jax.evaluation.samples import Task
    from lipsync_jax.evaluation.sync_models import Judge

ORDERS = ("audio-video", "video-audio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync evaluate`."""
    what = parser.add_argument_group("what to evaluate, one of")
    what.add_argument("--videos", type=Path, metavar="DIR", help="generated videos")
    what.add_argument("--compare", type=Path, nargs="+", metavar="DIR",
                      help="several folders of generated videos: one table, and videos side by "
                      "side")  # fmt: skip
    what.add_argument("--checkpoint_path", "--checkpoint-path", type=Path, nargs="+", metavar="DIR",
                      help="generators, with --data or --filelist")  # fmt: skip
    references = parser.add_argument_group("beside what")
    references.add_argument("--references", type=Path, metavar="DIR",
                        help="the true videos, of the same names (for --videos and "
                        "--compare)")  # fmt: skip
    references.add_argument("--silent", type=Path, nargs="+", metavar="DIR",
                        help="the same videos generated from silence, a folder a method: adds "
                        "LipLeak")  # fmt: skip
    references.add_argument("--data", type=Path, metavar="DIR", help="prepared shards")
    references.add_argument("--split", default="test", help="of the shards (default: test)")
    references.add_argument("--filelist", type=Path, metavar="FILE",
                        help="pairs of a voice and a face in Wav2Lip's format")  # fmt: skip
    references.add_argument("--data_root", "--data-root", type=Path, default=Path(), metavar="DIR",
                        help="where the list's names start")  # fmt: skip
    references.add_argument("--order", choices=ORDERS, default=ORDERS[0],
                        help="of a line's names; video-audio in the lists of "
                        "ReSyncED")  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument("--judge", type=Path, metavar="DIR",
                     help="who judges sync: what `lipsync convert syncnet_v2.model` wrote gives "
                     "LSE-D and LSE-C, a run of configs/sync_expert.py other figures")  # fmt: skip
    how.add_argument("--protocol", default="face-2",
                     help="face-2 (default), wav2lip-lrs-2, face-1 or wav2lip-lrs-1")  # fmt: skip
    how.add_argument("--landmarks", choices=("auto", "dlib68", "none"), default="auto",
                     help="LMD, ACD, blinks and LipLeak need the extra `landmarks`; auto takes it "
                     "if it is there")  # fmt: skip
    how.add_argument("--transcripts", type=Path, metavar="FILE",
                     help="what is said: JSON {clip: text}, or a folder of .align files; shards "
                     "bring their own")  # fmt: skip
    reads = how.add_mutually_exclusive_group()
    reads.add_argument("--lip_reader", "--lip-reader", type=Path, metavar="DIR",
                       help="a run of configs/lip_reader.py: adds WER")  # fmt: skip
    reads.add_argument("--hypotheses", type=Path, metavar="FILE",
                       help="JSON {clip: text} or {method: {clip: text}} of any lip reader: adds "
                       "WER")  # fmt: skip
    how.add_argument("--limit", type=int, default=0, metavar="N", help="the first N clips only")
    how.add_argument("--show", type=int, default=4, metavar="N",
                     help="clips in the report (default: 4)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.json and report.html")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes result and report, prints the table; returns 0, or 1 if no clip was scored.

    Raises:
        FileNotFoundError, ValueError: an option or an input can't be used; before slow work.
    """
    from lipsync_jax.evaluation import protocol, results, transcripts
    from lipsync_jax.evaluation.evaluator import Scorer
    from lipsync_jax.evaluation.lip_reading import Reader
    from lipsync_jax.evaluation.report import html, side_by_side
    from lipsync_jax.evaluation.sync_models import Judge

    quiet()
    chosen = protocol.find(arguments.protocol)
    tasks = _tasks(arguments, chosen)
    tasks = tasks[: arguments.limit] if arguments.limit else tasks
    names = [*dict.fromkeys(name for task in tasks for name in task.methods)]
    tasks = _with_words(arguments, tasks)
    rates = None
    if arguments.hypotheses is not None:
        said = {task.clip: task.said for task in tasks}
        rates = transcripts.error_rates(said, arguments.hypotheses, names)
    judge = Judge.load(arguments.judge) if arguments.judge else None
    reader = Reader.load(arguments.lip_reader) if arguments.lip_reader else None
    for path, network in ((arguments.judge, judge), (arguments.lip_reader, reader)):
        _check_crops(path, network, tasks[0].geometry)
    scorer = Scorer(chosen, judge, _landmarks(arguments.landmarks), reader)
    arguments.out.mkdir(parents=True, exist_ok=True)
    result, shown = results.evaluate(
        tasks,
        scorer,
        words=rates,
        show=arguments.show,
        log=lambda line: print(printable(line), file=sys.stderr),
    )
    results.write(arguments.out / "results.json", result)
    title = f"Evaluation of {', '.join(names)}"
    html.write(arguments.out / "report.html", result, shown, title)
    print(results.table(result))
    for line in _left_out(result):
        print(printable(line))
    if arguments.compare:
        folder = arguments.out / "side_by_side"
        for clip, reason in side_by_side.write(folder, tasks):
            print(printable(f"{clip}: no video side by side, {reason}"))
    out = printable(arguments.out)
    print(f"wrote {out}/results.json and {out}/html.html")
    scored = any(result["methods"].get(name, {}).get("clips") for name in names)
    return 0 if scored else 1


def _tasks(arguments: argparse.Namespace, chosen: "Protocol") -> "list[Task]":
    from lipsync_jax.evaluation import generators, samples

    given = [name for name in ("videos", "compare", "checkpoint_path") if getattr(arguments, name)]
    if len(given) != 1:
        raise ValueError("give one of --videos, --compare and --checkpoint_path")
    if not arguments.checkpoint_path:
        folders = arguments.compare or [arguments.videos]
        if arguments.references is None:
            raise ValueError("--references is missing; name the folder of the true videos")
        if arguments.silent and len(arguments.silent) != len(folders):
            raise ValueError("--silent needs one folder for each folder of videos")
        names = _names(folders)
        silent = dict(zip(names, arguments.silent, strict=True)) if arguments.silent else {}
        methods = dict(zip(names, folders, strict=True))
        return samples.from_folders(methods, arguments.references, chosen, silent)
    if (arguments.data is None) == (arguments.filelist is None):
        raise ValueError("--checkpoint_path needs --data (shards) or --filelist (pairs), one")
    names = _names(arguments.checkpoint_path)
    checkpoints = dict(zip(names, arguments.checkpoint_path, strict=True))
    if arguments.data is not None:
        drawers = {name: generators.load(path) for name, path in checkpoints.items()}
        return samples.from_shards(drawers, arguments.data, arguments.split, arguments.limit)
    pairs = samples.read_pairs(arguments.filelist, arguments.data_root, arguments.order)
    pairs = pairs[: arguments.limit] if arguments.limit else pairs
    makers = {
        name: _generator(path, pairs, arguments.out / "videos" / name)
        for name, path in checkpoints.items()
    }
    return samples.from_pairs(pairs, makers, chosen)


def _with_words(arguments: argparse.Namespace, tasks: list) -> list:
    """The clips with their transcripts, where something reads lips."""
    from lipsync_jax.evaluation import transcripts

    reads = arguments.lip_reader or arguments.hypotheses
    if arguments.transcripts is None:
        if reads and not any(task.said for task in tasks):
            raise ValueError("WER needs to know what is said; give --transcripts")
        return tasks
    if not reads:
        raise ValueError("--transcripts needs --lip_reader or --hypotheses; give one of them")
    said = transcripts.transcripts(arguments.transcripts)
    names = [task.voice or task.clip for task in tasks]
    if not any(transcripts.of_clip(said, name) for name in names):
        raise ValueError(
            f"transcripts {arguments.transcripts}: none is of a clip such as {names[0]}; name them "
            "like the clips"
        )
    return [
        dataclasses.replace(task, said=transcripts.of_clip(said, name))
        for task, name in zip(tasks, names, strict=True)
    ]


def _check_crops(path: Path, network: "Judge | Reader | None", geometry: str) -> None:
    """Refuses shards whose crops show the face in another place than a network was trained on."""
    from lipsync_jax.data.clip import GEOMETRIES

    if not geometry or not (learnt := network.geometry if network else ""):
        return
    shown, known = GEOMETRIES[geometry], GEOMETRIES[learnt]
    if (shown.cut, shown.part) != (known.cut, known.part):
        raise ValueError(
            f"{path} was trained on crops of {learnt} and these shards are {geometry}; leave it "
            "out, or generate videos and give their folder as --videos"
        )


def _generator(
    checkpoint: Path, pairs: Sequence[tuple[Path, Path]], folder: Path
) -> Callable[[int], Path]:
    """Generates the video of a line when it is asked for, as NUMBER.mp4."""
    from lipsync_jax.synthesis.dubbing import Synthesizer

    synthesizer = Synthesizer.load(checkpoint)

    def made(number: int) -> Path:
        sound, face = pairs[number]
        outfile = folder / f"{number}.mp4"
        synthesizer.generate(face, sound, outfile)
        return outfile

    return made


def _names(folders: Sequence[Path]) -> list[str]:
    """Short names that differ: the folders' own, or with their parents'."""
    for length in (1, 2, 3):
        parts = (folder.absolute().parts[-length:] for folder in folders)
        names = ["_".join(some).replace("/", "_") for some in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError("two of the folders are the same; give each once")


def _landmarks(wanted: str) -> "Landmarks | None":
    from lipsync_jax.evaluation import landmarks

    fault = landmarks.missing()
    if wanted == "dlib68" and fault:
        raise ValueError(f"--landmarks dlib68: {fault}")
    if wanted == "none" or fault:
        if wanted == "auto":
            print(f"without LMD, ACD, blinks and LipLeak: {fault}", file=sys.stderr)
        return None
    return landmarks.Landmarks()


def _left_out(result: Mapping) -> list[str]:
    lines = [f"left out: {each['clip']}, {each['reason']}" for each in result["skipped"]]
    for name in result["order"]:
        made = result["methods"][name].get("success")
        if made and made["failed"]:
            share = "-" if made["rate"] is None else f"{made['rate']:.1%}"
            lines.append(f"{name}: {share} of its clips could be used")
            lines += [f"  {each['clip']}: {each['reason']}" for each in made["failed"]]
    return lines
