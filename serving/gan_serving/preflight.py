"""Before `bentoml serve` starts its processes: what would only show up later as a traceback or a crash loop."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from bentoml._internal.configuration.containers import BentoMLContainer

from gan_export.artifact import ArtifactError
from gan_export.artifact.providers import PROVIDERS, check_provider
from gan_export.artifact.reading import read_certificate

from . import tls
from .middleware.api_keys import Keys
from .middleware.cors import allowed_origins
from .models.loading import Problem, read_artifact
from .models.surveys import survey
from .models.variants import choices_to_try
from .process.drain import PARENT_VARIABLE
from .process.output import open_missing_streams
from .process.shared_flags import DIRECTORY_VARIABLE
from .process.supervisor import mind_every_signal, tell_taken_port, unavailable
from .settings import Settings, SettingsError, settings, unknown_variables
from .sources import Folder, Source, StoreModel
from .telemetry import tracing

logger = logging.getLogger("bentoml.ganworks")

_METRICS: Final = "ganworks-metrics"  # in BENTOML_HOME: a folder for each service that runs
_HIGHEST_PORT: Final = 65_535
_LEFT_SECONDS: Final = 60.0  # after which an unlocked folder there is nobody's that is just starting


def check_before_serving() -> Settings:
    """This process's settings; ends the process with one line when they are wrong.

    In the process of the `bentoml serve` command itself, also looks whether there is something to serve.
    `bentoml build` and the worker processes are not held up by that.
    """
    try:
        found = settings()
        Keys.from_settings(found)
        allowed_origins(found)
    except SettingsError as error:
        _exit(str(error))
    context = _serve_command()
    if context is not None:
        open_missing_streams()
        for line in unknown_variables(os.environ):
            print(f"bentoml serve: {line}", file=sys.stderr)
        _check_provider(found)
        _check_artifacts(found)
        # The worker processes may have another working directory.
        os.environ["GAN_MODELS"] = ":".join(_resolved(source) for source in found.model_sources)
        if found.api_keys_file:
            # Not resolved: Kubernetes replaces a link on the way to the file.
            os.environ["GAN_API_KEYS_FILE"] = str(Path(found.api_keys_file).expanduser().absolute())
        _keep_metrics_apart()
        os.environ[PARENT_VARIABLE] = str(os.getpid())
        mind_every_signal()
        tell_taken_port()
        if found.workers > 1:
            _share_flags()
    return found


def _serve_command() -> click.Context | None:
    """The `bentoml serve` command, in whose own process this is; None elsewhere, as in its workers."""
    context = click.get_current_context(silent=True)
    return context if context is not None and context.info_name == "serve" else None


def _check_provider(found: Settings) -> None:
    """That what GAN_PROVIDER names is there; 'auto' takes what there is."""
    if found.provider == "auto":
        return
    try:
        check_provider(PROVIDERS[found.provider])
    except ArtifactError as error:
        _exit(f"GAN_PROVIDER: {error}")


def check_configuration(found: Settings) -> None:
    """BentoML's configuration, when it is complete, and its options; ends `bentoml serve` with one line when they can't
    be followed."""
    context = _serve_command()
    if context is None:
        return
    options = context.params
    reason = tracing.problem()
    if reason is not None:
        _exit(f"BentoML's configuration: {reason}")
    host, port = (_given(options[name], BentoMLContainer.http[name].get()) for name in ("host", "port"))
    _check_address(host, port)
    secure = {
        name: _given(options[f"ssl_{name}"], value)
        for name, value in BentoMLContainer.ssl.get().items()
        if name != "enabled"
    }
    reason = tls.problem(secure, _working_directory(options))
    if reason is not None:
        _exit(reason)
    if found.api_keys is None and found.api_keys_file is None:
        logger.info("no API keys: whoever reaches %s:%s may call", host, port)


def _given(option: Any, configured: Any) -> Any:
    """An option's value; where it has none, the configuration's."""
    return configured if option is None else option


def _working_directory(options: Mapping[str, Any]) -> Path:
    """The workers', as BentoML chooses it."""
    served = Path(options["bento"]).expanduser()
    return Path(options["working_dir"] or (served if served.is_dir() else ".")).absolute()


def _check_artifacts(found: Settings) -> None:
    """That one can be read, and has what the settings ask for, is enough here: the workers load them all, and say what
    they can't load."""
    sources = found.model_sources
    now = survey(sources)
    for source, complaint in now.lost:
        if isinstance(source, StoreModel):
            _exit(str(complaint))
    problems: list[str] = []
    for folder in now.sources:
        try:
            artifact = read_artifact(folder)
            choices_to_try(artifact, read_certificate(artifact), found)
        except ArtifactError as error:
            problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - the worker that loads it logs the traceback
            problems.append(Problem.unforeseen(folder, error).message)
        else:
            return
    where = " or ".join(source.described() for source in sources) or "GAN_MODELS (it is empty)"
    reason = problems[0] if problems else f"there is no artifact in {where}"
    _exit(f"no generator to serve: {reason}; make one with gan-export, or set GAN_MODELS to a folder that has one")


def _resolved(source: Source) -> str:
    if isinstance(source, Folder) and ":" in source.resolved():
        _exit(f"{source.described()}: a folder of GAN_MODELS can't have a ':' in its path; move it, or link to it")
    return source.resolved()


def _check_address(host: str, port: int) -> None:
    try:
        ip_address(host)
    except ValueError:
        _exit(
            f"--host is {host!r}; give an IP address of this machine, as 127.0.0.1 for itself alone or 0.0.0.0 for all"
        )
    if not 0 <= port <= _HIGHEST_PORT:
        _exit(f"--port is {port}; choose one from 1 to {_HIGHEST_PORT}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server itself does: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _exit(unavailable(host, port, error))


def _keep_metrics_apart() -> None:
    """Give BentoML a folder of this service's own for its workers' metrics: it wipes the one that it finds.

    All services of one BENTOML_HOME would share that folder, and each that starts would end the metrics of the others.
    """
    parent = Path(BentoMLContainer.bentoml_home.get()) / _METRICS
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        folder = tempfile.mkdtemp(dir=parent)
    except OSError:
        return  # it can't be written: BentoML takes a temporary folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _lock(folder)  # until this process ends
    BentoMLContainer.prometheus_multiproc_dir.set(folder)
    for other in parent.iterdir():  # of services that were killed
        lock = _lock(other)
        if lock is not None:
            if time.time() - os.fstat(lock).st_mtime > _LEFT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
            os.close(lock)


def _lock(folder: str | Path) -> int | None:
    """Lock a folder; None when somebody else has, or it is gone, or its file system has no locks."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _share_flags() -> None:
    """A folder where the workers tell each other what a request told one of them."""
    try:
        directory = tempfile.mkdtemp(prefix="ganworks-")
    except OSError as error:
        _exit(f"several workers need a writable temporary folder (TMPDIR): {error.strerror}")
    os.environ[DIRECTORY_VARIABLE] = directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def _exit(message: str) -> NoReturn:
    print(f"bentoml serve: {message}", file=sys.stderr)
    sys.exit(1)
