"""What the measured throughput says of waiting, without a clock."""

import math

import pytest

from gan_serving.batching.admission import Admission
from gan_serving.errors import QueueFullError


def refusal(admission: Admission, waiting: int) -> QueueFullError:
    with pytest.raises(QueueFullError) as caught:
        admission.admit(admission.capacity, waiting)
    return caught.value


def test_before_anything_was_measured_nobody_knows():
    admission = Admission(100, 1)
    assert admission.seconds_for(1) == math.inf
    assert refusal(admission, 50).retry_after == 0


def test_the_first_run_is_believed_and_one_odd_run_changes_little():
    admission = Admission(100, 1)
    admission.worked(10, 10.0)
    assert admission.seconds_for(3) == pytest.approx(3)
    for _ in range(50):
        admission.worked(1, 1.0)
    admission.worked(1, 11.0)
    assert admission.seconds_for(1) == pytest.approx(3, rel=0.05), "a fifth of the way"
    for _ in range(50):
        admission.worked(1, 11.0)
    assert admission.seconds_for(1) == pytest.approx(11, rel=0.01), "lasting change is learnt"


@pytest.mark.parametrize(("lanes", "seconds"), [(1, 20.0), (4, 5.0)])
def test_a_refusal_says_when_what_waits_is_done_by_all_lanes(lanes: int, seconds: float):
    admission = Admission(100, lanes)
    admission.worked(8, 4.0)
    assert refusal(admission, 40).retry_after == pytest.approx(seconds)
