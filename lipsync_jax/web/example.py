"""The example that the page offers: a rendered person, and other speech."""

import threading
from pathlib import Path

_PERSON = 104  # seed of a person that is in no corpus, as in `lipsync demo`
_lock = threading.Lock()


def files(folder: Path) -> tuple[Path, Path]:
    """Renders a video of a person and other speech once; returns both paths."""
    from lipsync_jax.data_prep.synthetic import recordings

    face, speech = folder / "face.mp4", folder / "voice.wav"
    with _lock:
        if not (face.is_file() and speech.is_file()):
            folder.mkdir(parents=True, exist_ok=True)
            recordings.write_dubbing_example(folder, seed=_PERSON)
    return face, speech
