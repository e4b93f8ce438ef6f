"""What the forms of the page share: files, errors in words, the call that adds a job."""

import abc
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.data_classes import ImageData

from lipsync_jax.types import Argument, Untyped
from lipsync_jax.web import texts
from lipsync_jax.web.job import EXPECTED_ERRORS, in_words
from lipsync_jax.web.submission import Submitter

SUBMITTED = "() => window.lipsync && window.lipsync.submitted()"  # shows the new job
PRIVATE: dict[str, Argument] = {"api_visibility": "private"}  # scripts use /api
QUIET: dict[str, Argument] = {"show_progress": "hidden", **PRIVATE}
_IMAGE_HEIGHT = 260  # pixels


class Form:
    """A form of the page."""

    def __init__(self, submitter: Submitter, work: Path) -> None:
        """Takes what forms call.

        Args:
            submitter: adds jobs.
            work: folder of uploads and of the rendered example.
        """
        self._submitter, self._work = submitter, work
        self._actions = submitter.actions

    def _files(self, **paths: str | None) -> dict[str, Path]:
        lacking = [role for role, path in paths.items() if not path]
        if lacking:
            raise ValueError(texts.need(*lacking))
        return {role: self._path(path) for role, path in paths.items() if path}

    def _path(self, path: str) -> Path:
        """Returns the path of an uploaded file; refuses that of another file."""
        found = Path(os.path.realpath(path))
        if not found.is_relative_to(os.path.realpath(self._work)):
            raise ValueError("this file was not uploaded; upload it first")
        return found


def submit_on_click(
    button: gr.Button, handler: Callable, inputs: list[Untyped], told: gr.Markdown
) -> None:
    """Calls a handler that adds jobs when a button is pressed, and then shows the new job."""
    button.click(told_in_words(handler), inputs, told, **PRIVATE).success(
        None, js=SUBMITTED, **PRIVATE
    )


class _WithoutStub(ComponentMeta):
    """Makes a component without the .pyi file that gradio writes beside a component's source."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], attributes: dict[str, Untyped]
    ) -> "_WithoutStub":
        """Makes the class."""
        return abc.ABCMeta.__new__(cls, name, bases, attributes)


class _PictureFile(gr.Image, metaclass=_WithoutStub):
    """A field for a picture, whose value is the path of the uploaded file.

    `gr.Image` opens pictures by Pillow: it fails for a phone's HEIC photo, and writes those that
    are not RGB again, without what makes parts of them transparent.
    """

    is_template = True  # the browser's part is that of `gr.Image`

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Returns the path of the uploaded file."""
        return None if payload is None else payload.path


def picture_input(elem_id: str, visible: bool = True) -> gr.Image:
    """Adds a field for a picture of a face."""
    return _PictureFile(
        label=texts.FACE_PICTURE, type="filepath", sources=["upload", "webcam"], buttons=[],
        height=_IMAGE_HEIGHT, visible=visible, elem_id=elem_id,
    )  # fmt: skip


def audio_input(elem_id: str, label: str = texts.SPEECH, visible: bool = True) -> gr.Audio:
    """Adds a field for a recording of speech."""
    return gr.Audio(
        label=label, type="filepath", sources=["upload", "microphone"], buttons=[],
        editable=False, visible=visible, elem_id=elem_id,
    )  # fmt: skip


def portraits(label: str, elem_id: str) -> gr.Gallery:
    """Adds a field to choose one person of a video, hidden until there are several."""
    return gr.Gallery(
        label=label, visible=False, columns=4, allow_preview=False, buttons=[],
        fit_columns=False, interactive=False, elem_id=elem_id,
    )  # fmt: skip


def told_in_words(function: Callable) -> Callable:
    """Shows errors of a handler in words; the traceback of a fault is logged, not shown."""

    def as_error(error: Exception) -> gr.Error:
        is_fault = not isinstance(error, EXPECTED_ERRORS)
        return gr.Error(texts.spelled(in_words(error)), duration=None, print_exception=is_fault)

    @functools.wraps(function)
    def told(*values: Untyped, **named: Untyped) -> Untyped:
        try:
            return function(*values, **named)
        except Exception as error:
            raise as_error(error) from error

    @functools.wraps(function)
    def told_each(*values: Untyped, **named: Untyped) -> Iterator[Untyped]:
        try:
            yield from function(*values, **named)
        except Exception as error:
            raise as_error(error) from error

    return told_each if inspect.isgeneratorfunction(function) else told
