"""The form that dubs one video, or many."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import gradio as gr

from lipsync_jax.synthesis.options import DEFAULT_QUALITY, QUALITIES
from lipsync_jax.types import Json, Untyped
from lipsync_jax.web import dub_options, example, inputs, job_options, second_voice, texts
from lipsync_jax.web.batch_form import BatchForm
from lipsync_jax.web.handlers import (
    PRIVATE,
    QUIET,
    Form,
    audio_input,
    picture_input,
    portraits,
    submit_on_click,
    told_in_words,
)
from lipsync_jax.web.job_folder import link
from lipsync_jax.web.job_options import DUB
from lipsync_jax.web.job_views import file_name
from lipsync_jax.web.submission import client_of

_QUALITIES = [(texts.QUALITIES[name], name) for name in QUALITIES]


class DubForm(Form):
    """Fields of a dub, its preview, and a batch."""

    def build(self) -> None:
        """Adds the fields."""
        missing = self._actions.dubbing.missing()
        if missing:
            gr.Markdown(missing, elem_classes="help")
        person = gr.State(None)
        source = gr.Radio(
            [texts.VIDEO, texts.PICTURE],
            value=texts.VIDEO,
            label=texts.FACE_FROM,
            elem_id="face-kind",
        )
        video = gr.Video(
            label=texts.FACE_VIDEO, sources=["upload", "webcam"], buttons=[],
            elem_id="face-video",
        )  # fmt: skip
        picture = picture_input("face-picture", visible=False)
        audio = audio_input("dub-audio")
        example_button = gr.Button(texts.EXAMPLE, size="sm", elem_id="example")
        about = gr.Markdown(texts.ABOUT_FILES, elem_classes="help", elem_id="about-files")
        people = portraits(texts.WHO, "people")
        second = second_voice.add_fields()
        chosen_person = gr.Markdown(elem_classes="help", elem_id="chosen-person", visible=False)
        model = gr.Dropdown(
            self._actions.dubbing.names, label=texts.MODEL, elem_id="dub-model",
            visible=len(self._actions.dubbing.names) > 1,
        )  # fmt: skip
        quality = gr.Radio(
            _QUALITIES, value=DEFAULT_QUALITY, label=texts.QUALITY, elem_id="quality"
        )
        short = gr.Checkbox(label=texts.FIRST_SECONDS, elem_id="first-seconds")
        with gr.Accordion(texts.MORE, open=False):
            options = dub_options.add_fields(self._submitter.label)
            command_button = gr.Button(texts.AS_COMMAND, size="sm")
            command = gr.Textbox(label=texts.COMMAND, visible=False, buttons=["copy"], lines=2)
        with gr.Accordion(texts.PREVIEW, open=False):
            moment = gr.Slider(0, 10, 1, step=0.04, label=texts.MOMENT, elem_id="moment")
            preview_button = gr.Button(texts.PREVIEW_BUTTON, elem_id="preview")
            compared = gr.ImageSlider(
                label=texts.BEFORE_AFTER, visible=False, interactive=False, buttons=[],
                max_height=420, elem_id="compared",
            )  # fmt: skip
            previewed = gr.Markdown(elem_classes="help", elem_id="previewed")
        consent = gr.Checkbox(label=texts.CONSENT, elem_id="consent")
        gr.Markdown(texts.CONSENT_MORE, elem_classes="help")
        why = gr.Markdown(
            texts.need("face", "audio", "consent"), elem_id="why", elem_classes="help"
        )
        start = gr.Button(texts.DUB, variant="primary", interactive=False, elem_id="dub")
        with gr.Accordion(texts.BATCH, open=False):
            BatchForm(self._submitter, self._work).build([model, quality, *options.values()])

        # Pressed by the button of a result, which says of which job.
        use_result, used_job = (
            gr.Button(visible="hidden", elem_id="use-result"),
            gr.Textbox(visible=False),
        )

        chosen = [source, video, picture]
        settings = [second.person, second.audio, model, quality, short, person, *options.values()]
        source.change(
            lambda kind: (
                gr.update(visible=kind == texts.VIDEO),
                gr.update(visible=kind == texts.PICTURE),
            ),
            source,
            [video, picture],
            **QUIET,
        )
        ready_inputs: list[Untyped] = [*chosen, audio, consent, quality, short, model]
        ready_inputs += [person, second.person, second.audio]
        for component in ready_inputs:
            component.change(self._ready, ready_inputs, [start, why, about], **QUIET)
        for component in (audio, short):  # the length of the result
            component.change(self._moments, [audio, short], moment, **QUIET)
        for component in (source, video, picture):
            component.change(
                told_in_words(self._people),
                chosen,
                [people, person, chosen_person, *second],
                concurrency_id="faces",
                **QUIET,
            )
        people.select(_choose_person, second.person, [person, chosen_person], **QUIET)
        second_voice.connect(second, person, chosen_person)
        example_button.click(told_in_words(self._example), None, [source, video, audio], **PRIVATE)
        use_result.click(
            told_in_words(self._use_result),
            used_job,
            [source, video],
            js="() => window.lipsync.usedJob",
            **PRIVATE,
        )
        preview_button.click(
            told_in_words(self._preview),
            [*chosen, audio, moment, *settings],
            [compared, previewed],
            **PRIVATE,
        )
        command_button.click(
            told_in_words(self._command), [*chosen, audio, *settings], command, **QUIET
        )
        submit_on_click(start, self._dub, [*chosen, audio, consent, *settings], why)

    def _ready(
        self,
        kind: str,
        video: str | None,
        picture: str | None,
        audio: str | None,
        consent: bool,
        quality: str,
        short: bool,
        model: str | None,
        person: int | None = None,
        second: int | None = None,
        second_audio: str | None = None,
    ) -> tuple:
        """Returns the state of the Dub button, why it is disabled, and facts about the files."""
        face = video if kind == texts.VIDEO else picture
        voices = {"audio": audio} | ({} if second is None else {"second_audio": second_audio})
        needed = {"face": face, **voices, "consent": consent}
        lacking = [name for name, given in needed.items() if not given]
        if self._actions.dubbing.missing():
            lacking = ["model"]
        lines = []
        try:
            shown = inputs.require_face(self._path(face)) if face else None
            speech = [inputs.require_audio(self._path(path)) for path in voices.values() if path]
        except ValueError as error:
            return gr.update(interactive=False), texts.spelled(str(error)), texts.ABOUT_FILES
        if shown:
            lines.append(f"Face: {shown.describe()}.")
        if speech:
            lines.append(f"Speech: {' and '.join(f'{each.seconds:.1f} s' for each in speech)}.")
        if shown and len(speech) == len(voices):
            seconds = max(each.seconds for each in speech)
            seconds = min(seconds, texts.SHORT_SECONDS) if short else seconds
            if shown.seconds and seconds > shown.seconds + 0.04:
                lines.append(texts.LOOPED)
            frames = round(seconds * (shown.frame_rate if shown.seconds else 25))
            lines.append(self._estimate(frames, {"quality": quality, "model": model}))
        about = " ".join(lines) or texts.ABOUT_FILES
        why = texts.need(*lacking)
        if second is not None and second == person:
            why = texts.SAME_PERSON
        return gr.update(interactive=not why), why, about

    def _moments(self, audio: str | None, short: bool) -> Untyped:
        """Returns the slider of the preview's moment, at the middle of the result."""
        try:
            seconds = inputs.require_audio(self._path(audio)).seconds if audio else 0.0
        except ValueError:  # told by `_ready`
            seconds = 0.0
        if not seconds:
            return gr.update()
        seconds = min(seconds, texts.SHORT_SECONDS) if short else seconds
        return gr.update(maximum=max(0.04, round(seconds, 2)), value=round(seconds / 2, 2))

    def _estimate(self, frames: int, options: Mapping[str, Json]) -> str:
        return texts.estimate(frames, self._actions.estimate_seconds(frames, options))

    def _people(self, kind: str, video: str | None, picture: str | None) -> Iterator[tuple]:
        """Shows the portraits of a video with several people."""
        nobody = second_voice.hidden()
        yield gr.update(value=None, visible=False), None, gr.update(visible=False), *nobody
        if kind == texts.VIDEO and video:
            people = self._actions.people(self._path(video))
            if not people and inputs.inspect(self._path(video)).seconds:
                yield (
                    gr.update(visible=False),
                    None,
                    gr.update(value=texts.NOBODY, visible=True),
                    *nobody,
                )
            if len(people) > 1:
                images = [(p.thumbnail, texts.person(p.number, p.intervals)) for p in people]
                seconds = {p.number: sum(end - start for start, end in p.intervals) for p in people}
                numbers = sorted(seconds, key=lambda number: -seconds[number])
                yield (
                    gr.update(value=images, visible=True, selected_index=numbers[0]),
                    numbers[0],
                    gr.update(value=texts.chosen(numbers[0]), visible=True),
                    *second_voice.offered(images, numbers),
                )

    def _example(self) -> tuple[str, str, str]:
        face, speech = example.files(self._work / "example")
        return texts.VIDEO, str(face), str(speech)

    def _use_result(self, job_id: str) -> tuple[str, str]:
        """Takes the result of a job as the video of the face."""
        queue = self._submitter.queue
        try:
            job = queue.get(job_id)
        except KeyError:
            raise ValueError("the job of this result was deleted; choose another") from None
        result = queue.folder(job) / str(job.report["result"])
        path = self._work / "uploads" / "page" / job_id / file_name(job, result.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            link(result, path)
        return texts.VIDEO, str(path)

    def _preview(
        self,
        kind: str,
        video: str | None,
        picture: str | None,
        audio: str | None,
        moment: float,
        second: int | None,
        second_audio: str | None,
        *values: Untyped,
    ) -> tuple[Untyped, str]:
        face = video if kind == texts.VIDEO else picture
        if not face or not audio:
            raise ValueError(texts.need("face", "audio"))
        frame = self._actions.preview(
            self._path(face), self._path(audio), moment, dub_options.read(*values)
        )
        note = texts.previewed(frame.moment, frame.edited, frame.nearest_face)
        note += "" if second is None else f" {texts.FIRST_ONLY}"
        return gr.update(value=(frame.before, frame.after), visible=True), note

    def _command(
        self,
        kind: str,
        video: str | None,
        picture: str | None,
        audio: str | None,
        second: int | None,
        second_audio: str | None,
        *values: Untyped,
    ) -> Untyped:
        face = video if kind == texts.VIDEO else picture
        paths = {"face": face, "audio": audio, "second_audio": second_audio}
        names = {role: Path(path or "").name for role, path in paths.items()}
        names, options = second_voice.assign(names, dub_options.read(*values), second)
        return gr.update(value=job_options.as_command(options, names), visible=True)

    def _dub(
        self,
        request: gr.Request,
        kind: str,
        video: str | None,
        picture: str | None,
        audio: str | None,
        consent: bool,
        second: int | None,
        second_audio: str | None,
        *values: Untyped,
    ) -> str:
        more = {} if second is None else {"second_audio": second_audio}
        files = self._files(face=video if kind == texts.VIDEO else picture, audio=audio, **more)
        files, options = second_voice.assign(files, dub_options.read(*values), second)
        self._submitter.submit(DUB, files, options, consent, client_of(request))
        return texts.QUEUED


def _choose_person(second: int | None, event: gr.SelectData) -> tuple[int, str]:
    return int(event.index), texts.chosen(int(event.index), second)
