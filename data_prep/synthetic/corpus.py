"""A corpus of rendered people who talk: made offline, the same for the same seed.

The same articulators shape the sound (`articulation`) and the mouth in the picture (`portrait`),
so what a network can learn about lips from real speech it can learn here, in miniature.
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import logging
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames
from lipsync_jax.data_prep.synthetic import render_clips
from lipsync_jax.data_prep.synthetic.articulation import SAMPLE_RATE, Voice, speak
from lipsync_jax.data_prep.synthetic.face import Identity, Portrait
from lipsync_jax.data_prep.synthetic.face.portrait import FRAME
from lipsync_jax.media import audio, video_reader
from lipsync_jax.progress import Countdown

SECONDS = 3.0
CLIPS_PER_SPEAKER = 2
_FORMAT = 1  # of what a seed gives; raise it when the people or their speech change
_AT_ONCE = 8  # clips of a person that one process films
_SHOWN = range(10, 66, 4)  # frames on the contact sheet
_CORPUS, _VIDEO, _SPEECH = range(3)  # independent streams of one seed

log = logging.getLogger(__name__)


def make(
    out: str | os.PathLike,
    clips: int = 160,
    seed: int = 0,
    geometry: str = "face96",
    *,
    people: int | None = None,
    workers: int | None = None,
) -> Path:
    """Writes the corpus, or finds it finished.

    Clips last `SECONDS` at 25 frames a second, with sound at 16 kHz. Each person has
    `CLIPS_PER_SPEAKER` of them and is in one split only, which are about 80 % `train`, 10 %
    `validation` and 10 % `test`. With `people` these few have all the clips among them, and the
    splits differ in what is said, not in who says it.

    Args:
        out: folder; the data set is somewhere below it. What an interrupted run left is redone.
        clips: how many in all.
        seed: of everything; the same seed gives the same bytes.
        geometry: key of `records.GEOMETRIES`.
        people: how many, each in all splits; None for new people in every split.
        workers: processes; the number of CPUs when None. The clips don't depend on it.

    Returns:
        The folder of the shards, which `loader.find_dataset` accepts.

    Raises:
        ValueError: too few clips, an unknown geometry, or `out` holds another corpus.
    """
    least = 10 * people if people else 3 * CLIPS_PER_SPEAKER
    if clips < least:
        raise ValueError(f"{clips} clips are too few for three splits; ask for {least}")
    if geometry not in GEOMETRIES:
        raise ValueError(
            f"no synthetic faces of geometry {geometry!r}; choose one of {', '.join(GEOMETRIES)}"
        )
    recipe = {"clips": clips, "seconds": SECONDS, "seed": seed, "geometry": geometry}
    recipe |= {"people": people, "format": _FORMAT}
    builder = _builder(Path(out), recipe)
    folder = Path(builder.data_path)
    note = folder / "recipe.json"
    if note.is_file():
        made = json.loads(note.read_text(encoding="utf-8"))
        if made != recipe:
            raise ValueError(
                f"{folder} holds a corpus made as {made}, not as {recipe}; choose another folder "
                "or delete that one"
            )
        return folder
    for unfinished in folder.parent.glob(f"*{folder.name}"):
        shutil.rmtree(unfinished)
    from lipsync_jax.data_prep.builder import write

    with _processes(min(workers or _cpus(), clips // CLIPS_PER_SPEAKER)) as builder.each:
        write(builder)
    note.write_text(json.dumps(recipe), encoding="utf-8")
    return folder


def _builder(out: Path, recipe: dict):
    # Here: TFDS is slow to import, and processes that render don't need it.
    from lipsync_jax.data_prep.builder import TalkingFace, TalkingFaceConfig

    class Synthetic(TalkingFace, skip_registration=True):
        """Rendered people who talk."""

        BUILDER_CONFIGS = (TalkingFaceConfig(name=recipe["geometry"]),)

        each = map  # how people are filmed one after another, or at once

        def clips(self) -> dict[str, Iterator[Clip]]:
            count, done = Countdown("clips rendered", recipe["clips"], log.info), itertools.count(1)

            def counted(clips: Iterator[Clip]) -> Iterator[Clip]:
                for clip in clips:
                    count(next(done))
                    yield clip

            return {
                split: counted(_film(recipe, takes, self.each))
                for split, takes in splits(recipe["clips"], recipe["people"]).items()
            }

    return Synthetic(config=recipe["geometry"], data_dir=out, file_format="array_record")


def splits(clips: int, people: int | None = None) -> dict[str, dict[int, range]]:
    """Split -> number of each of its people -> numbers of their takes."""
    if people:
        takes = {number: len(range(number, clips, people)) for number in range(people)}
        held = {number: max(1, round(count / 10)) for number, count in takes.items()}
        return {
            "train": {n: range(2 * held[n], count) for n, count in takes.items()},
            "validation": {n: range(held[n]) for n in takes},
            "test": {n: range(held[n], 2 * held[n]) for n in takes},
        }
    speakers = math.ceil(clips / CLIPS_PER_SPEAKER)
    takes = {
        number: range(min(CLIPS_PER_SPEAKER, clips - number * CLIPS_PER_SPEAKER))
        for number in range(speakers)
    }
    held = max(1, round(speakers / 10))
    return {
        "train": {n: takes[n] for n in range(2 * held, speakers)},
        "validation": {n: takes[n] for n in range(held)},
        "test": {n: takes[n] for n in range(held, 2 * held)},
    }


def _film(recipe: dict, takes: dict[int, range], each: Callable) -> Iterator[Clip]:
    """The clips of some people, in their order."""
    jobs = [
        (_person(recipe["seed"], n), f"p{n:04d}", part, recipe["seconds"], recipe["geometry"])
        for n, wanted in takes.items()
        for part in (wanted[first : first + _AT_ONCE] for first in range(0, len(wanted), _AT_ONCE))
    ]
    for filmed in each(render_clips.film_speaker, *zip(*jobs, strict=True)):
        yield from filmed


def _person(seed: int, number: int) -> np.random.SeedSequence:
    # By its own key each person is the same however many there are.
    return np.random.SeedSequence(seed, spawn_key=(_CORPUS, number))


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[Callable]:
    """A `map` over several processes, its results in order."""
    if workers <= 1:
        yield map
        return
    # Forking a process in which JAX has started its threads can hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cpus() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 16)


def write_video(
    path: str | os.PathLike,
    seconds: float = 4.0,
    seed: int = 10,
    *,
    size: int = 384,
    person: int | None = None,
) -> Path:
    """Writes a video of somebody talking, with their own sound, saying what no corpus has.

    Args:
        path: .mp4, .mov or .mkv.
        seconds: its length, in whole frames of 1/25 s.
        seed: of everything.
        size: rows and columns.
        person: number of somebody in the corpus of that seed; None for a person no corpus has.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_VIDEO,)))
    if person is None:
        identity = Identity.sample(rng)
        voice = Voice.sample(rng, identity.tract)
    else:
        identity, voice = render_clips.meet(_person(seed, person))
    frames = max(1, round(seconds * render_clips.FRAME_RATE))
    take = render_clips.act(voice, float(frames / render_clips.FRAME_RATE), rng)
    portrait = Portrait(identity, 2 * size / (FRAME[2] - FRAME[0]))
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "speech.wav"
        audio.save(sound, take.speech.samples, SAMPLE_RATE)
        with video_reader.VideoWriter(
            path, render_clips.FRAME_RATE, (size, size), audio=sound
        ) as writer:
            for state in take.states:
                writer.write(portrait.render(state, (size, size))[..., ::-1])
    return Path(path)


def write_speech(
    path: str | os.PathLike, seconds: float = 4.0, seed: int = 0, *, person: int | None = None
) -> Path:
    """Writes a WAV file of somebody saying what neither a corpus nor `write_video` has.

    Args:
        path: .wav.
        seconds: its length.
        seed: of everything.
        person: number of somebody in the corpus of that seed; None for a voice no corpus has.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPEECH,)))
    voice = Voice.sample(rng) if person is None else render_clips.meet(_person(seed, person))[1]
    audio.save(path, speak(voice, seconds, rng).samples, SAMPLE_RATE)
    return Path(path)


def contact_sheet(folder: str | os.PathLike, outfile: str | os.PathLike, people: int = 12) -> Path:
    """Shows some people of the training split, a row of successive frames each."""
    from lipsync_jax.data.loader import Clips

    clips = Clips(Path(folder), "train")
    rows = np.linspace(0, len(clips) - 1, min(people, len(clips))).astype(int)
    frames = [decode_frames(clips[int(row)], _SHOWN) for row in rows]
    sheet = video_reader.contact_sheet(np.concatenate(frames)[..., ::-1], len(frames[0]))
    video_reader.write_image(outfile, sheet)
    return Path(outfile)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync synthetic`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--clips", type=int, default=160, help="clips of 3 seconds (160)")
    parser.add_argument("--people", type=int, help="few people in all splits (new ones in each)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other people (0)")
    parser.add_argument("--geometry", default="face96", help="size of the crops (face96)")
    parser.add_argument("--workers", type=int, help="processes (as many as there are CPUs)")


def run(arguments: argparse.Namespace) -> int:
    """Makes the corpus and a picture of it."""
    folder = make(
        arguments.out,
        arguments.clips,
        arguments.seed,
        arguments.geometry,
        people=arguments.people,
        workers=arguments.workers,
    )
    sheet = contact_sheet(folder, arguments.out / f"contact_sheet_{arguments.geometry}.png")
    print(f"clips  {folder}\nlook   {sheet}")
    return 0
