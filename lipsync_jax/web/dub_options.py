"""The fields of a dub's options that are rarely changed, and what all fields set."""

import re
from collections.abc import Callable, Mapping, Sequence

import gradio as gr

from lipsync_jax.data.windows import AUDIO_OFFSETS
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
        "rotate": gr.Checkbox(label=texts.ROTATE),
        "box": gr.Textbox(label=texts.BOX, info=texts.FOUR_NUMBERS, max_lines=1, max_length=40),
        "pads": gr.Textbox(label=texts.PADS, info=texts.FOUR_NUMBERS, max_lines=1, max_length=40),
        # An empty gr.Number sends 0.
        "detect_every": gr.Textbox(
            label=texts.DETECT_EVERY, info=texts.BY_QUALITY, max_lines=1, max_length=9
        ),
        "crf": gr.Textbox(label=texts.CRF, info=texts.BY_QUALITY, max_lines=1, max_length=9),
        "audio_offset": _choice(
            texts.AUDIO_OFFSET, texts.AUDIO_OFFSETS, [*AUDIO_OFFSETS], defaults.audio_offset
        ),
    }


def read(
    model: str | None, quality: str, short: bool, person: int | None, *more: Untyped
) -> dict[str, Json]:
    """Returns the options that are not defaults.

    Args:
        model: its name.
        quality: see `DubbingOptions.from_quality`.
        short: whether only the first seconds are dubbed.
        person: number of the face; None for the most prominent one.
        more: the values of `add_fields`, in their order.

    Raises:
        ValueError: a field has text where numbers are expected.
    """
    values = {
        name: parse(name, value)
        for (name, parse), value in zip(_PARSERS.items(), more, strict=True)
    }
    defaults = DubbingOptions()
    # The defaults of some are those of the quality.
    options = {k: v for k, v in values.items() if v is not None and v != getattr(defaults, k)}
    options |= {k: values[k] for k in ("detect_every", "crf") if values[k] is not None}
    options |= {"model": model, "quality": quality}
    if short:
        options["first_seconds"] = texts.SHORT_SECONDS
    if person is not None:
        # The portraits' numbers are those of the default interval of detection.
        options |= {"face_id": person, "detect_every": defaults.detect_every}
    return options


def _same(_: str, value: Json) -> Json:
    return value


def _whole(_: str, value: float | None) -> int | None:
    return None if value is None else int(value)


# A text field that has not been shown yet has None.
def _text(_: str, value: str | None) -> str | None:
    return (value or "").strip() or None


def _number(name: str, value: str | None) -> int | None:
    word = (value or "").strip()
    if word and not re.fullmatch(r"\d{1,5}", word):
        raise ValueError(f"`{name}`: {value!r} is no whole number from 0")
    return int(word) if word else None


def _four(name: str, value: str | None) -> list[Json] | None:
    value = value or ""
    words = re.split(r"[\s,;]+", value.strip())
    if words == [""]:
        return None
    if len(words) != 4 or not all(re.fullmatch(r"-?\d{1,5}", word) for word in words):
        raise ValueError(
            f"`{name}`: {value[:40]!r} is not four whole numbers; {texts.FOUR_NUMBERS}"
        )
    return [int(word) for word in words]


_PARSERS: Mapping[str, Callable[[str, Untyped], Json]] = {  # in the order of `add_fields`
    "loop": _same, "on_missing_face": _same, "silence_mode": _same, "min_face_height": _whole,
    "label": _text, "rotate": _same, "box": _four, "pads": _four, "detect_every": _number,
    "crf": _number, "audio_offset": _same,
}  # fmt: skip


def _choice(
    label: str, words: Mapping[str, str], values: Sequence[str], default: str
) -> gr.Dropdown:
    return gr.Dropdown([(words[value], value) for value in values], value=default, label=label)
