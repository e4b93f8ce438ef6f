"""The fields of a dub's options that are rarely changed, and what all fields set."""

from collections.abc import Mapping, Sequence

import gradio as gr

from lipsync_jax.faces.trajectory import MISSING_FACE
from lipsync_jax.media.timeline import LOOPS
from lipsync_jax.synthesis.options import SILENCE_MODES, DubbingOptions
from lipsync_jax.types import Json, Untyped
from lipsync_jax.web import texts


def add_fields(label: str) -> dict[str, Untyped]:
    """Adds the fields of options that are rarely changed.

    Args:
        label: the default text written on every frame.

    Returns:
        Name of the option -> field.
    """
    defaults = DubbingOptions()
    return {
        "loop": _choice(texts.LOOP, texts.LOOPS, LOOPS, defaults.loop),
        "on_missing_face": _choice(
            texts.MISSING_FACE, texts.MISSING_FACES, MISSING_FACE, defaults.on_missing_face
        ),
        "silence_mode": _choice(
            texts.SILENCE, texts.SILENCES, SILENCE_MODES, defaults.silence_mode
        ),
        "min_face_height": gr.Number(
            value=defaults.min_face_height, precision=0, minimum=0, label=texts.MIN_FACE
        ),
        "label": gr.Textbox(value=label, label=texts.LABEL, max_lines=1, max_length=200),
    }


def read(
    model: str | None,
    quality: str,
    short: bool,
    person: int | None,
    loop: str,
    on_missing_face: str,
    silence_mode: str,
    min_face_height: float | None,
    label: str,
) -> dict[str, Json]:
    """Returns the options that are not defaults.

    Args:
        model: its name.
        quality: see `DubbingOptions.from_quality`.
        short: whether only the first seconds are dubbed.
        person: number of the face; None for the most prominent one.
        loop: this and those below are the values of `add_fields`, in their order.
        on_missing_face: see `loop`.
        silence_mode: see `loop`.
        min_face_height: see `loop`.
        label: see `loop`.
    """
    options: dict[str, Json] = {
        "loop": loop, "on_missing_face": on_missing_face, "silence_mode": silence_mode,
        "min_face_height": None if min_face_height is None else int(min_face_height),
        "label": label.strip() or None,
    }  # fmt: skip
    defaults = DubbingOptions()
    options = {k: v for k, v in options.items() if v != getattr(defaults, k)}
    options |= {"model": model, "quality": quality}
    if short:
        options["first_seconds"] = texts.SHORT_SECONDS
    if person is not None:
        # The portraits' numbers are those of the default interval of detection.
        options |= {"face_id": person, "detect_every": defaults.detect_every}
    return options


def _choice(
    label: str, words: Mapping[str, str], values: Sequence[str], default: str
) -> gr.Dropdown:
    return gr.Dropdown([(words[value], value) for value in values], value=default, label=label)
