"""Transcripts, hypotheses of external lip readers, and word error rates by clip."""

import json
from collections.abc import Mapping
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.data.grid_alignments import read_alignment
from lipsync_jax.evaluation.metrics.wer import wer
from lipsync_jax.types import Json


def load_transcripts(path: Path) -> dict[str, str]:
    """Reads the transcript of each clip.

    Args:
        path: a JSON object {clip: text}, or a folder of GRID's .align files, which have the
            names of their clips.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is no such object, or the folder has no .align files.
    """
    if not path.is_dir():
        return _texts(path)
    files = sorted(path.rglob("*.align"))
    if not files:
        raise ValueError(f"{path}: the folder holds no .align files; give a folder that does")
    return {file.stem: " ".join(word.text for word in read_alignment(file)) for file in files}


def transcript_of_clip(transcripts_by_clip: Mapping[str, str], clip: str) -> str:
    """Returns the transcript of a clip `folder/name`, else of `name`, else an empty one."""
    return transcripts_by_clip.get(clip, transcripts_by_clip.get(clip.rpartition("/")[2], ""))


def error_rates(
    transcripts_by_clip: Mapping[str, str], hypotheses: Path, methods: list[str]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Computes the word error rate and number of words of every clip with a hypothesis.

    Args:
        transcripts_by_clip: clip -> text.
        hypotheses: a JSON object {clip: text} of a single method, or {method: {clip: text}}, of
            any lip reader; name the lip reader with the result.
        methods: names of the evaluated methods.

    Raises:
        FileNotFoundError, ValueError: see `load_transcripts`; or no clip has a transcript, or a
            method is none of `methods`.
    """
    parsed = _read_json_object(hypotheses)
    nested = all(isinstance(value, dict) for value in parsed.values())
    if not nested and len(methods) > 1:
        raise ValueError(f"{hypotheses}: give {{method: {{clip: text}}}} for {', '.join(methods)}")
    by_method = parsed if nested else {methods[0]: parsed}
    for texts in by_method.values():
        _check_texts(hypotheses, texts)
    if unknown := sorted(by_method.keys() - {*methods}):
        raise ValueError(
            f"{hypotheses}: there is no method {unknown[0]}; name the methods {', '.join(methods)}"
        )
    rates = {
        method: {
            clip: (wer(transcripts_by_clip[clip], text), len(transcripts_by_clip[clip].split()))
            for clip, text in texts.items()
            if transcripts_by_clip.get(clip, "").split()
        }
        for method, texts in by_method.items()
    }
    if not any(rates.values()):
        raise ValueError(f"{hypotheses}: no clip has a transcript; name them like the clips")
    return rates


def _read_json_object(path: Path) -> dict:
    paths.require_file(path, "a JSON file")
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file ({error}); correct the file") from error
    if not isinstance(parsed, dict) or not parsed:
        raise ValueError(f"{path} must hold a JSON object of clips and texts")
    return parsed


def _texts(path: Path) -> dict[str, str]:
    texts = _read_json_object(path)
    _check_texts(path, texts)
    return texts


def _check_texts(path: Path, texts: Mapping[str, Json]) -> None:
    for clip, text in texts.items():
        if not isinstance(text, str):
            found = json.dumps(text)[:40]
            raise ValueError(f"{path}: the value of {clip} is {found}; give the clip's text")
