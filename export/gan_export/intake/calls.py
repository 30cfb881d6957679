"""The calls that a checkpoint's pickle may make, as what they would return; everything else is refused by name."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, Final

from gan_export.untrusted.messages import shown

from .symbols import (
    ITEM_BYTES,
    MAX_DIMENSIONS,
    Constant,
    Global,
    MalformedError,
    NumpyType,
    Settings,
    Storage,
    TensorRef,
    Unknown,
    Unusable,
    is_count,
)

MAX_TEXT: Final = 64  # characters that a call is given: of a layout's name, or of the bytes of a number of numpy's
STORAGES: Final = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex",
    "torch.ComplexDoubleStorage": "complex",
    "torch.QInt8Storage": "quantized",
    "torch.QUInt8Storage": "quantized",
    "torch.QInt32Storage": "quantized",
    "torch.QUInt4x2Storage": "quantized",
    "torch.QUInt2x4Storage": "quantized",
    "torch.storage.UntypedStorage": "untyped",
}
NUMPY_CODES: Final = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "u1": "<B", "b1": "<?"}
_QUANTIZERS: Final = (
    "torch.per_tensor_affine",
    "torch.per_tensor_symmetric",
    "torch.per_channel_affine",
    "torch.per_channel_symmetric",
    "torch.per_channel_affine_float_qparams",
)
_UNREAD: Final = (
    *("complex64", "complex128", "uint16", "uint32", "uint64", "float4_e2m1fn_x2", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "complex32"),
    *("bits8", "bits16", "bits1x8", "bits2x4", "bits4x2"),
)
"""Types of numbers that a file may name, though no tensor of them can be exported."""
_NAMED: Final[dict[str, Any]] = {
    **{f"torch.{name}": f"torch.{name}" for name in (*ITEM_BYTES, *_UNREAD)},
    **{name: Constant(name) for name in _QUANTIZERS},
}


def find(name: str) -> Any:
    """What a global of that name is; None if it is not allowed."""
    if name in CALLS or name in NEW or name in STORAGES:
        return Global(name)
    return _NAMED.get(name)


def call(function: object, arguments: object) -> Any:
    """What the function would return.

    Raises:
        MalformedError: no function, or arguments that it is never given.
    """
    if isinstance(function, Unknown) or isinstance(arguments, Unknown):
        return Unknown()
    if not isinstance(function, Global) or function.name not in CALLS or type(arguments) is not tuple:
        what = function.name if isinstance(function, Global) else "something"
        raise MalformedError(f"its pickle calls {what}, which is not a function of state dicts")
    if any(isinstance(argument, Unknown) for argument in arguments):
        return Unknown()
    try:
        return CALLS[function.name](*arguments)
    except (TypeError, ValueError, struct.error) as error:
        raise MalformedError(f"its pickle calls {function.name} with invalid arguments") from error


def new(cls: object, arguments: object) -> Any:
    """What cls.__new__ would return; raises MalformedError."""
    if isinstance(cls, Unknown):
        return Unknown()
    if not isinstance(cls, Global) or cls.name not in NEW or arguments != ():
        raise MalformedError("its pickle makes an object of something that is not a class")
    return NEW[cls.name]()


def build(target: object, state: object) -> None:
    """Give an object its state, as BUILD would; raises MalformedError."""
    match target, state:
        case (Unknown(), _) | (_, Unknown()):
            return
        case Settings(), dict() if all(type(key) is str for key in state):
            target.update(state)
        case OrderedDict(), dict() if set(state) <= {"_metadata"}:
            return
        case NumpyType(), (int(), "<" | "|", None, None, None, -1, -1, 0):
            return
        case _:
            raise MalformedError("its pickle gives an object an invalid state")


def _tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> TensorRef | Unusable:
    if not isinstance(storage, Storage):
        raise TypeError("no storage")
    if storage.dtype not in ITEM_BYTES:
        return Unusable(f"is a {storage.dtype} tensor, and generators are of real numbers; convert it")
    if type(size) is not tuple and type(size) is not list:
        raise TypeError("no size")
    if type(stride) is not tuple or len(stride) != len(size) or len(size) > MAX_DIMENSIONS:
        raise TypeError("no stride")
    if type(requires_grad) is not bool or hooks or metadata:
        return Unusable("has hooks or marks of its own; save tensor.detach().clone()")
    if any(type(number) is not int for number in (offset, *size, *stride)):
        raise TypeError("no integers")
    if not all(map(is_count, (offset, *size, *stride))):
        return Unusable(f"declares a size, stride or offset that is negative or beyond any file: {shown(size)}")
    reach = [(count - 1) * step for count, step in zip(size, stride, strict=True)]
    end = offset + (sum(reach) + 1 if prod(size) else 0)  # type: ignore[operator]
    if end > storage.numel:
        return Unusable(f"reaches to element {end} of a storage of {storage.numel}")
    return TensorRef(storage.dtype, tuple(size))


def _tensor_of_new_type(*arguments: object) -> Unusable:
    """One whose type has no storage of its own: its name is the seventh argument."""
    dtype = arguments[6] if len(arguments) > 6 else None
    if type(dtype) is not str or dtype not in _NAMED:
        raise TypeError("no type")
    return Unusable(f"is a tensor of {dtype.removeprefix('torch.')}, which can't be exported; save tensor.float()")


def _parameter(data: object, requires_grad: object, hooks: object) -> TensorRef | Unusable:
    if isinstance(data, Unusable):
        return data
    if not isinstance(data, TensorRef) or type(requires_grad) is not bool:
        raise TypeError("no tensor")
    return Unusable("has hooks of its own; save tensor.detach().clone()") if hooks else TensorRef(data.dtype, data.size)


def _ordered_dict(pairs: object = ()) -> OrderedDict[Any, Any]:
    made: OrderedDict[Any, Any] = OrderedDict()
    if type(pairs) is not list and pairs != ():
        raise TypeError("no pairs")
    for pair in pairs:
        key, value = pair
        if type(pair) not in (list, tuple) or type(key) not in (str, int):
            raise TypeError("no pair")
        made[key] = value
    return made


def _counter(counts: object = None) -> dict[Any, Any]:
    if counts is not None and type(counts) is not dict:
        raise TypeError("no counts")
    return dict(counts or {})


def _size(items: object) -> list[int]:
    if type(items) is not tuple or not all(map(is_count, items)):
        raise TypeError("no sizes")
    return list(items)


def _device(kind: object, index: object = None) -> str:
    if type(kind) is not str or len(kind) > MAX_DIMENSIONS or (index is not None and not is_count(index)):
        raise TypeError("no device")
    return kind if index is None else f"{kind}:{index}"


def _encode(text: object, encoding: object) -> bytes | Unusable:
    if type(text) is not str or encoding != "latin1":
        raise TypeError("no text")
    if len(text) > MAX_TEXT:
        return Unusable("is a value of type bytes, and only tensors and plain values can be read; leave it out")
    return text.encode("latin-1")


def _layout(name: object) -> Constant:
    if type(name) is not str or len(name) > MAX_TEXT:
        raise TypeError("no name")
    return Constant(name)


def _numpy_type(code: object, align: object, copy: object) -> NumpyType:
    if type(code) is not str or code not in NUMPY_CODES or (align, copy) not in ((False, True), (0, 1)):
        raise TypeError("not a scalar type")
    return NumpyType(code)


def _numpy_scalar(kind: object, value: object) -> float | int | bool:
    if not isinstance(kind, NumpyType) or type(value) is not bytes:
        raise TypeError("no scalar")
    (number,) = struct.unpack(NUMPY_CODES[kind.code], value)
    return number  # type: ignore[no-any-return]


def _unusable(kind: str) -> Callable[..., Unusable]:
    return lambda *_: Unusable(f"is a {kind} tensor, which can't be exported; convert it to a dense one of floats")


CALLS: Final[dict[str, Callable[..., Any]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_new_type,
    "torch._utils._rebuild_meta_tensor_no_storage": lambda *_: Unusable(
        "is on the device 'meta', which holds no data: save the weights after they were loaded"
    ),
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_qtensor": _unusable("quantized"),
    "torch._utils._rebuild_sparse_tensor": _unusable("sparse"),
    "torch._utils._rebuild_nested_tensor": _unusable("nested"),
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "_codecs.encode": _encode,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
NEW: Final[dict[str, Callable[[], Any]]] = {"argparse.Namespace": Settings}
