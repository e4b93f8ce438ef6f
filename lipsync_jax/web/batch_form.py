"""The form that dubs many videos in one go."""

import gradio as gr

from lipsync_jax.types import Untyped
from lipsync_jax.web import batches, dub_options, texts
from lipsync_jax.web.batches import Row
from lipsync_jax.web.handlers import QUIET, Form, submit_on_click, told_in_words
from lipsync_jax.web.submission import client_of


class BatchForm(Form):
    """Fields of a batch: faces, recordings, and a table that pairs them."""

    def build(self, settings: list[Untyped]) -> None:
        """Adds the fields.

        Args:
            settings: fields of options of all rows: model, quality and `dub_options.add_fields`.
        """
        gr.Markdown(texts.BATCH_HELP, elem_classes="help")
        faces, recordings = (  # of any type: not every system knows those of videos
            gr.File(label=label, file_count="multiple", height=180, elem_id=name)
            for label, name in (
                (texts.FACES, "batch-faces"),
                (texts.RECORDINGS, "batch-recordings"),
            )
        )
        table = gr.File(label=texts.TABLE, file_types=[".csv"], height=100, elem_id="batch-table")
        gr.Markdown(texts.TABLE_HELP, elem_classes="help")
        rows = gr.Markdown(elem_classes="help", elem_id="batch-rows")
        consent = gr.Checkbox(label=texts.CONSENT, elem_id="batch-consent")
        start = gr.Button(texts.ADD_BATCH, elem_id="batch")
        told = gr.Markdown(elem_classes="help", elem_id="batch-told")
        files = [faces, recordings, table]
        for component in files:
            component.change(told_in_words(self._describe), files, rows, **QUIET)
        submit_on_click(start, self._add, [*files, consent, *settings], told)

    def _rows(
        self, faces: list[str] | None, recordings: list[str] | None, table: str | None
    ) -> list[Row]:
        """Returns the rows of the files, whose own options are those of a table."""
        paths, speech = (
            [self._path(path) for path in files or ()] for files in (faces, recordings)
        )
        if table:
            return batches.read_table(self._path(table), paths, speech)
        return batches.pair_files(paths, speech)

    def _describe(
        self, faces: list[str] | None, recordings: list[str] | None, table: str | None
    ) -> str:
        """Says how many rows there are, and what is wrong with some; before the batch starts."""
        if not table and not (faces and recordings):
            return ""
        try:
            rows = self._rows(faces, recordings, table)
        except ValueError as error:
            return texts.spelled(str(error), in_batch=True)
        return texts.batch_rows([row.error for row in rows])

    def _add(
        self,
        request: gr.Request,
        faces: list[str] | None,
        recordings: list[str] | None,
        table: str | None,
        consent: bool,
        model: str | None,
        quality: str,
        *more: Untyped,
    ) -> str:
        shared = dub_options.read(model, quality, False, None, *more)
        rows = [
            Row(row.files, shared | dict(row.options), row.names, row.outfile, row.error)
            for row in self._rows(faces, recordings, table)
        ]
        jobs = self._submitter.submit_batch(rows, consent, client_of(request))
        return texts.batch_added(len(jobs), sum(bool(job.error) for job in jobs))
