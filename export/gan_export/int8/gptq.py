"""Numbers rounded to 8-bit integers so that sums of their products stay what they are, not each number.

Rounded to the nearest, the errors of a sum's terms are left to chance. Here the weights of a sum are rounded one after
another, and those that are left are changed so as to make up for the error so far, as well as the covariance of what
they are multiplied with allows (GPTQ: Frantar et al., 2022, arXiv:2210.17323).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

MOST: Final = 127  # the largest integer; -128 is not used, so that it is symmetric
DAMPING: Final = 0.03  # of the mean variance of the inputs is added to each: they were estimated, and may be zero
BLOCK: Final = 32  # weights after which an error is handed on to all that are left, in one product

Array: TypeAlias = NDArray[Any]


def round_rows(rows: Array, covariance: Array) -> NDArray[np.int8]:
    """Rows of weights, in steps of what one more in the integer is worth, as integers of -MOST to MOST.

    Args:
        rows: (outputs, inputs).
        covariance: of the inputs, float64 (inputs, inputs); it may be singular.
    """
    mean = float(np.trace(covariance)) / len(covariance)
    if not mean > 0:
        return nearest(rows)
    try:
        factor = _inverse_factor(covariance / mean + DAMPING * np.eye(len(covariance)))
    except np.linalg.LinAlgError:  # what was seen of inputs that hardly vary is rounding, and no covariance
        return nearest(rows)
    left = np.array(rows.T, np.float64, order="C")  # (inputs, outputs), as what is done is done to an input's weights
    whole = np.zeros(left.shape, np.int8)
    for first in range(0, len(left), BLOCK):
        last = min(first + BLOCK, len(left))
        errors = np.zeros((last - first, left.shape[1]))
        for i in range(first, last):
            whole[i] = nearest(left[i])
            errors[i - first] = (left[i] - whole[i]) / factor[i, i]
            left[i + 1 : last] -= factor[i, i + 1 : last, None] * errors[i - first]
        left[last:] -= factor[first:last, last:].T @ errors
    return np.ascontiguousarray(whole.T)


def nearest(numbers: Array) -> NDArray[np.int8]:
    """Each for itself."""
    return np.clip(np.rint(numbers), -MOST, MOST).astype(np.int8)


def _inverse_factor(matrix: Array) -> Array:
    """The upper triangle U with U' U = inverse of a positive definite matrix.

    Its row i says how the later numbers take over an error of number i.
    """
    # Read from its end, a lower factor of the matrix is an upper one, whose inverse is U, read from its end as well.
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    inverse: Array = lapack.dtrtri(lower, lower=1)[0][::-1, ::-1]
    return inverse
