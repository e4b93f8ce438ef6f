"""The page: gradio's forms on the left; the panel of jobs and results, static/jobs.js, beside."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from lipsync_jax.types import Argument, Json
from lipsync_jax.web import texts
from lipsync_jax.web.dub_form import DubForm
from lipsync_jax.web.handlers import (
    PRIVATE,
    Form,
    audio_input,
    picture_input,
    submit_on_click,
    told_in_words,
)
from lipsync_jax.web.job_options import ANIMATE, DUB, SYNC
from lipsync_jax.web.live_faces import LiveFaces
from lipsync_jax.web.submission import Submitter, client_of


def settings() -> dict[str, Argument]:
    """Returns what `gr.mount_gradio_app` needs for the page: system fonts, styles, the script."""
    fonts: Argument = {
        "font": ["system-ui", "sans-serif"],
        "font_mono": ["ui-monospace", "monospace"],
    }
    # Gradio's default grey and orange have too little contrast for text.
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="slate", **fonts).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        color_accent="*primary_700",
        border_color_accent="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_text_color="white",
    )
    # By a link: gradio reorders what it gets as `css`, so that rules for narrow pages lose.
    head = (
        '<link rel="stylesheet" href="/lipsync/page.css"><script type="module" '
        'src="/lipsync/jobs.js"></script>'
    )
    return {"theme": theme, "head": head}


class Page(Form):
    """Builds the page."""

    def __init__(self, submitter: Submitter, work: Path, live: LiveFaces | None = None) -> None:
        """Takes what the forms call, see `Form`; `live` is None without its packages."""
        super().__init__(submitter, work)
        self._live = live

    def build(self) -> gr.Blocks:
        """Returns the page."""
        blocks = gr.Blocks(
            title="lipsync_jax", analytics_enabled=False, delete_cache=(3600, 86_400)
        )
        with blocks:
            gr.HTML(texts.HEAD, elem_id="head")
            with gr.Row(elem_id="columns"):
                with gr.Column(scale=6, min_width=320), gr.Tabs():
                    with gr.Tab(texts.TAB_DUB, id=DUB):
                        DubForm(self._submitter, self._work).build()
                    with gr.Tab(texts.TAB_ANIMATE, id=ANIMATE):
                        self._animate_tab()
                    with gr.Tab(texts.TAB_SYNC, id=SYNC):
                        self._sync_tab()
                    with gr.Tab(texts.TAB_LIVE, id="live"):
                        self._live_tab()
                with gr.Column(scale=5, min_width=320):
                    gr.HTML(texts.PANEL)
        return blocks

    def _animate_tab(self) -> None:
        # Without a model for animation, one for dubbing moves the lips.
        lips_only = bool(self._actions.animation.missing())
        shelf = self._actions.dubbing if lips_only else self._actions.animation
        gr.Markdown(
            texts.LIPS_ONLY if lips_only else texts.ANIMATE_HELP,
            elem_classes="help", elem_id="animate-help",
        )  # fmt: skip
        picture = picture_input("animate-picture")
        audio = audio_input("animate-audio")
        model = gr.Dropdown(
            shelf.names, label=texts.MODEL, elem_id="animate-model",
            visible=len(shelf.names) > 1,
        )  # fmt: skip
        seed = gr.Number(
            0, precision=0, minimum=0, label=texts.SEED, elem_id="seed", visible=not lips_only
        )
        paste_back = gr.Checkbox(label=texts.PASTE_BACK, visible=not lips_only)
        consent = gr.Checkbox(label=texts.CONSENT, elem_id="animate-consent")
        start = gr.Button(
            texts.ANIMATE_LIPS if lips_only else texts.ANIMATE,
            variant="primary",
            interactive=not shelf.missing(),
            elem_id="animate",
        )
        told = gr.Markdown(elem_classes="help")
        submit_on_click(
            start,
            self._animate,
            [picture, audio, model, seed, paste_back, consent],
            told,
        )

    def _animate(
        self,
        request: gr.Request,
        picture: str | None,
        audio: str | None,
        model: str | None,
        seed: float | None,
        paste_back: bool,
        consent: bool,
    ) -> str:
        options: dict[str, Json] = {"model": model, "label": self._submitter.label or None}
        kind = DUB if self._actions.animation.missing() else ANIMATE
        if kind == ANIMATE:
            options |= {"seed": int(seed or 0), "paste_back": paste_back}
        files = self._files(face=picture, audio=audio)
        self._submitter.submit(kind, files, options, consent, client_of(request))
        return texts.QUEUED

    def _sync_tab(self) -> None:
        missing = self._actions.sync.missing()
        gr.Markdown(missing or texts.SYNC_HELP, elem_classes="help")
        video = gr.Video(
            label=texts.SYNC_VIDEO, sources=["upload"], buttons=[], elem_id="sync-video",
        )  # fmt: skip
        start = gr.Button(
            texts.MEASURE, variant="primary", interactive=not missing, elem_id="measure"
        )
        told = gr.Markdown(elem_classes="help")
        submit_on_click(start, self._measure, [video], told)

    def _measure(self, request: gr.Request, video: str | None) -> str:
        self._submitter.submit(SYNC, self._files(video=video), {}, False, client_of(request))
        return texts.QUEUED

    def _live_tab(self) -> None:
        if self._live is None:
            gr.HTML(texts.LIVE_MISSING)
            return
        gr.Markdown(texts.LIVE_HELP, elem_classes="help")
        video = gr.Video(
            label=texts.FACE_VIDEO, sources=["upload"], buttons=[], elem_id="live-video"
        )
        start = gr.Button(texts.PREPARE, variant="primary", elem_id="prepare")
        told, frame = gr.Markdown(elem_classes="help", elem_id="live-plan"), gr.HTML()
        start.click(told_in_words(self._prepare), video, [told, frame], **PRIVATE)

    def _prepare(self, video: str | None) -> Iterator[tuple[str, str]]:
        """Prepares a live face; the frame with the live page appears when one is ready."""
        assert self._live is not None  # else there is no button
        path, step = self._files(video=video)["video"], ""
        yield texts.PREPARING, ""
        for step in self._live.prepare(path):
            yield step, ""
        yield step, texts.LIVE_FRAME
