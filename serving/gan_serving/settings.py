"""Every setting of the service, from GAN_* environment variables, in one place.

    python -m gan_serving.settings

prints the table of docs/serving.md.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, Literal, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

try:
    from pydantic_settings import BaseSettings, SettingsConfigDict
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    advice = f"needs the package {error.name!r}; install it with: pip install 'ganworks[serve]'"
    sys.exit(f"python -m gan_serving.settings: {advice}")

from gan_export.artifact.processor import usable_cores
from gan_export.artifact.providers import ProviderWord

from .errors import SettingsError as SettingsError
from .sources import Source, parse_sources

_CLIENTS_KEY: Final = "GAN_API_KEY"
_OF_OTHERS: Final = frozenset(
    {_CLIENTS_KEY, "GAN_CACHE", "GAN_CACHE_GIB", "GAN_DATA_MIRROR", "GAN_INCEPTION_WEIGHTS", "GAN_URL"}
)
"""Variables of the client and of training, which may be in the same environment."""


class Settings(BaseSettings):
    """Read once per process; the field `max_n` is the variable GAN_MAX_N, and so on."""

    model_config = SettingsConfigDict(env_prefix="GAN_", frozen=True, extra="ignore", str_strip_whitespace=True)

    models: str = Field(
        default="models?:zoo",
        description="Folders of artifacts, artifacts, bento:NAME[:VERSION] of BentoML's model store, and `zoo` for the "
        "artifacts that come with the package, separated by ':'; a folder that may be missing ends in '?', and a "
        "relative folder right after a bento:NAME is written ./FOLDER.",
    )
    reload_seconds: float = Field(
        default=2.0, ge=0, le=86400, description="Seconds between looks for changed artifacts; 0: only on request."
    )
    default_model: str | None = Field(
        default=None,
        description="Generator of requests that name none; default: the newest artifact, and `mnist-cgan` where there "
        "is only the zoo.",
    )
    provider: Literal[ProviderWord, "auto"] = Field(
        default="cpu",
        description="What draws: the processor by ONNX Runtime or by OpenVINO, or a GPU; 'auto' takes the GPU for "
        "artifacts that are certified on it, where there is one.",
    )
    variant: Literal["fp32", "int8", "fp16", "auto"] = Field(
        default="fp32",
        description="Which graph of an artifact draws; 'auto' takes the fastest that is certified and within "
        "`GAN_MIN_PSNR`; an int8 that was made on a processor with instructions for it, only on such.",
    )
    min_psnr: float = Field(
        default=40.0, ge=0, le=200, description="Least PSNR in dB against float32 of what 'auto' takes."
    )
    max_n: int = Field(default=4096, ge=1, le=1_000_000, description="Largest number of images in a request.")
    max_batch: int = Field(default=64, ge=1, le=4096, description="Largest number of images in one run of a session.")
    queue_images: int = Field(
        default=16384, ge=1, le=10_000_000, description="Images that may wait; above, requests get 429."
    )
    workers: int = Field(default=1, ge=1, le=256, description="Worker processes.")
    threads: int = Field(
        default=0, ge=0, le=1024, description="Cores that a worker computes on; 0: its share of those that it sees."
    )
    encode_threads: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Threads that encode images; large animations and sheets have one of their own.",
    )
    timeout: float = Field(
        default=60.0,
        gt=0,
        le=86400,
        description="Seconds until a response must begin, and then until each next part of a long one.",
    )
    max_body: int = Field(default=16 * 2**20, ge=1024, le=2**31, description="Largest request body in bytes.")
    max_bodies: int = Field(
        default=128 * 2**20,
        ge=1024,
        le=2**40,
        description="Bytes of request bodies above 64 KiB that a worker holds at once; more get 503; at least "
        "`GAN_MAX_BODY`.",
    )

    api_keys: str | None = Field(
        default=None, repr=False, description="API keys, separated by ','; without keys or a file the service is open."
    )
    api_keys_file: str | None = Field(
        default=None, description="File of hashed API keys, a line each; read again when it changes."
    )
    metrics_open: bool = Field(default=True, description="Whether /metrics answers without an API key.")
    rate_limit: float = Field(
        default=0.0, ge=0, le=1e6, description="Requests per second of one key or address, in each worker; 0: no limit."
    )
    rate_burst: int = Field(
        default=20, ge=1, le=1_000_000, description="Requests of one key or address that may come at once."
    )
    rate_images: float = Field(
        default=0.0, ge=0, le=1e6, description="Images per second of one key or address, in each worker; 0: no limit."
    )
    cors_origins: str | None = Field(
        default=None, description="Web origins whose pages may call, separated by ',', or '*'; default: none."
    )
    header_timeout: float = Field(
        default=10.0, ge=0.01, le=3600, description="Seconds until a request's headers must be complete."
    )
    body_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds until a request's body must be complete."
    )
    send_timeout: float = Field(
        default=60.0, gt=0, le=86400, description="Seconds in which a client must take something of its response."
    )
    max_header: int = Field(
        default=16384, ge=1024, le=2**20, description="Largest request line and headers together, in bytes."
    )
    max_connections: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Open connections of a worker; more get 503, probes and /metrics apart; 0: no limit.",
    )
    access_log: Literal["on", "off", "all"] = Field(
        default="on", description="A line of JSON for each request; 'on' leaves out probes and /metrics, 'all' nothing."
    )

    cache_mib: float = Field(
        default=0.0, ge=0, le=65536, description="MiB of memory in which a worker keeps seeded responses; 0 keeps none."
    )
    drain: float = Field(
        default=8.0, ge=0, le=29, description="Seconds that requests have to finish when the service is told to stop."
    )

    @field_validator("default_model")
    @classmethod
    def _may_be_empty(cls, value: str | None) -> str | None:
        return value or None  # as a file that fills in variables leaves it

    @field_validator("models")
    @classmethod
    def _names_sources(cls, value: str) -> str:
        parse_sources(value)
        return value

    @field_validator("max_bodies")
    @classmethod
    def _has_room_for_one(cls, value: int, info: ValidationInfo) -> int:
        one = info.data.get("max_body", 0)
        if value < one:
            raise ValueError(f"give at least the {one} bytes of GAN_MAX_BODY, for one request of that size")
        return value

    @property
    def model_sources(self) -> list[Source]:
        """What `models` names."""
        return parse_sources(self.models)

    @property
    def session_threads(self) -> int:
        """Threads that a worker computes with: what was asked for, or this worker's share of the cores."""
        return self.threads or max(1, usable_cores() // self.workers)


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
        name = str(first["loc"][0])
        raise SettingsError(f"GAN_{name.upper()} is {first['input']!r}: {_advice(name, first)}") from error


def unknown_variables(environment: Collection[str]) -> list[str]:
    """A line for each GAN_* variable that nobody reads, or that leaves the service open, with what may have been meant.

    Args:
        environment: names of variables, in any case.
    """
    known = [name.upper() for name in Settings.model_fields]
    lines = []
    given = {name.upper() for name in environment}
    if _CLIENTS_KEY in given and not given & {"GAN_API_KEYS", "GAN_API_KEYS_FILE"}:
        lines.append(f"{_CLIENTS_KEY} is the client's, and the service is open; did you mean GAN_API_KEYS?")
    for name in sorted(environment):
        prefix, word = name[:4].upper(), name[4:].upper()
        if prefix != "GAN_" or word in known or prefix + word in _OF_OTHERS:
            continue
        meant = get_close_matches(word, known, 1)
        lines.append(f"{name} is not a setting and does nothing" + (f"; did you mean GAN_{meant[0]}?" if meant else ""))
    return lines


def _advice(name: str, error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    field = Settings.model_fields[name]
    kind = "a whole number, " if field.annotation is int else "a number, " if field.annotation is float else ""
    return f"give {kind}{_allowed(field)}".replace("`", "")


def markdown_table() -> str:
    """Every setting in the order of its definition: variable, default, allowed values and meaning."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{_shown(field.default)}`"
        rows.append(f"| `GAN_{name.upper()}` | {default} | {_allowed(field)} | {field.description} |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    """A value as it is written into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _allowed(field: FieldInfo) -> str:
    choices = ("true", "false") if field.annotation is bool else get_args(field.annotation)
    words = [f"`{choice}`" for choice in choices if isinstance(choice, str)]
    if words:
        return " or ".join([", ".join(words[:-1]), words[-1]])
    limits = {
        kind: getattr(limit, kind) for limit in field.metadata for kind in ("ge", "gt", "le") if hasattr(limit, kind)
    }
    if not limits:
        return "text"
    low = f"above {_shown(limits['gt'])}" if "gt" in limits else _shown(limits["ge"])
    return f"{low} to {_shown(limits['le'])}"


if __name__ == "__main__":
    print(markdown_table())
