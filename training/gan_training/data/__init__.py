"""Data sources: from what the user names on the command line to images in memory, and batches of them."""

from .batches import EpochBatches
from .image_data import DataError, ImageData, UnknownSourceError
from .load import SOURCES, load_data

__all__ = ["SOURCES", "DataError", "EpochBatches", "ImageData", "UnknownSourceError", "load_data"]
