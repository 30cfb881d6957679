"""GAN_* variables: what they mean, and one line for each that can't be meant."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn

from gan_serving.process import drain
from gan_serving.settings import Settings, SettingsError, settings, unknown_variables
from gan_serving.sources import Folder, Zoo


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """The settings of an environment that has these GAN_* variables and no others."""

    def in_environment(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        try:
            return settings()
        finally:
            settings.cache_clear()

    return in_environment


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("GAN_MODLES", ["GAN_MODLES is not a setting and does nothing; did you mean GAN_MODELS?"]),
        (
            "gan_max_conections",
            ["gan_max_conections is not a setting and does nothing; did you mean GAN_MAX_CONNECTIONS?"],
        ),
        ("GAN_QUX", ["GAN_QUX is not a setting and does nothing"]),
        ("GANWORKS_PORT_80_TCP", []),
        ("gan_models", []),
    ],
)
def test_a_variable_that_is_no_setting_is_told(name: str, lines: list[str]):
    assert unknown_variables(["PATH", name]) == lines


def test_one_body_of_the_largest_size_has_room(read):
    assert read(GAN_MAX_BODY="2048", GAN_MAX_BODIES="2048").max_bodies == 2048
    with pytest.raises(SettingsError) as caught:
        read(GAN_MAX_BODIES="2047")
    reason = "give at least the 2048 bytes of GAN_MAX_BODY, for one request of that size"
    assert str(caught.value) == f"GAN_MAX_BODIES is '2047': {reason}"


def test_variables_of_the_other_stages_are_known():
    root = Path(__file__).resolve().parents[3]
    sources = [
        path.read_text() for stage in ("training", "export", "clients") for path in root.glob(f"{stage}/**/*.py")
    ]
    read = {name for text in sources for name in re.findall(r'"(GAN_[A-Z_]+)"', text)}
    assert len(read) >= 6
    assert unknown_variables(read | {"GAN_API_KEYS"}) == []


def test_a_key_for_the_client_alone_leaves_the_service_open_and_is_told():
    told = ["GAN_API_KEY is the client's, and the service is open; did you mean GAN_API_KEYS?"]
    assert unknown_variables(["GAN_API_KEY"]) == unknown_variables(["gan_api_key"]) == told
    assert unknown_variables(["GAN_API_KEY", "GAN_API_KEYS"]) == []
    assert unknown_variables(["GAN_API_KEY", "GAN_API_KEYS_FILE"]) == []


FRACTIONS = ("GAN_TIMEOUT",)


def other(value: str | bool | float) -> str | bool | float:
    """Another value of the same kind; text is another one already."""
    if isinstance(value, bool):
        return not value
    return value if isinstance(value, str) else value + 1


def test_defaults(read):
    found = read()
    assert found.model_sources == [Folder(Path("models"), may_be_missing=True), Zoo()]
    assert (found.max_n, found.max_batch, found.queue_images) == (4096, 64, 16384)
    assert (found.workers, found.timeout, found.max_body) == (1, 60.0, 16 * 2**20)
    assert found.session_threads == len(os.sched_getaffinity(0))


def test_every_variable_is_read(read):
    values = {name: field.default for name, field in Settings.model_fields.items()} | {
        "models": "a:/b",
        "default_model": "a",
        "api_keys": "k" * 16,
        "api_keys_file": "/keys",
        "cors_origins": "*",
        "access_log": "all",
    }
    changed = {name: other(value) for name, value in values.items()}
    variables = {f"GAN_{name.upper()}": str(value) for name, value in changed.items()}
    assert read(**variables, GAN_UNKNOWN="1").model_dump() == changed
    assert read(GAN_MODELS="").model_sources == []


def test_workers_share_the_cores(read):
    cores = len(os.sched_getaffinity(0))
    assert read(GAN_WORKERS="200").session_threads == max(1, cores // 200)
    assert read(GAN_WORKERS="200", GAN_THREADS="3").session_threads == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GAN_MAX_N", "0"),
        ("GAN_MAX_N", "many"),
        ("GAN_MAX_N", "1.5"),
        ("GAN_MAX_N", ""),
        ("GAN_MAX_N", "1000001"),
        ("GAN_MAX_BATCH", "-1"),
        ("GAN_MAX_BATCH", "4097"),
        ("GAN_QUEUE_IMAGES", "0"),
        ("GAN_WORKERS", "0"),
        ("GAN_WORKERS", "two\nworkers"),
        ("GAN_THREADS", "-1"),
        ("GAN_ENCODE_THREADS", "0"),
        ("GAN_TIMEOUT", "0"),
        ("GAN_TIMEOUT", "-5"),
        ("GAN_TIMEOUT", "nan"),
        ("GAN_TIMEOUT", "inf"),
        ("GAN_TIMEOUT", "1m"),
        ("GAN_MAX_BODY", "10"),
        ("GAN_MAX_BODY", "16MB"),
    ],
)
def test_bad_values_are_one_line_with_name_and_value(read, name: str, value: str):
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    line = str(caught.value)
    assert line.startswith(f"{name} is {value!r}: give a {'whole ' if name not in FRACTIONS else ''}number, ")
    assert re.search(r", (above )?\d+ to \d+$", line)
    assert read(**{name: "2048" if name == "GAN_MAX_BODY" else "2"})  # an error is not remembered


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("GAN_VARIANT", "int4", "give fp32, int8, fp16 or auto"),
        ("GAN_ACCESS_LOG", "yes", "give on, off or all"),
        ("GAN_METRICS_OPEN", "perhaps", "give true or false"),
        (
            "GAN_MODELS",
            "bento:",
            "bento: needs the name of a model in BentoML's store, as in bento:digits or bento:digits:latest; a folder "
            "of that name is written ./bento",
        ),
    ],
)
def test_bad_words_are_one_line_with_those_that_may_stand(read, name: str, value: str, advice: str):
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    assert str(caught.value) == f"{name} is {value!r}: {advice}"


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_value_is_an_empty_one(read, blank: str):
    assert read(GAN_DEFAULT_MODEL=blank).default_model is None
    assert read(GAN_MODELS=blank).model_sources == []
    assert read(GAN_MODELS=f"{blank}models{blank}").model_sources == [Folder(Path("models"))]


@pytest.mark.parametrize("seconds", [0.0, 0.5, 8.0, 28.6])
def test_requests_have_the_seconds_of_the_drain(read, seconds: float):
    server = uvicorn.Server(uvicorn.Config("nowhere:app", log_config=None))
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert drain.install(read(GAN_DRAIN=str(seconds)).drain, lambda: None) is server
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert server.config.timeout_graceful_shutdown == pytest.approx(seconds, abs=0.01)
