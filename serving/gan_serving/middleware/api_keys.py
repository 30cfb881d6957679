"""API keys: who may call. Only hashes are kept, and no key is ever logged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from gan_serving.errors import SettingsError, UnauthorizedError
from gan_serving.keys import LINE, NAMELESS
from gan_serving.probes import PROBES
from gan_serving.process.threaded_tasks import ThreadedTask, ThreadedTasks
from gan_serving.settings import Settings

logger = logging.getLogger("bentoml.ganworks")

CALLER_SCOPE_KEY: Final = "gan_serving.key"
"""Where the guard puts the name of the caller's key into a request's ASGI scope."""

MIN_LENGTH: Final = 16
"""Characters of a key in GAN_API_KEYS: hashes without salt protect nothing that can be guessed."""
LOOK_SECONDS: Final = 1.0
"""How often, at most, somebody looks whether the file has changed: a revoked key works no longer than this."""
_SETTLED: Final = 2.0  # seconds after which a file system's clock surely shows a second change
_MAX_FILE: Final = 2**20  # bytes
_BEARER: Final = "bearer "

_PAGES: Final = frozenset({"/", "/docs.json", "/ui", "/favicon.ico"})
_FOLDERS: Final = ("/ui/", "/static_content/")

Entries = tuple[tuple[str, bytes], ...]
"""Name and SHA-256 digest of each key."""
_State: TypeAlias = tuple[int, int, int]
"""Modification time, size and inode of the file."""


class _Found(NamedTuple):
    state: _State | None  # None: read it again
    entries: Entries | None  # None: as before


class Keys:
    """The keys of one worker. None at all: the service is open."""

    def __init__(
        self,
        fixed: Entries = (),
        file: Path | None = None,
        *,
        metrics_open: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file.

        Raises:
            SettingsError: it can't be read, has a line that is none, or no key.
        """
        self._fixed = fixed
        self._file = file
        self._open = PROBES | _PAGES | ({"/metrics"} if metrics_open else frozenset())
        self._clock = clock
        self._next_look = clock() + LOOK_SECONDS
        self._seen: _State | None = None  # of the file; None: read it again
        self._reading: ThreadedTasks[Path, _Found] = ThreadedTasks(lambda _: None)
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""  # that was logged last
        self._entries = fixed
        if file is not None:
            found = _read_if_changed(file, None)
            self._seen, self._entries = found.state, fixed + (found.entries or ())
            if self._entries == fixed:
                raise SettingsError(f"GAN_API_KEYS_FILE: {file} has no key; make one with python -m gan_serving.keys")

    @classmethod
    def from_settings(cls, settings: Settings, clock: Callable[[], float] = time.monotonic) -> Keys:
        """The keys that the environment and the file name.

        Raises:
            SettingsError: one line; a service that should have keys doesn't start open.
        """
        fixed = () if settings.api_keys is None else tuple(_from_environment(settings.api_keys))
        if settings.api_keys_file == "":
            raise SettingsError("GAN_API_KEYS_FILE is empty; name a file, or unset it for a service without keys")
        file = None if settings.api_keys_file is None else Path(settings.api_keys_file).expanduser()
        return cls(fixed, file, metrics_open=settings.metrics_open, clock=clock)

    @property
    def enabled(self) -> bool:
        """Whether callers need a key."""
        return bool(self._fixed) or self._file is not None

    def is_open(self, method: str, path: str) -> bool:
        """Whether a request needs no key: probes, the pages that ask for one, and /metrics if so configured."""
        return method in ("GET", "HEAD") and (path in self._open or path.startswith(_FOLDERS))

    async def check(self, headers: Mapping[str, str]) -> str:
        """The name of the key in a request's headers, which are looked up in lower case; "" when the service is open.

        Raises:
            UnauthorizedError: there is no key in `Authorization: Bearer` or `X-API-Key`, or it is not one of ours.
        """
        if not self.enabled:
            return ""
        if self._file is not None and (self._looking or self._clock() >= self._next_look):
            await self._look(self._file)
        key = _key_in(headers)
        if not key:
            raise UnauthorizedError("an API key is needed; send it as Authorization: Bearer KEY or X-API-Key: KEY")
        digest = hashlib.sha256(key.encode("latin-1", "replace")).digest()
        found = None
        for name, known in self._entries:  # always all of them: the time tells nothing
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise UnauthorizedError("the API key is not one of this service's; ask its operator for a valid one")
        return found

    async def _look(self, file: Path) -> None:
        """Read the file again if it has changed; if it is broken, or hangs, what was read before stays.

        Whoever asks meanwhile waits too: after a quiet hour, a key that was revoked long ago would work once more.
        """
        if self._looking is None or self._looking.done():
            self._next_look = self._clock() + LOOK_SECONDS
            self._looking = asyncio.create_task(self._compare(file))
            self._looking.add_done_callback(self._looked)  # also where nobody waits for it any more
        await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[None]) -> None:
        if self._looking is task:
            self._looking = None

    async def _compare(self, file: Path) -> None:
        task = ThreadedTask(object(), partial(_read_if_changed, file, self._seen))
        try:
            found = await self._reading.run_one(file, task, LOOK_SECONDS)
        except SettingsError as error:
            self._report(f"the API keys that were read before stay valid: {error}")
            return
        if found is None:
            self._report(
                f"the API keys that were read before stay valid: {file} is not read after {LOOK_SECONDS:g} s; its file "
                "system may hang"
            )
            return
        self._seen = found.state
        if found.entries is None:
            return
        entries = self._fixed + found.entries
        if entries != self._entries:
            logger.info("%s was read again: %d API keys", file, len(entries))
            self._entries = entries
        self._report("" if entries else f"{file} has no key any more: nobody can call")

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            logger.error("%s", problem)
        self._problem = problem


def _read_if_changed(file: Path, seen: _State | None) -> _Found:
    """What the file holds; raises SettingsError if it can't be read."""
    state = _state(file)
    if state == seen:
        return _Found(seen, None)
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(content) > _MAX_FILE:
        raise SettingsError(f"GAN_API_KEYS_FILE: {file} has more than {_MAX_FILE} bytes; a key takes one line")
    # A file that was only just written may be written again within one tick of its clock.
    return _Found(state if time.time() - state[0] / 1e9 > _SETTLED else None, tuple(_from_lines(file, content)))


def _state(file: Path) -> _State:
    """What changes when the file does; raises SettingsError if nobody can say."""
    try:
        found = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _unreadable(file: Path, error: OSError) -> SettingsError:
    return SettingsError(f"GAN_API_KEYS_FILE: can't read {file}: {error.strerror}")


def _key_in(headers: Mapping[str, str]) -> str:
    given = headers.get("authorization", "")
    if given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    return headers.get("x-api-key", "").strip()


def _from_environment(text: str) -> Iterator[tuple[str, bytes]]:
    keys = [part.strip() for part in text.split(",") if part.strip()]
    if not keys:
        raise SettingsError("GAN_API_KEYS has no key in it; unset it for a service without keys")
    for number, key in enumerate(keys, 1):
        # The message never shows what may be nearly a key.
        if len(key) < MIN_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                f"GAN_API_KEYS: key {number} must be at least {MIN_LENGTH} printable ASCII characters without spaces; "
                "make one with python -m gan_serving.keys"
            )
        yield f"environment-{number}", hashlib.sha256(key.encode()).digest()


def _from_lines(file: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = LINE.fullmatch(text)
        if match is None:
            # It may be a key that somebody forgot to hash: the line isn't shown.
            raise SettingsError(
                f"GAN_API_KEYS_FILE: line {number} of {file} is not name:sha256 with 64 hexadecimal digits; "
                "add one with python -m gan_serving.keys NAME >> FILE"
            )
        name, digest = match[1], bytes.fromhex(match[2])
        yield (f"key-{match[2][:8].lower()}" if name == NAMELESS else name), digest
