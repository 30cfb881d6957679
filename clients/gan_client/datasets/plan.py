"""What a data set is made of: enough to say, for every image, its seed, its label and its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from gan_client.errors import GanError, one_line

MAX_DATASET: Final = 10**9
"""Images of one data set are fewer: a key has nine digits."""

DEFAULT_SHARD_SIZE: Final = 10_000
_VERSION: Final = 1
_OF_VERSION: Final = ("class_names", "image_size", "channels")
_OF_MODEL: Final = ("artifact", "labels", *_OF_VERSION)


class Layout(StrEnum):
    """How a data set lies on disk."""

    FOLDER = "folder"
    """A PNG for each image, in a folder for each class."""

    NPZ = "npz"
    """One file of arrays: images, labels, seeds, class_names."""

    WEBDATASET = "webdataset"
    """Tar shards with a PNG, a .cls and a .json for each image."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an image before it is drawn."""

    index: int
    seed: int
    label: int | None
    label_name: str | None

    @property
    def key(self) -> str:
        """Nine digits, so that names sort by index."""
        return f"{self.index:09d}"


@dataclass(frozen=True)
class Plan:
    """A request for a data set. Image i has seed `seed + i` and, in turn, the next of `labels`."""

    layout: Layout
    model: str
    artifact: str | None
    """Digest of the generator's manifest; None if the service doesn't say."""
    n: int
    seed: int
    labels: tuple[int, ...] | None
    """Class ids, each as often as the others or once more; None for an unconditional generator."""
    truncation: float | None
    shard_size: int | None
    """Images in a shard; None but for `webdataset`."""
    class_names: tuple[str, ...] | None
    image_size: tuple[int, int]
    channels: int

    def entry(self, index: int) -> Entry:
        """Of image `index`, 0 <= index < n."""
        if self.labels is None or self.class_names is None:
            return Entry(index, self.seed + index, None, None)
        label = self.labels[index % len(self.labels)]
        return Entry(index, self.seed + index, label, self.class_names[label])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Of the images from `start` to before `stop`, by default to the last."""
        return map(self.entry, range(start, self.n if stop is None else stop))

    def dumps(self) -> str:
        """As JSON; the same plan gives the same text."""
        return json.dumps({"ganworks_dataset": _VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def loads(cls, text: str, where: str) -> Plan:
        """What `dumps` made. Raises GanError, naming `where` it was read."""
        try:
            content: dict[str, Any] = json.loads(text)
            if content.pop("ganworks_dataset") != _VERSION:
                raise ValueError("of another version")
            content["layout"] = Layout(content["layout"])
            for name in ("labels", "class_names", "image_size"):
                content[name] = None if content[name] is None else tuple(content[name])
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise GanError(f"{where} does not say what the data set is ({error}): give another --out") from error

    def differences(self, wanted: Plan) -> list[str]:
        """What `wanted` asks for that this data set isn't, e.g. `seed is 5 there and 7 here`."""
        # What follows from another generator, or from another version of it, needs no mention.
        implied = _OF_MODEL if self.model != wanted.model else _OF_VERSION if self.artifact != wanted.artifact else ()
        found = []
        for name in (field.name for field in fields(self) if field.name not in implied):
            there, here = getattr(self, name), getattr(wanted, name)
            if there != here:
                found.append(f"{name} is {_shown(there)} there and {_shown(here)} here")
        return found


def _shown(value: object) -> str:
    items = value if isinstance(value, tuple) else (value,)
    return one_line(",".join("none" if item is None else str(item) for item in items), 30)
