"""Before `bentoml serve` starts its processes: what would only show up later as a traceback or a crash loop."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

import click

from gan_export.artifact import ArtifactError, load_artifact

from .catalog import artifact_directories
from .settings import Settings, SettingsError, settings


def check_before_serving() -> Settings:
    """This process's settings; ends the process with one line when they are wrong.

    In the process of the `bentoml serve` command itself, also looks whether there is something to serve and whether
    the port is free. `bentoml build` and the worker processes are not held up by that.
    """
    try:
        found = settings()
    except SettingsError as error:
        _exit(str(error))
    context = click.get_current_context(silent=True)
    if context is not None and context.info_name == "serve":
        # The worker processes may have another working directory.
        os.environ["GAN_MODELS"] = ":".join(str(folder.resolve()) for folder in found.model_folders)
        _check_artifacts(found)
        _check_port(str(context.params.get("host") or "0.0.0.0"), context.params.get("port"))
    return found


def _check_artifacts(found: Settings) -> None:
    directories = artifact_directories(found.model_folders)
    problems: list[str] = []
    for directory in directories:
        try:
            load_artifact(directory)
        except ArtifactError as error:
            problems.append(str(error))
    if len(problems) == len(directories):
        where = ", ".join(str(folder.resolve()) for folder in found.model_folders) or "GAN_MODELS (it is empty)"
        reason = problems[0] if problems else f"there is no artifact in {where}"
        _exit(f"no generator to serve: {reason}; make one with gan-export, or set GAN_MODELS to a folder that has one")


def _check_port(host: str, port: object) -> None:
    if not isinstance(port, int):
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server itself does: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _exit(f"can't listen on {host}:{port}: {error.strerror}; choose another port with bentoml serve --port")


def _exit(message: str) -> NoReturn:
    print(f"bentoml serve: {message}", file=sys.stderr)
    sys.exit(1)
