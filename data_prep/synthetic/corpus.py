"""`lipsync synthetic`: a corpus of rendered talking faces, offline and deterministic in its seed.

The same articulators shape the audio (`articulation`) and the mouth in the frames (`portrait`), so
lips and audio are related as in real speech.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import json
import logging
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax import folder_lock, paths, processes
from lipsync_jax.data.clip import CROP_SPECS, Clip, decode_frames
from lipsync_jax.data_prep import output_folder
from lipsync_jax.data_prep.synthetic import parts, render_clips
from lipsync_jax.media import video_reader
from lipsync_jax.progress import ProgressBar
from lipsync_jax.types import Untyped

SECONDS = 3.0
CLIPS_PER_SPEAKER = 2
_RECIPE = "recipe.json"  # written last
_FORMAT = 1  # increment when the clips of a seed change
_CLIPS_PER_JOB = 8  # clips of one identity that a process renders at a time
_JOBS_AHEAD = 4  # jobs a process that are begun before the clips of the first are written
_MOST_WORKERS = 16
_SHEET_FRAMES = range(10, 66, 4)  # frames on the contact sheet
_LABEL = "clips rendered"  # of the progress

log = logging.getLogger(__name__)


def generate_corpus(
    out: str | os.PathLike,
    clips: int = 160,
    seed: int = 0,
    crop: str = "face96",
    *,
    num_identities: int | None = None,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
) -> Path:
    """Writes the corpus, or returns the finished one.

    Clips last `SECONDS` at 25 frames a second, with audio at 16 kHz. Each identity has
    `CLIPS_PER_SPEAKER` clips in one split; the splits are about 80 % `train`, 10 % `validation` and
    10 % `test`. With `num_identities` all splits share these identities and differ in the
    utterances.

    Args:
        out: folder; the data set is below it. An incomplete data set is written anew.
        clips: number of clips in all splits.
        seed: of all random choices; equal seeds give equal bytes.
        crop: key of `clip.CROP_SPECS`.
        num_identities: number of identities, each in all splits; None for new identities in every
            split.
        workers: processes; when None, one for each core, at most 16. The clips do not depend on the
            number.
        part: (I, N) renders part I of N, a range of identities, into the folder `parts` beside the
            data set; machines that share `out` render one part each. A later call without `part`
            writes the shards, renders what is missing, and removes the parts.

    Returns:
        The folder of the shards, for `loader.find_dataset`; with `part`, the folder `parts`.

    Raises:
        ValueError: too few clips, an unknown crop, `out` is not UTF-8 or contains another corpus,
            or another process renders there; parts are rendered side by side.
    """
    least = 10 * num_identities if num_identities else 3 * CLIPS_PER_SPEAKER
    if clips < least:
        raise ValueError(f"--clips {clips} is too few for three splits; ask for {least}")
    if crop not in CROP_SPECS:
        raise ValueError(f"unknown --crop {crop!r}; choose one of {', '.join(CROP_SPECS)}")
    output_folder.require_utf8(Path(out))
    recipe = {"clips": clips, "seconds": SECONDS, "seed": seed, "crop": crop}
    recipe |= {"identities": num_identities, "format": _FORMAT}
    builder = _builder(Path(out), recipe)
    folder = Path(builder.data_path)
    if _is_finished(folder, recipe):  # which may be on a disk that can't be written to
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    workers = workers or min(processes.usable_cores(), _MOST_WORKERS)
    pool = _processes(min(workers, clips // CLIPS_PER_SPEAKER))
    with _lock(folder.parent, is_part=part is not None):
        if _is_finished(folder, recipe):  # by a process that held the lock
            return folder
        if part is not None:
            with pool as map_fn:
                _render_part(recipe, part, builder.parts_dir, map_fn)
            return builder.parts_dir
        for unfinished in folder.parent.glob(f"*{folder.name}"):
            shutil.rmtree(unfinished)
        from lipsync_jax.data_prep.builder import write_shards

        with pool as builder.map_fn, ProgressBar(_LABEL, clips, log) as builder.bar:
            write_shards(builder)
        paths.write_text(folder / _RECIPE, json.dumps(recipe))
        shutil.rmtree(builder.parts_dir, ignore_errors=True)
        return folder


def _is_finished(folder: Path, recipe: dict) -> bool:
    """Returns whether a folder contains the finished corpus of a recipe.

    Raises:
        ValueError: the folder contains that of another recipe.
    """
    if not (folder / _RECIPE).is_file():
        return False
    stored_recipe = json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
    if stored_recipe != recipe:
        raise ValueError(
            f"{folder} contains a corpus made with {stored_recipe}, not with {recipe}; "
            "choose another folder or delete that one"
        )
    return True


def _lock(folder: Path, is_part: bool) -> contextlib.AbstractContextManager[None]:
    """Returns the lock of a corpus' folder, which processes that render parts share."""

    def in_use(holder: folder_lock.Holder) -> str:
        return (
            f"{folder} is in use: {holder.text} renders clips there. Wait until it ends; only runs "
            "with --part work side by side"
        )

    advice = "render parts side by side only, and join them by one run"
    return folder_lock.hold(folder, in_use, advice, shared=is_part)


def _builder(out: Path, recipe: dict) -> Untyped:
    # Imported here: TFDS is slow to import, and the processes that render do not need it.
    from lipsync_jax.data_prep.builder import TalkingFace, TalkingFaceConfig

    class Synthetic(TalkingFace, skip_registration=True):
        """Rendered talking faces."""

        BUILDER_CONFIGS = (TalkingFaceConfig(name=recipe["crop"]),)

        map_fn = map  # sequential, or the map of a process pool
        bar: ProgressBar | None = None

        @property
        def parts_dir(self) -> Path:
            """Folder of the parts, beside the data set."""
            return Path(self.data_path).parent / "parts"

        def clips(self) -> dict[str, Iterator[Clip]]:
            counted = self.bar.each if self.bar else iter
            return {
                split: counted(
                    _render_identities(recipe, clip_numbers, self.parts_dir, self.map_fn)
                )
                for split, clip_numbers in split_clips(
                    recipe["clips"], recipe["identities"]
                ).items()
            }

    return Synthetic(config=recipe["crop"], data_dir=out, file_format="array_record")


def split_clips(clips: int, num_identities: int | None = None) -> dict[str, dict[int, range]]:
    """Returns split -> index of an identity -> numbers of its clips."""
    if num_identities:
        counts = {
            number: len(range(number, clips, num_identities)) for number in range(num_identities)
        }
        held_out = {number: max(1, round(count / 10)) for number, count in counts.items()}
        return {
            "train": {n: range(2 * held_out[n], count) for n, count in counts.items()},
            "validation": {n: range(held_out[n]) for n in counts},
            "test": {n: range(held_out[n], 2 * held_out[n]) for n in counts},
        }
    speakers = math.ceil(clips / CLIPS_PER_SPEAKER)
    clip_numbers = {
        number: range(min(CLIPS_PER_SPEAKER, clips - number * CLIPS_PER_SPEAKER))
        for number in range(speakers)
    }
    num_held_out = max(1, round(speakers / 10))
    return {
        "train": {n: clip_numbers[n] for n in range(2 * num_held_out, speakers)},
        "validation": {n: clip_numbers[n] for n in range(num_held_out)},
        "test": {n: clip_numbers[n] for n in range(num_held_out, 2 * num_held_out)},
    }


def _render_identities(
    recipe: dict, clip_numbers: dict[int, range], parts_dir: Path, map_fn: Callable
) -> Iterator[Clip]:
    """Yields the clips of some identities, in order; those of `parts_dir` are read."""
    load = functools.partial(parts.clips, parts_dir, parts.key(recipe))
    for clips in map_fn(load, _jobs(recipe, clip_numbers)):
        yield from clips


def _render_part(recipe: dict, part: tuple[int, int], parts_dir: Path, map_fn: Callable) -> None:
    """Renders a range of the corpus' jobs into `parts_dir`."""
    splits = split_clips(recipe["clips"], recipe["identities"])
    jobs = [job for clip_numbers in splits.values() for job in _jobs(recipe, clip_numbers)]
    jobs = list(parts.select(jobs, part))
    parts_dir.mkdir(parents=True, exist_ok=True)
    render, done = functools.partial(parts.render, parts_dir, parts.key(recipe)), 0
    with ProgressBar(_LABEL, sum(len(job[2]) for job in jobs), log) as bar:
        for rendered in map_fn(render, jobs):
            done += rendered
            bar(done)


def _jobs(recipe: dict, clip_numbers: dict[int, range]) -> list[parts.Job]:
    """Returns what processes render at a time: some clips of one identity."""
    return [
        (
            render_clips.identity_seed(recipe["seed"], n),
            f"p{n:04d}",
            wanted[first : first + _CLIPS_PER_JOB],
            recipe["seconds"],
            recipe["crop"],
        )
        for n, wanted in clip_numbers.items()
        for first in range(0, len(wanted), _CLIPS_PER_JOB)
    ]


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Callable]:
    """Yields a `map` over several processes with results in order."""
    if workers <= 1:
        yield map
        return
    # Forking a process in which JAX has started its threads can hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker) as pool:
        try:
            yield functools.partial(_map, pool, workers)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    processes.start_worker()
    cv2.setNumThreads(1)


def _map(
    pool: concurrent.futures.Executor, workers: int, function: Callable, jobs: Iterable[parts.Job]
) -> Iterator[Untyped]:
    """Yields the results of the jobs in order; of those not taken yet there are only a few.

    `Executor.map` begins all jobs: parts are read faster than their clips are written.
    """
    begun = collections.deque[concurrent.futures.Future]()
    try:
        for job in jobs:
            begun.append(pool.submit(function, job))
            if len(begun) > _JOBS_AHEAD * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    except BrokenProcessPool as error:
        raise OSError(
            "a process that renders died, perhaps for lack of memory; give fewer --workers"
        ) from error


def contact_sheet(
    folder: str | os.PathLike, outfile: str | os.PathLike, num_identities: int = 12
) -> Path:
    """Writes an image of some training clips, one row of successive frames per clip."""
    from lipsync_jax.data.loader import ClipDataSource

    clips = ClipDataSource(Path(folder), "train")
    rows = np.linspace(0, len(clips) - 1, min(num_identities, len(clips))).astype(int)
    frames = [decode_frames(clips[int(row)], _SHEET_FRAMES) for row in rows]
    sheet = video_reader.contact_sheet(np.concatenate(frames)[..., ::-1], len(frames[0]))
    video_reader.write_image(outfile, sheet)
    return Path(outfile)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync synthetic`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--clips", type=int, default=160, help="clips of 3 seconds (160)")
    parser.add_argument(
        "--identities", type=int, help="number of identities, each in all splits (new ones in each)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (0)")
    parser.add_argument("--crop", default="face96", help="size of the crops (face96)")
    parser.add_argument("--workers", type=int, help="processes (as many as there are CPUs)")
    parser.add_argument(
        "--part",
        metavar="I/N",
        help="render part I of N only, e.g. 3/8, on one of N machines that share --out; a last run "
        "without --part joins the parts",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the corpus and a contact sheet, or renders a part of the corpus."""
    part = parts.parse(arguments.part) if arguments.part else None
    kept = "the same command renders the clips again"
    if part:
        kept = "what is rendered is kept, and the same command goes on from there"
    with output_folder.explained(arguments.out, kept):
        folder = generate_corpus(
            arguments.out,
            arguments.clips,
            arguments.seed,
            arguments.crop,
            num_identities=arguments.identities,
            workers=arguments.workers,
            part=part,
        )
    if part:
        print(f"part   {arguments.part} in {folder}; join the parts by a run without --part")
        return 0
    sheet = contact_sheet(folder, arguments.out / f"contact_sheet_{arguments.crop}.png")
    print(f"clips  {folder}\nimage  {sheet}")
    return 0
