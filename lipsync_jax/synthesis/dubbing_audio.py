"""The driving audio of a dub: one recording, or one of each speaker."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.media import audio_mix
from lipsync_jax.synthesis import driving_audio
from lipsync_jax.synthesis.driving_audio import DrivingAudio


class DubbingAudio(NamedTuple):
    """The driving audio of a dub.

    Attributes:
        output: the audio of the output, which determines its length.
        speakers: face number -> the audio that drives the face; empty for one face.
    """

    output: DrivingAudio
    speakers: Mapping[int, DrivingAudio]

    @property
    def tracks(self) -> list[DrivingAudio]:
        """The audio of each face to dub."""
        return [*self.speakers.values()] or [self.output]

    @property
    def notes(self) -> tuple[str, ...]:
        """The losses of all recordings, a sentence each."""
        recordings = [*self.speakers.values(), self.output]
        return tuple(dict.fromkeys(note for each in recordings for note in each.notes))

    def vad_envelopes(self) -> list[Callable[[Fraction], float]]:
        """Detects the speech of each face's audio, see `driving_audio.vad_envelope`."""
        return [driving_audio.vad_envelope(each.path) for each in self.tracks]


@contextlib.contextmanager
def load(
    audio: str | os.PathLike | None,
    speakers: Mapping[int, str | os.PathLike],
    feature_spec: AudioFeatureSpec,
) -> Iterator[DubbingAudio]:
    """Reads the recordings, which are used until the block ends.

    Args:
        audio: of the output; None for the mix of all speakers'.
        speakers: face number -> recording.
        feature_spec: which audio features to compute, when windows need them.

    Raises:
        FileNotFoundError, ValueError: see `driving_audio.load`.
    """
    loaded = {number: driving_audio.load(path, feature_spec) for number, path in speakers.items()}
    with contextlib.ExitStack() as cleanup:
        if audio is None:
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lipsync_"))
            audio = audio_mix.mix([each.path for each in loaded.values()], Path(folder, "mix.wav"))
        yield DubbingAudio(driving_audio.load(audio, feature_spec), loaded)
