"""Whether a request that changes or costs something was sent by a web page that may not.

CORS keeps a foreign page from reading an answer, and from sending what a plain form couldn't; a form's POST needs no
leave, and an image's address none either. So any page that a visitor's browser shows could unload the models of a
service on the visitor's own machine or network, or have it draw, had the browser not to say whose page it is: in
`Origin`, and of a GET that only embeds an image in `Sec-Fetch-Site` and `Referer`. What comes from no browser has none
of them, and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gan_serving.errors import ForeignPageError
from gan_serving.messages import show

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that any page may use: they change nothing, and it can't read their answers."""
COSTLY: Final = frozenset({("GET", "/generate"), ("HEAD", "/generate")})
"""Those that have images drawn all the same."""
_HOSTS: Final = (b"host", b"x-forwarded-host")
"""No page can set them. A proxy may have put another name into the first, and the visitor's into the second."""
_PORTS: Final = {b"http": b":80", b"https": b":443"}


def may_cost(method: str, path: str) -> bool:
    """Whether a request changes or costs something, so that not every page may send it."""
    return method not in _READING or (method, path) in COSTLY


class ForeignPages:
    """Refuses requests of pages that are neither the service's own nor listed.

    Args:
        listed: origins whose pages may call, or `*`.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(origin.encode() for origin in listed)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises ForeignPageError.

        Args:
            headers: of a request, by their names in lower case.
        """
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site") != b"cross-site":
                return  # from no browser, typed in, or of a page of the same site
            origin = _origin_of(headers.get(b"referer", b""))
        if b"*" in self._listed or origin in self._listed:
            return
        # What the browser itself makes of it, where the connection is safe: right behind any proxy.
        if headers.get(b"sec-fetch-site") in (b"same-origin", b"none"):
            return
        if not _is_own(origin, headers):
            advice = "GAN_CORS_ORIGINS lists those that may"
            if not origin.partition(b"://")[2]:
                advice = "it has no origin that GAN_CORS_ORIGINS could list: have a server give out the page"
            raise ForeignPageError(
                f"the request was sent by a page of the origin {show(origin.decode('latin-1'))}, which may not call; "
                + advice
            )


def _origin_of(referer: bytes) -> bytes:
    """The origin of a page's address, which the page may have kept from being sent."""
    parts = referer.split(b"/", 3)
    return b"/".join(parts[:3]) if len(parts) > len((b"scheme:", b"")) else b"null"


def _is_own(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a page of this origin came from where its request went; the origin `null` never did."""
    scheme, _, host = origin.lower().partition(b"://")
    named = [headers.get(name, b"").partition(b",")[0].strip().lower() for name in _HOSTS]
    if port := headers.get(b"x-forwarded-port", b"").partition(b",")[0].strip():
        named += [name + b":" + port for name in named if b":" not in name]  # as proxies have it that name no port
    return bool(host) and any(name.removesuffix(_PORTS.get(scheme, b"")) == host for name in named)
