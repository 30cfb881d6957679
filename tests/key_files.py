"""Keys, the files that name them, and who gets in."""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers

from gan_serving.errors import UnauthorizedError
from gan_serving.middleware.api_keys import LOOK_SECONDS, Keys
from gan_serving.settings import Settings

ALICE, BOB, CAROL = "alice-" + "a" * 20, "bob-" + "b" * 20, "carol-" + "c" * 20
LONG_AGO = 1_000_000_000  # seconds: a modification time that no later write can share


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def check(keys: Keys, headers: Mapping[str, str]) -> str:
    return asyncio.run(keys.check(headers))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self) -> None:
        self.now += LOOK_SECONDS


def write(path: Path, text: str | bytes, age: int = 0) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (LONG_AGO - age, LONG_AGO - age))


def keys_of(clock: Clock | None = None, **settings: object) -> Keys:
    return Keys.from_settings(Settings(**settings), clock or Clock())  # type: ignore[arg-type]


def bearer(key: str) -> Headers:
    return Headers({"Authorization": f"Bearer {key}"})


def admits(keys: Keys, key: str) -> bool:
    try:
        check(keys, bearer(key))
    except UnauthorizedError:
        return False
    return True
