"""Whether lanes that compute will be back before another one is of use."""

import math
import time

from gan_serving.batching.lane import Lane, seconds_left


def busy(images: int, since: float = 0.0) -> Lane:
    """A lane that has computed so many images for that many seconds."""
    return Lane(images=images, began=time.perf_counter() - since)


def test_what_lanes_have_counts_as_well_as_what_waits():
    assert seconds_left([busy(3), busy(4, 1e9)], 5, lambda images: images * 2.0) == (3 + 4 + 5) * 2.0


def test_nobody_knows_of_lanes_that_have_worked_for_long_or_of_none():
    assert seconds_left([busy(3, 1.0)], 5, float) == math.inf
    assert seconds_left([], 5, float) == math.inf
