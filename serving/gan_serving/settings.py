"""Every setting of the service, from GAN_* environment variables, in one place."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(ValueError):
    """A GAN_* variable with an impossible value; the message is one line."""


class Settings(BaseSettings):
    """Read once per process; the field `max_n` is the variable GAN_MAX_N, and so on."""

    model_config = SettingsConfigDict(env_prefix="GAN_", frozen=True, extra="ignore")

    models: str = Field(default="models", description="Folders of artifacts, separated by ':'.")
    default_model: str | None = Field(
        default=None, description="Generator of requests that name none; default: the newest artifact."
    )
    max_n: int = Field(default=4096, ge=1, le=1_000_000, description="Largest number of images in a request.")
    max_batch: int = Field(default=64, ge=1, le=4096, description="Largest number of images in one run of a session.")
    queue_images: int = Field(
        default=16384, ge=1, le=10_000_000, description="Images that may wait; above, requests get 429."
    )
    workers: int = Field(default=1, ge=1, le=256, description="Worker processes.")
    threads: int = Field(
        default=0, ge=0, le=1024, description="Threads of a session; 0 shares the cores among the workers."
    )
    encode_threads: int = Field(default=2, ge=1, le=256, description="Threads that encode images.")
    timeout: float = Field(default=60.0, gt=0, le=86400, description="Seconds a request may take.")
    max_body: int = Field(default=16 * 2**20, ge=1024, le=2**31, description="Largest request body in bytes.")

    @property
    def model_folders(self) -> list[Path]:
        """The folders of `models`."""
        return [Path(part).expanduser() for part in self.models.split(":") if part]

    @property
    def session_threads(self) -> int:
        """Threads of one session: what was asked for, or this worker's share of the cores."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.threads or max(1, cores // self.workers)


@lru_cache
def settings() -> Settings:
    """This process's settings.

    Raises:
        SettingsError: naming the first variable at fault, its value and what it may be.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GAN_" + "_".join(map(str, first["loc"])).upper()
        raise SettingsError(f"{name} is {first['input']!r}: {first['msg']}") from error
