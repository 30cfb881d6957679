"""Files from the web: several addresses for each, a broken download goes on where it stopped, a checksum decides."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Final

import httpx

from gan_training.errors import first_line
from gan_training.files.atomic import part_of
from gan_training.files.lock import alone_with

from .image_data import DataError
from .source import ProgressFn, keep_silent

MAX_BYTES: Final = 256 * 2**20
"""Most bytes that are taken from any address."""
TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
"""Seconds without a byte."""

_RESUMES: Final = 5  # in a row, of one address, each after at least one new byte


class _FailedError(Exception):
    """What went wrong at one address, in a few words."""


def fetch(urls: Sequence[str], path: Path, sha256: str, progress: ProgressFn = keep_silent) -> None:
    """Make `path` the file with that checksum, from the first of `urls` that has it; does nothing if `path` exists.

    What a broken download has brought is kept beside `path`, and the next one, also of another process or from
    another address, asks only for the rest. Two processes that want the same file wait for each other.

    Args:
        urls: http or https addresses of the same bytes.
        path: where the file goes; its folder is made.
        sha256: of the file, in hex.
        progress: told (bytes so far, bytes in all).

    Raises:
        DataError: no address has the file, naming each and what is wrong with it; or `path` can't be written.
    """
    if path.is_file():
        return
    failures: list[str] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(path)
        with alone_with(part) as file:
            if path.is_file():  # another process was quicker
                part.unlink()
                return
            for url in urls:
                try:
                    _complete(url, file, sha256, progress)
                except _FailedError as error:
                    failures.append(f"{url}: {error}")
                    continue
                os.fsync(file.fileno())
                part.replace(path)
                return
            if file.seek(0, os.SEEK_END) == 0:
                part.unlink()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise DataError(f"{path}: can't be written ({reason}); set GAN_CACHE to a folder that can be") from error
    raise DataError(
        f"{path.name} can't be downloaded ({'; '.join(failures)}); put the file into {path.parent} by hand, or set "
        "GAN_DATA_MIRROR to an address that has it"
    )


def _complete(url: str, file: BufferedRandom, sha256: str, progress: ProgressFn) -> None:
    """Bring `file` from what it holds to the whole file; empties it where the checksum says that it is another."""
    resumed = file.seek(0, os.SEEK_END) > 0
    _download(url, file, progress)
    if _sha256(file) == sha256:
        return
    file.truncate(0)
    if resumed:  # what was there before may have been the part that is wrong
        _download(url, file, progress)
        if _sha256(file) == sha256:
            return
        file.truncate(0)
    raise _FailedError("the file there has another SHA-256 than the published one")


def _download(url: str, file: BufferedRandom, progress: ProgressFn) -> None:
    """Append what `file` lacks, and ask again where the connection breaks."""
    for attempt in range(_RESUMES + 1):
        before = file.seek(0, os.SEEK_END)
        try:
            return _request(url, file, before, progress)
        except (httpx.InvalidURL, ImportError, ValueError) as error:  # of the address, or of a proxy's
            raise _FailedError(f"can't be asked: {first_line(error)}") from error
        except httpx.HTTPError as error:
            if attempt == _RESUMES or file.seek(0, os.SEEK_END) <= before:
                raise _FailedError(_in_words(error)) from error
    raise AssertionError("the last attempt returns or raises")


def _request(url: str, file: BufferedRandom, start: int, progress: ProgressFn) -> None:
    # The bytes as they lie on the server: with an encoding, a .gz might arrive unpacked, and ranges mean nothing.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        status = response.status_code
        if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # nothing follows: the checksum tells whether that is the whole file
        if status == httpx.codes.PARTIAL_CONTENT and _first_byte(response) != start:
            raise _FailedError(f"sent other bytes than those from {start} on")
        if status == httpx.codes.OK:
            start = 0  # the server knows no ranges, or nothing was there: the file from its beginning
        elif status != httpx.codes.PARTIAL_CONTENT:
            raise _FailedError(f"HTTP {status} {response.reason_phrase}".rstrip())
        file.truncate(start)
        file.seek(start)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else 0
        done = start
        for block in response.iter_raw():
            done += len(block)
            if done > MAX_BYTES:
                file.truncate(0)
                raise _FailedError(f"sends more than {MAX_BYTES // 2**20} MiB")
            file.write(block)
            progress(done, max(total, done))
        file.flush()


def _first_byte(response: httpx.Response) -> int | None:
    """Where the part that was sent begins, by RFC 9110, section 14.4."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _sha256(file: BufferedRandom) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _in_words(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"no answer ({type(error).__name__})"
    return first_line(error)
