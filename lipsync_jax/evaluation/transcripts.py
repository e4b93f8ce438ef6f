"""What was said, what a lip reader read of it, and the word error rate of each clip."""

import json
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax.data.grid_alignments import read_alignment
from lipsync_jax.evaluation.metrics.wer import wer


def transcripts(path: Path) -> dict[str, str]:
    """What is said in each clip.

    Args:
        path: a JSON object {clip: text}, or a folder of GRID's .align files, which are named after
            their clips.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is no such object, or the folder has no .align files.
    """
    if not path.is_dir():
        return _texts(path)
    files = sorted(path.rglob("*.align"))
    if not files:
        raise ValueError(f"transcripts {path}: the folder holds no .align files")
    return {file.stem: " ".join(word.text for word in read_alignment(file)) for file in files}


def of_clip(said: Mapping[str, str], clip: str) -> str:
    """What is said in a clip `folder/name`, of its own transcript or that of `name`; or empty."""
    return said.get(clip, said.get(clip.rpartition("/")[2], ""))


def error_rates(
    said: Mapping[str, str], hypotheses: Path, methods: list[str]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Word error rate and number of words of every clip that was read.

    Args:
        said: clip -> text.
        hypotheses: a JSON object {clip: text} of a single method, or {method: {clip: text}}; made
            by any lip reader: with the result, say which.
        methods: names of the methods that are evaluated.

    Raises:
        FileNotFoundError, ValueError: see `transcripts`; or no clip has a transcript.
    """
    read = _object(hypotheses)
    nested = all(isinstance(value, dict) for value in read.values())
    if not nested and len(methods) > 1:
        raise ValueError(
            f"hypotheses {hypotheses}: give {{method: {{clip: text}}}} for {', '.join(methods)}"
        )
    by_method = read if nested else {methods[0]: read}
    rates = {
        method: {
            clip: (wer(said[clip], text), len(said[clip].split()))
            for clip, text in texts.items()
            if said.get(clip, "").split()
        }
        for method, texts in by_method.items()
    }
    if not any(rates.values()):
        raise ValueError(f"hypotheses {hypotheses}: none of its clips has a transcript")
    return rates


def _object(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a JSON file")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error})") from error
    if not isinstance(read, dict) or not read:
        raise ValueError(f"{path} must hold a JSON object of clips and texts")
    return read


def _texts(path: Path) -> dict[str, str]:
    return {clip: str(text) for clip, text in _object(path).items()}
