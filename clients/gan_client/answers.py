"""How each call's answer becomes its result. All raise MalformedAnswerError for what is not the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from .archive import MalformedAnswerError, read_archive
from .errors import fault
from .exchange import HttpAnswer
from .images import Generation, Image
from .rendered import Animation, Frames, Latents, Rendered, read_npy
from .requests import expected_seeds
from .types import AnimationFormat, Format, GenerateRequest, LatentsRequest, LatentsResponse

_B = TypeVar("_B", bound=BaseModel)

_MEDIA_TYPES: Final[dict[Format | AnimationFormat, str]] = {
    "json": "application/json",
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "npy": "application/x-npy",
    "zip": "application/zip",
}
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Health:
    """What `GET /readyz` said; true if the service is ready."""

    ready: bool
    """Whether the service accepts requests."""

    status: int
    """The HTTP status: 200 or 503."""

    def __bool__(self) -> bool:
        return self.ready


def health(answer: HttpAnswer) -> Health:
    """Of `GET /readyz`."""
    if answer.status == HTTPStatus.OK and answer.media_type != "text/plain":
        raise MalformedAnswerError(f"{answer.kind} where readiness was expected")
    return Health(ready=answer.status == HTTPStatus.OK, status=answer.status)


def generation(answer: HttpAnswer, request: GenerateRequest) -> Generation:
    """Of `POST /generate` with the format `zip`."""
    if not answer.body.startswith(b"PK"):
        raise MalformedAnswerError(f"{answer.kind} where a zip archive was expected")
    index, pngs = read_archive(answer.body)
    seeds, due = [image.seed for image in index.images], expected_seeds(request)
    if len(seeds) != len(due):
        raise MalformedAnswerError(f"an archive of {len(seeds)} images where {len(due)} were expected")
    if seeds != due:
        raise MalformedAnswerError("an archive with images of other seeds than were asked for")
    images = [
        Image(png, entry.seed, entry.label, entry.label_name) for png, entry in zip(pngs, index.images, strict=True)
    ]
    artifact = answer.headers.get("x-gan-artifact")
    return Generation(images, model=index.model, request_id=answer.request_id, artifact=artifact)


def rendered(answer: HttpAnswer, request: GenerateRequest, wanted: Format) -> Rendered:
    """Of `POST /generate` with any format that is one file."""
    _check_media_type(answer, wanted)
    seed = expected_seeds(request)[0]
    return Rendered(answer.body, _MEDIA_TYPES[wanted], answer.headers.get("x-gan-model"), answer.request_id, seed)


def animation(answer: HttpAnswer, wanted: AnimationFormat) -> Animation:
    """Of `POST /interpolate`."""
    _check_media_type(answer, wanted)
    count = answer.headers.get("x-gan-frames", "")
    frames = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else None
    model = answer.headers.get("x-gan-model")
    return Animation(answer.body, _MEDIA_TYPES[wanted], model, answer.request_id, frames)


def frames(answer: HttpAnswer) -> Frames:
    """Of `POST /interpolate` with the format `npy`."""
    _check_media_type(answer, "npy")
    array = read_npy(answer.body)
    if array.dtype != "uint8" or array.ndim != 4 or array.shape[3] not in (1, 3):
        raise MalformedAnswerError(
            f"an array {array.dtype} of shape {array.shape} where uint8 (N, H, W, C) was expected"
        )
    return Frames(array, answer.headers.get("x-gan-model"), answer.request_id)


def latents(answer: HttpAnswer, request: LatentsRequest) -> Latents:
    """Of `POST /latents`."""
    import numpy as np

    body = body_of(LatentsResponse, "latents")(answer)
    widths, due = {len(row) for row in body.latents}, len(request.seeds)
    if len(widths) != 1 or len(body.latents) != due or (body.labels is not None and len(body.labels) != due):
        raise MalformedAnswerError(f"latents that are not a row and a label for each of {due} seeds")
    return Latents(np.array(body.latents, np.float32), body.labels, body.model, answer.request_id)


def body_of(kind: type[_B], what: str) -> Callable[[HttpAnswer], _B]:
    """A reader of a JSON body; `what` says in an error what was expected."""

    def read(answer: HttpAnswer) -> _B:
        try:
            return kind.model_validate_json(answer.body)
        except ValidationError as error:
            raise MalformedAnswerError(f"{answer.kind} where {what} was expected ({fault(error)})") from error

    return read


def card(answer: HttpAnswer) -> str:
    """Of `GET /models/{name}/card`."""
    if answer.media_type != "text/markdown":
        raise MalformedAnswerError(f"{answer.kind} where a model card was expected")
    return answer.body.decode("utf-8", "replace")


def preview(answer: HttpAnswer) -> bytes:
    """Of `GET /models/{name}/preview.png`."""
    if not answer.body.startswith(_PNG):
        raise MalformedAnswerError(f"{answer.kind} where a PNG was expected")
    return answer.body


def _check_media_type(answer: HttpAnswer, wanted: Format | AnimationFormat) -> None:
    if answer.media_type != _MEDIA_TYPES[wanted]:
        raise MalformedAnswerError(f"{answer.kind} where {_MEDIA_TYPES[wanted]} was expected")
