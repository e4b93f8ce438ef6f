"""Rendered videos of talking faces, and speech, that are in no corpus: for trying programs."""

import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np

from lipsync_jax.data_prep.synthetic import render_clips
from lipsync_jax.data_prep.synthetic.articulation import SAMPLE_RATE, Voice, synthesize_utterance
from lipsync_jax.data_prep.synthetic.face import Identity, Portrait
from lipsync_jax.data_prep.synthetic.face.motion import MOUTH_FIELDS, animate_face
from lipsync_jax.data_prep.synthetic.face.portrait import FRAME
from lipsync_jax.media import audio, video_reader


def write_video(
    path: str | os.PathLike,
    seconds: float = 4.0,
    seed: int = 10,
    *,
    size: int = 384,
    identity_index: int | None = None,
    utterance: int = 0,
) -> Path:
    """Writes a talking-face video with audio; the utterance is in no corpus.

    Args:
        path: .mp4, .mov or .mkv.
        seconds: duration, rounded to frames of 1/25 s.
        seed: of all random choices.
        size: rows and columns.
        identity_index: index of an identity in the corpus of that seed; None for an identity that
            is in no corpus.
        utterance: number of the utterance and the motion; the identity does not depend on it.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(render_clips.VIDEO,)))
    identity, voice = _sample_speaker(rng, seed, identity_index)
    if utterance:
        rng = np.random.default_rng(
            np.random.SeedSequence(seed, spawn_key=(render_clips.VIDEO, utterance))
        )
    frames = max(1, round(seconds * render_clips.FRAME_RATE))
    performance = render_clips.sample_performance(
        voice, float(frames / render_clips.FRAME_RATE), rng
    )
    return _write_performance(Path(path), identity, performance, size)


def write_dubbing_example(
    folder: str | os.PathLike,
    seconds: float = 4.0,
    seed: int = 0,
    *,
    size: int = 384,
    identity_index: int | None = None,
) -> tuple[Path, Path, Path]:
    """Writes a video to dub, other speech in that voice, and the video that dubbing should give.

    Args:
        folder: gets face.mp4, voice.wav and real.mp4. The last is the first one's identity with
            equal head motion, rendered with the mouth of the other speech.
        seconds: duration, rounded to frames of 1/25 s.
        seed: of all random choices.
        size: rows and columns.
        identity_index: see `write_video`.

    Returns:
        The three paths.
    """
    frames = max(1, round(seconds * render_clips.FRAME_RATE))
    seconds = float(frames / render_clips.FRAME_RATE)
    rng, other_rng = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
        for stream in (render_clips.VIDEO, render_clips.SPEECH)
    )
    identity, voice = _sample_speaker(rng, seed, identity_index)
    before = render_clips.sample_performance(voice, seconds, rng)
    utterance = synthesize_utterance(voice, seconds, other_rng)
    mouths = animate_face(utterance.articulation, frames, float(render_clips.FRAME_RATE), other_rng)
    states = [
        dataclasses.replace(state, **{name: getattr(mouth, name) for name in MOUTH_FIELDS})
        for state, mouth in zip(before.states, mouths, strict=True)
    ]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    real = render_clips.Performance(utterance, states)
    audio.save(folder / "voice.wav", utterance.samples, SAMPLE_RATE)
    return (
        _write_performance(folder / "face.mp4", identity, before, size),
        folder / "voice.wav",
        _write_performance(folder / "real.mp4", identity, real, size),
    )


def _sample_speaker(
    rng: np.random.Generator, seed: int, identity_index: int | None
) -> tuple[Identity, Voice]:
    """Samples an identity that is in no corpus, or returns one of the corpus of that seed."""
    if identity_index is not None:
        return render_clips.sample_speaker(render_clips.identity_seed(seed, identity_index))
    identity = Identity.sample(rng)
    return identity, Voice.sample(rng, identity.tract)


def _write_performance(
    path: Path, identity: Identity, performance: render_clips.Performance, size: int
) -> Path:
    portrait = Portrait(identity, 2 * size / (FRAME[2] - FRAME[0]))
    with tempfile.TemporaryDirectory() as folder:
        wav_path = Path(folder) / "speech.wav"
        audio.save(wav_path, performance.utterance.samples, SAMPLE_RATE)
        with video_reader.VideoWriter(
            path, render_clips.FRAME_RATE, (size, size), audio=wav_path
        ) as writer:
            for state in performance.states:
                writer.write(portrait.render(state, (size, size))[..., ::-1])
    return path


def write_speech(
    path: str | os.PathLike,
    seconds: float = 4.0,
    seed: int = 0,
    *,
    identity_index: int | None = None,
) -> Path:
    """Writes a WAV file of an utterance that is neither in a corpus nor in `write_video`.

    Args:
        path: .wav.
        seconds: duration.
        seed: of all random choices.
        identity_index: index of an identity in the corpus of that seed; None for a voice that is in
            no corpus.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(render_clips.SPEECH,)))
    voice = (
        Voice.sample(rng)
        if identity_index is None
        else render_clips.sample_speaker(render_clips.identity_seed(seed, identity_index))[1]
    )
    audio.save(path, synthesize_utterance(voice, seconds, rng).samples, SAMPLE_RATE)
    return Path(path)
