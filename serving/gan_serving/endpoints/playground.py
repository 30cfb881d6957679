"""GET / and /ui/: the playground, a page of plain ES modules that calls this service and nothing else.

The files are read once and served from memory: no path of a request reaches the file system.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .etag import matches

PAGE: Final = "index.html"
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from anywhere else, and nothing inline: whatever a model's card says, the page runs its own code alone."""


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


@lru_cache
def files() -> dict[str, _File]:
    """The page's files by name."""
    found = {}
    for entry in resources.files("gan_serving").joinpath("ui").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            content = entry.read_bytes()
            found[entry.name] = _File(content, _TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


async def show_file(request: Request) -> Response:
    """GET /ui/ and its files."""
    name = request.path_params.get("name") or PAGE
    file = files().get(name)
    if file is None:
        return Response(status_code=404)  # the guard says it in the one shape of errors
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",  # ask each time, so that page and service are of one version
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if matches(file.etag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


async def show_folder(request: Request) -> Response:
    """GET / and /ui: to the page, whose files are below it. A relative address is right behind a proxy's prefix, too.

    BentoML's own page for / has a script of Google's in it, and would tell them of every visit.
    """
    return RedirectResponse("ui/" + (f"?{request.url.query}" if request.url.query else ""))


ROUTES: Final = (
    Route("/", show_folder),
    Route("/ui", show_folder),
    Route("/ui/", show_file),
    Route("/ui/{name}", show_file),
)
