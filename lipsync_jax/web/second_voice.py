"""The fields of a second person, who speaks in an own recording."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import gradio as gr

from lipsync_jax.types import Json
from lipsync_jax.web import texts
from lipsync_jax.web.handlers import QUIET, audio_input, portraits
from lipsync_jax.web.job_options import speaker_role

_File = TypeVar("_File")


class SecondVoice(NamedTuple):
    """The fields, which are hidden unless a video shows several people.

    Attributes:
        switch: shows the others.
        people: portraits, as those of the first person.
        person: number of the second person; None without one.
        audio: the recording.
        numbers: of all people, the most visible first.
    """

    switch: gr.Checkbox
    people: gr.Gallery
    person: gr.State
    audio: gr.Audio
    numbers: gr.State


def add_fields() -> SecondVoice:
    """Adds the fields."""
    return SecondVoice(
        gr.Checkbox(label=texts.TWO_VOICES, visible=False, elem_id="two-voices"),
        portraits(texts.SECOND_WHO, "second-people"),
        gr.State(None),
        audio_input("second-audio", texts.SECOND_SPEECH, visible=False),
        gr.State(()),
    )


def connect(fields: SecondVoice, person: gr.State, chosen: gr.Markdown) -> None:
    """Lets the fields follow the switch, and says who speaks.

    Args:
        fields: see `add_fields`.
        person: number of the first person.
        chosen: says who is dubbed.
    """
    fields.switch.change(
        toggle,
        [fields.switch, person, fields.numbers],
        [fields.people, fields.person, fields.audio, chosen],
        **QUIET,
    )
    fields.people.select(_choose, person, [fields.person, chosen], **QUIET)


def hidden() -> tuple:
    """Returns the fields' values while nobody is known."""
    unseen = gr.update(visible=False)
    return gr.update(value=False, visible=False), unseen, None, unseen, ()


def offered(images: Sequence[tuple], numbers: Sequence[int]) -> tuple:
    """Returns the fields' values for a video with several people.

    Args:
        images: portraits with captions.
        numbers: see `SecondVoice`.
    """
    return gr.update(visible=True), gr.update(value=images), None, gr.update(), tuple(numbers)


def toggle(is_on: bool, person: int | None, numbers: Sequence[int]) -> tuple:
    """Shows or hides the fields; the most visible other person is chosen at first."""
    second = next((number for number in numbers if number != person), None) if is_on else None
    told = gr.update() if person is None else texts.chosen(person, second)
    people = gr.update(visible=is_on, selected_index=second)
    return people, second, gr.update(visible=is_on), told


def _choose(person: int, event: gr.SelectData) -> tuple[int, str]:
    return int(event.index), texts.chosen(person, int(event.index))


def assign(
    files: Mapping[str, _File], options: Mapping[str, Json], second: int | None
) -> tuple[dict[str, _File], dict[str, Json]]:
    """Makes the recordings those of the two people, if there is a second one.

    Args:
        files: `face`, `audio` and `second_audio` -> path or name.
        options: of a dub, see `dub_options.read`.
        second: number of the second person; None without one.

    Returns:
        The files by the roles of a job, and its options.

    Raises:
        ValueError: the second person is the first one.
    """
    files, options = dict(files), dict(options)
    if second is not None:
        first = options.pop("face_id", None)
        if first in (None, second):
            raise ValueError(texts.SAME_PERSON)
        files[speaker_role(first)] = files.pop("audio")
        files[speaker_role(second)] = files.pop("second_audio")
    return files, options
