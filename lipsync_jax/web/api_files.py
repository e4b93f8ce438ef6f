"""The HTTP interface's part for files: uploads, faces, a preview."""

import io

import numpy as np
from fastapi import FastAPI, UploadFile
from fastapi.responses import Response
from PIL import Image
from pydantic import BaseModel, Field

from lipsync_jax.types import Json
from lipsync_jax.web import inputs
from lipsync_jax.web.actions import Actions
from lipsync_jax.web.uploads import Uploads, safe_name


class FaceList(BaseModel, extra="forbid"):
    """A video whose persons are listed."""

    video: str


class PreviewRequest(BaseModel, extra="forbid"):
    """A frame to dub."""

    face: str
    audio: str
    moment: float = Field(0.0, ge=0, description="seconds of the result")
    options: dict[str, Json] = Field(default_factory=dict)


def add_routes(app: FastAPI, actions: Actions, uploads: Uploads) -> None:
    """Adds the routes of files.

    Args:
        app: takes them.
        actions: the models.
        uploads: keeps the files.
    """

    @app.post("/api/files", tags=["files"], status_code=201)
    def add_file(file: UploadFile) -> dict[str, Json]:
        """Uploads an audio, video or image file; kept for a day."""
        name = safe_name(file.filename or "")
        file_id, path = uploads.add(name, file.file)
        try:
            found = inputs.inspect(path, name)
        except ValueError:
            uploads.remove(file_id)
            raise
        return {"file": file_id, "name": name, **found._asdict()}

    @app.delete("/api/files/{file_id}", tags=["files"], status_code=204)
    def delete_file(file_id: str) -> None:
        """Deletes an uploaded file; jobs have copies."""
        uploads.path(file_id)
        uploads.remove(file_id)

    @app.post("/api/faces", tags=["files"])
    def faces(request: FaceList) -> list[dict[str, Json]]:
        """Lists the persons of a video: the number for `face_id`, and (start, end) seconds."""
        people = actions.people(uploads.path(request.video, "video"), "video")
        return [{"face_id": p.number, "intervals": p.intervals} for p in people]

    @app.post("/api/preview", tags=["files"], response_class=Response)
    def preview(request: PreviewRequest) -> Response:
        """Dubs one frame: a PNG image, with the frame before dubbing on the left."""
        frame = actions.preview(
            uploads.path(request.face, "face"),
            uploads.path(request.audio, "audio"),
            request.moment,
            request.options,
        )
        content = io.BytesIO()
        Image.fromarray(np.concatenate([frame.before, frame.after], axis=1)).save(content, "PNG")
        headers = {"x-moment": f"{frame.moment:.3f}", "x-edited": str(frame.edited).lower()}
        return Response(content.getvalue(), media_type="image/png", headers=headers)
