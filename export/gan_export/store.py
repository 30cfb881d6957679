"""An artifact in BentoML's model store; `python -m gan_export.store DIR` puts one there that is made already."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gan_training.cli.command import INTERRUPTED, run_command

from .artifact import Artifact, ArtifactError, load_artifact
from .artifact.first_line import first_line
from .refusal import ExportError, StoppedError

MAX_TAG: Final = 63  # characters of a tag's name or a label


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def check_store(name: str) -> None:
    """Whether an artifact of that name can be put into the model store of this BENTOML_HOME.

    Raises:
        ExportError: BentoML is not installed, the store can't be written, or its tag holds another generator.
    """
    store, tag = _store(), tag_name(name)
    place = Path(store._path)
    try:
        for folder in (place, place / tag):
            if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
                raise ExportError(f"--store: BentoML's model store {folder} can't be written: {_why(folder)}")
        others = [one.info.metadata.get("name") for one in store.list(tag)] if (place / tag).is_dir() else []
    except _errors() as error:
        raise ExportError(f"--store: BentoML's model store {place} can't be read: {first_line(error)}") from error
    other = next((each for each in others if each != name), name)
    if other != name:
        whose = "a model that is not a generator" if other is None else f"the generator {other!r}"
        raise ExportError(
            f"--store: {name!r} has the tag {tag!r} in BentoML's model store, which holds {whose}: give another --name"
        )


def put_into_store(artifact: Artifact) -> str:
    """Copy an artifact into the model store of this BENTOML_HOME, after `check_store`; returns its tag, `name:version`.

    Raises:
        ExportError: it can't be copied; the message says how to repeat it.
        StoppedError: Ctrl-C; the store is as it was.
    """
    manifest = artifact.manifest
    labels = {"family": _label(manifest.family), "weights": manifest.provenance.weights, "kind": "ganworks-artifact"}
    repeat = f"repeat it with: python -m gan_export.store {shlex.quote(str(artifact.directory))}"
    import bentoml

    model: Any = None
    try:
        with bentoml.models.create(tag_name(manifest.name), labels=labels, metadata={"name": manifest.name}) as model:
            for file in sorted(artifact.directory.iterdir()):
                shutil.copyfile(file, Path(model.path) / file.name)
    except _errors() as error:
        raise ExportError(
            f"{artifact.directory} is written, but BentoML's model store can't store it: {_said(error)}; {repeat}"
        ) from error
    except KeyboardInterrupt as error:
        if model is not None:
            with contextlib.suppress(*_errors()):
                bentoml.models.delete(model.tag)  # a part of it, which BentoML leaves and then can't read
        raise StoppedError(
            f"stopped; {artifact.directory} is written, but is not in BentoML's model store; {repeat}"
        ) from error
    return str(model.tag)


def tag_name(name: str) -> str:
    """The name of a generator's tag. BentoML's are lower case, end with a letter or digit, and are shorter."""
    return re.sub(r"[^a-z0-9._-]", "-", name.lower())[:MAX_TAG].rstrip("-._")


def _store() -> Any:
    """BentoML's model store, opened."""
    try:
        from bentoml._internal.configuration.containers import BentoMLContainer
    except ModuleNotFoundError as error:
        raise ExportError(
            "--store needs the package 'bentoml'; install it with: pip install 'ganworks[serve]'"
        ) from error
    try:
        return BentoMLContainer.model_store.get()
    except _errors() as error:
        raise ExportError(f"--store: BentoML's model store can't be opened: {first_line(error)}") from error


def _errors() -> tuple[type[Exception], ...]:
    """What comes out of BentoML's store; where a tag or a folder's name is none of its own, a ValueError."""
    from bentoml.exceptions import BentoMLException

    return OSError, ValueError, BentoMLException


def _said(error: Exception) -> str:
    """What an error says; of copying several files, what the first one that failed does."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return first_line(error)


def _why(folder: Path) -> str:
    return "permission denied" if folder.is_dir() else "it is not a directory"


def _label(text: str) -> str:
    """BentoML's labels have 63 characters of a small alphabet."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:MAX_TAG].strip("-._")


@app.command()
def store_command(
    directory: Annotated[Path, typer.Argument(metavar="ARTIFACT_DIR", help="An artifact made by gan-export.")],
) -> None:
    """Put an artifact that is made already into BentoML's model store, as gan-export --store does."""
    artifact = load_artifact(directory)
    check_store(artifact.name)
    print(f"{directory}: in BentoML's model store as {put_into_store(artifact)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m gan_export.store`. Exit codes: 0, 1 (failed), 2 (bad arguments), 130 (Ctrl-C)."""
    failures: dict[type[Exception], int] = {ArtifactError: 1, ExportError: 1, StoppedError: INTERRUPTED}
    run_command(app, "gan_export.store", arguments, failures, "stopped")


if __name__ == "__main__":
    main()
