"""A valid request of the inference protocol, for the tests that ask for it and for those that damage it."""

from typing import Any

import numpy as np

DIM = 3
MAX_N = 8
CLASSES = 5

Z = np.array([[0.5, -1.25, 3.0], [1e-3, 2.0, -0.0]], np.float32)  # (2, DIM)
LABELS = np.array([4, 0], np.int64)


def tensor(name: str, datatype: str, array: np.ndarray, data: Any = None) -> dict[str, Any]:
    """An input; as binary data unless `data` is given."""
    entry = {"name": name, "shape": list(array.shape), "datatype": datatype}
    if data is None:
        return entry | {"parameters": {"binary_data_size": array.nbytes}}
    return entry | {"data": data}


def binary_request() -> tuple[dict[str, Any], bytes]:
    """The JSON object of a valid binary request, and the bytes behind it."""
    content = {
        "id": "a",
        "parameters": {"binary_data_output": True},
        "inputs": [tensor("z", "FP32", Z), tensor("label", "INT64", LABELS)],
        "outputs": [{"name": "image", "parameters": {"binary_data": True}}],
    }
    return content, Z.tobytes() + LABELS.tobytes()
