"""Graph rewrites: the same function, written so that ONNX Runtime computes it better. Each has a test of its own.

`editing` and `transposed` are what they share; `work` tells whoever chooses among them how much a layer computes.
"""

import onnx

from .activations import activations
from .batch_norms import batch_norms, depthwise_norms
from .channel_sums import channel_sums
from .labels import labels
from .phases import FORMS, Form, phases, split_layers
from .pointwise import pointwise
from .projections import projections
from .reshapes import reshapes
from .rounding import rounding, scaled_rounding
from .taps import taps, thin_layers
from .upsampling import upsampled_layers, upsampling
from .weights import weights

__all__ = [
    "FORMS",
    "SIMPLER",
    "Form",
    "activations",
    "batch_norms",
    "channel_sums",
    "depthwise_norms",
    "labels",
    "phases",
    "pointwise",
    "projections",
    "reshapes",
    "rounding",
    "same_in_any_batch",
    "scaled_rounding",
    "split_layers",
    "taps",
    "thin_layers",
    "upsampled_layers",
    "upsampling",
    "weights",
]

SIMPLER = (weights, reshapes, projections, batch_norms, labels, pointwise, rounding)
"""Rewrites that leave out work and add none, in the order in which each finds what the one before made."""


def same_in_any_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what gives an image other last bits alone than in a batch; opset 17."""
    return activations(channel_sums(model))
