"""Pickles that say what torch itself would never write."""

import io
import pickle


class Call:
    """Pickled as a call of the function with the arguments."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.parts

    def __call__(self) -> None:
        """Only so that the result of one call can be called by another."""


class Stored:
    """Pickled as a reference to a storage."""

    def __init__(self, *identity: object) -> None:
        self.identity = identity


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.identity if isinstance(value, Stored) else None


def pickled(value: object, protocol: int = 2) -> bytes:
    """As torch.save pickles, for torch's own way to read it."""
    stream = io.BytesIO()
    _Pickler(stream, protocol).dump(value)
    return stream.getvalue()
