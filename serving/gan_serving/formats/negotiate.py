"""Which format a response has: what the request says, else what its Accept header likes best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from gan_client.types import AnimationFormat, Format, GenerateRequest, InterpolateRequest
from gan_export.artifact import ImageSpec
from gan_export.artifact.sheet import sheet_size
from gan_serving.errors import InvalidRequestError

_Name = TypeVar("_Name", bound=str)

MEDIA_TYPES: Final[dict[str, Format]] = {
    "application/json": "json",
    "image/png": "png",
    "image/webp": "webp",
    "image/jpeg": "jpeg",
    "application/x-npy": "npy",
    "application/zip": "zip",
    "application/x-ndjson": "ndjson",
}
ANIMATION_MEDIA_TYPES: Final[dict[str, AnimationFormat]] = {
    "image/gif": "gif",
    "image/webp": "webp",
    "image/png": "png",
    "application/x-npy": "npy",
}
_LONGEST_SIDE: Final = {"webp": 16_383, "jpeg": 65_500}  # pixels, of a picture's height or width


def format_of(asked: GenerateRequest, accept: str, n: int, image: ImageSpec) -> Format:
    """The format of n images.

    Raises:
        InvalidRequestError: it has no quality, or can't hold a contact sheet of that size.
    """
    wanted = asked.format or choose_format(accept)
    _check_quality(asked.quality, wanted, ("jpeg", "webp"))
    if wanted in _LONGEST_SIDE and n > 1:
        height, width = sheet_size(n, image.height, image.width, asked.columns)
        longest = _LONGEST_SIDE[wanted]
        if max(height, width) > longest:
            raise InvalidRequestError(
                f"the contact sheet would be {width} pixels wide and {height} high, and {wanted} ends at {longest}; "
                "ask for fewer images, other columns or png",
                "columns",
            )
    return wanted


def animation_format_of(asked: InterpolateRequest, accept: str) -> AnimationFormat:
    """The format of an interpolation.

    Raises:
        InvalidRequestError: it has no quality.
    """
    wanted = asked.format or choose(accept, ANIMATION_MEDIA_TYPES, "gif")
    _check_quality(asked.quality, wanted, ("webp",))
    return wanted


def _check_quality(quality: int | None, wanted: str, lossy: tuple[str, ...]) -> None:
    if quality is not None and wanted not in lossy:
        raise InvalidRequestError(
            f"quality is {quality}, but the format is {wanted}; quality is for {' and '.join(lossy)}", "quality"
        )


def choose_format(accept: str) -> Format:
    """The format of /generate that an Accept header likes best; json when it names none of them."""
    return choose(accept, MEDIA_TYPES, "json")


def choose(accept: str, offers: Mapping[str, _Name], default: _Name) -> _Name:
    """The offer that an Accept header likes best (RFC 9110, section 12.5.1), `default` when it names none.

    The highest q wins; among equals the range that comes first, and in a range the default, then the order of `offers`.
    """
    if accept in ("", "*/*"):
        return default
    ranges = _ranges(accept)
    best: tuple[float, int, bool] | None = None
    chosen = default
    for media_type, name in offers.items():
        # The most specific range decides, so that `image/*, image/webp;q=0` means any picture but WebP.
        for known in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            if known in ranges:
                q, place = ranges[known]
                rank = (q, -place, name == default)
                if q > 0 and (best is None or rank > best):
                    best, chosen = rank, name
                break
    return chosen


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Media range -> its q (0 to 1) and its place in the header; what can't be read counts for nothing."""
    ranges: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(accept.split(",")):
        media_range, *parameters = part.split(";")
        q = "1"
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                q = value.strip()
        number = float(q) if q.isascii() and q.replace(".", "", 1).isdigit() else 0.0
        if number <= 1:
            ranges.setdefault(media_range.strip().lower(), (number, place))
    return ranges
