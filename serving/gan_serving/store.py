"""Artifacts in BentoML's model store, where `gan-export --store` puts them."""

from __future__ import annotations

from pathlib import Path

from gan_export.artifact.first_line import first_line


class StoreError(ValueError):
    """The store has no such model; the message is one line."""


def folder_of(tag: str) -> Path:
    """The folder of the model `name` or `name:version` in this BENTOML_HOME.

    Raises:
        StoreError: there is none of that tag, or it is no tag at all.
    """
    # Here, so that settings can be read without waiting for BentoML.
    import bentoml
    from bentoml.exceptions import BentoMLException

    try:
        return Path(bentoml.models.get(tag).path)
    except (BentoMLException, ValueError, OSError) as error:
        raise StoreError(
            f"bento:{tag} is not in BentoML's model store ({first_line(error)}); "
            "see `bentoml models list`, or put it there with gan-export --store"
        ) from error
