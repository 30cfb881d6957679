"""Why a generator can't be expressed in ONNX, in one line: what torch says, in words for its author."""

from __future__ import annotations

import traceback
from typing import Final, Literal

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from .artifact.first_line import first_line
from .lowering import FORWARD, own_name
from .user_code.errors import place_of

SPECIALISED: Final = ("Constraints violated", "specialized it to be a constant")

Code = Literal["dynamic_batch", "unsupported_operator", "untraceable", "failed"]


class CaptureError(RuntimeError):
    """The generator can't be expressed in ONNX; the message is one line.

    `code`: `dynamic_batch` (made for one batch size), `unsupported_operator`, `untraceable` (Python that depends on
    the values of tensors) or `failed`.
    """

    def __init__(self, message: str, *, code: Code = "failed") -> None:
        super().__init__(message)
        self.code: Code = code


def trace_error(error: Exception) -> CaptureError:
    """What is said where torch.export fails on a generator."""
    causes = causes_of(error)
    text = " ".join(map(str, causes))
    where = next((place for cause in reversed(causes) if (place := place_of(cause))), "")
    at = f" ({where})" if where else ""
    if any(isinstance(cause, GuardOnDataDependentSymNode) for cause in causes) or "data-dependent" in text.lower():
        return CaptureError(
            f"the generator's Python code depends on tensor values{at}: a graph can't branch on them; "
            "use torch.where, or take the branch out of forward",
            code="untraceable",
        )
    if any(phrase in text for phrase in SPECIALISED):
        return CaptureError(
            f"the generator is made for one batch size{at}: {_specialised(text)}; use -1 and x.shape[0] in reshapes, "
            "and no tensor whose first dimension is fixed",
            code="dynamic_batch",
        )
    return CaptureError(f"the generator can't be traced{at}: {first_line(causes[-1])}")


def _specialised(text: str) -> str:
    """What torch.export says of the batch, without its advice."""
    lines = [line.strip(" -") for line in text.splitlines()]
    return next((line.partition(". ")[0] for line in lines if SPECIALISED[1] in line), "the batch dimension is fixed")


def conversion_error(error: Exception) -> CaptureError:
    """What is said where torch.onnx fails on a traced generator."""
    causes = causes_of(error)
    node = next((node for cause in reversed(causes) if (node := _node_of(cause)) is not None), None)
    missing = any(type(cause).__name__ == "DispatchError" for cause in causes)
    if node is not None:
        operator = str(node.target).removesuffix(".default")
        stack = node.meta.get("nn_module_stack") or {}
        module = next((path for path, _ in reversed(list(stack.values())) if path), "")
        module = own_name(module) or FORWARD
        if missing:
            return CaptureError(
                f"torch.onnx has no translation of {operator}, used in {module}; replace it with other operations",
                code="unsupported_operator",
            )
        return CaptureError(
            f"torch.onnx can't translate {operator}, used in {module}: {first_line(causes[-1])}",
            code="unsupported_operator",
        )
    return CaptureError(f"the generator can't be expressed in ONNX: {first_line(causes[-1])}")


def causes_of(error: BaseException) -> list[BaseException]:
    """An error and its causes, the root last."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _node_of(error: BaseException) -> torch.fx.Node | None:
    """The operation that torch.onnx was translating when it failed."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and node.op == "call_function":
            return node
    return None
