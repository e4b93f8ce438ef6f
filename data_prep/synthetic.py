"""A corpus of rendered people who talk: made offline, the same for the same seed.

The same articulators shape the sound (`articulation`) and the mouth in the picture (`portrait`),
so what a network can learn about lips from real speech it can learn here, in miniature.
"""

import argparse
import concurrent.futures
import contextlib
import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep import filming
from data_prep.articulation import SAMPLE_RATE, Voice, speak
from data_prep.portrait import Identity, Portrait
from data_prep.portrait.portrait import FRAME
from lipsync_jax import audio, video
from lipsync_jax.data.records import GEOMETRIES, Clip, decode_frames

SECONDS = 3.0
CLIPS_PER_SPEAKER = 2
_FORMAT = 1  # of what a seed gives; raise it when the people or their speech change
_SHOWN = range(10, 66, 4)  # frames on the contact sheet
_CORPUS, _VIDEO, _SPEECH = range(3)  # independent streams of one seed


def make(
    out: str | os.PathLike,
    clips: int = 160,
    seed: int = 0,
    geometry: str = "face96",
    *,
    workers: int | None = None,
) -> Path:
    """Writes the corpus, or finds it finished.

    Clips last `SECONDS` at 25 frames a second, with sound at 16 kHz. Each person has
    `CLIPS_PER_SPEAKER` of them and is in one split only, which are about 80 % `train`, 10 %
    `validation` and 10 % `test`.

    Args:
        out: folder; the data set is somewhere below it. What an interrupted run left is redone.
        clips: how many in all.
        seed: of everything; the same seed gives the same bytes.
        geometry: key of `records.GEOMETRIES`, one cut from boxes.
        workers: processes; the number of CPUs when None. The clips don't depend on it.

    Returns:
        The folder of the shards, which `loader.find_dataset` accepts.

    Raises:
        ValueError: too few clips, an unknown geometry, or `out` holds another corpus.
    """
    least = 3 * CLIPS_PER_SPEAKER
    if clips < least:
        raise ValueError(
            f"{clips} clips can't make three splits of different people; ask for {least}"
        )
    if geometry not in GEOMETRIES or GEOMETRIES[geometry].cut != "box":
        raise ValueError(f"no synthetic faces of geometry {geometry!r}; choose one cut from boxes")
    recipe = {"clips": clips, "seconds": SECONDS, "seed": seed, "geometry": geometry}
    recipe["format"] = _FORMAT
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
    from data_prep.builder import write

    with _processes(min(workers or _cpus(), clips // CLIPS_PER_SPEAKER)) as builder.each:
        write(builder)
    note.write_text(json.dumps(recipe), encoding="utf-8")
    return folder


def _builder(out: Path, recipe: dict):
    import tensorflow_datasets as tfds  # slow to import, and processes that film don't need it

    from data_prep.builder import TalkingFace, TalkingFaceConfig

    tfds.disable_progress_bar()

    class Synthetic(TalkingFace, skip_registration=True):
        """Rendered people who talk."""

        BUILDER_CONFIGS = (TalkingFaceConfig(name=recipe["geometry"]),)

        each = map  # how people are filmed one after another, or at once

        def clips(self) -> dict[str, Iterator[Clip]]:
            return {
                split: _film(recipe, people, self.each)
                for split, people in splits(recipe["clips"]).items()
            }

    return Synthetic(config=recipe["geometry"], data_dir=out, file_format="array_record")


def splits(clips: int) -> dict[str, range]:
    """Split -> numbers of its people; only the last of `train` may lack a clip."""
    speakers = math.ceil(clips / CLIPS_PER_SPEAKER)
    held = max(1, round(speakers / 10))
    return {
        "train": range(2 * held, speakers),
        "validation": range(held),
        "test": range(held, 2 * held),
    }


def _film(recipe: dict, people: range, each: Callable) -> Iterator[Clip]:
    """The clips of some people, in their order."""
    takes = []
    for number in people:
        # By its own key each person is the same however many there are.
        person = np.random.SeedSequence(recipe["seed"], spawn_key=(_CORPUS, number))
        count = min(CLIPS_PER_SPEAKER, recipe["clips"] - number * CLIPS_PER_SPEAKER)
        takes.append((person, f"p{number:04d}", count, recipe["seconds"], recipe["geometry"]))
    for filmed in each(filming.film_speaker, *zip(*takes, strict=True)):
        yield from filmed


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
    path: str | os.PathLike, seconds: float = 4.0, seed: int = 10, *, size: int = 384
) -> Path:
    """Writes a video of a person no corpus has, talking, with their own sound.

    Args:
        path: .mp4, .mov or .mkv.
        seconds: its length, in whole frames of 1/25 s.
        seed: of everything; the same seed as a corpus' gives somebody else.
        size: rows and columns.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_VIDEO,)))
    identity = Identity.sample(rng)
    frames = max(1, round(seconds * filming.FRAME_RATE))
    take = filming.act(Voice.sample(rng, identity.tract), float(frames / filming.FRAME_RATE), rng)
    portrait = Portrait(identity, 2 * size / (FRAME[2] - FRAME[0]))
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "speech.wav"
        audio.save(sound, take.speech.samples, SAMPLE_RATE)
        with video.VideoWriter(path, filming.FRAME_RATE, (size, size), audio=sound) as writer:
            for state in take.states:
                writer.write(portrait.render(state, (size, size))[..., ::-1])
    return Path(path)


def write_speech(path: str | os.PathLike, seconds: float = 4.0, seed: int = 0) -> Path:
    """Writes a WAV file of a voice neither a corpus nor `write_video` has.

    Args:
        path: .wav.
        seconds: its length.
        seed: of everything.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SPEECH,)))
    audio.save(path, speak(Voice.sample(rng), seconds, rng).samples, SAMPLE_RATE)
    return Path(path)


def contact_sheet(folder: str | os.PathLike, outfile: str | os.PathLike, people: int = 12) -> Path:
    """Shows some people of the training split, a row of successive frames each."""
    from lipsync_jax.data.loader import Clips

    clips = Clips(Path(folder), "train")
    rows = np.linspace(0, len(clips) - 1, min(people, len(clips))).astype(int)
    frames = [decode_frames(clips[int(row)], _SHOWN) for row in rows]
    sheet = video.contact_sheet(np.concatenate(frames)[..., ::-1], len(frames[0]))
    video.write_image(outfile, sheet)
    return Path(outfile)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync synthetic`."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--clips", type=int, default=160, help="clips of 3 seconds (160)")
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
        workers=arguments.workers,
    )
    sheet = contact_sheet(folder, arguments.out / f"contact_sheet_{arguments.geometry}.png")
    print(f"clips  {folder}\nlook   {sheet}")
    return 0
