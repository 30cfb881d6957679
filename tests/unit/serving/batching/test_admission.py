"""What the measured throughput says of waiting: how long it takes, and when those who are refused may come again."""

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


def test_the_time_of_an_image_is_that_of_full_batches_where_most_images_are_in_them():
    admission = Admission(100, 1)
    for _ in range(10):
        admission.worked(1, 0.010)
        admission.worked(64, 0.064)
    assert admission.seconds_for(65) == pytest.approx(0.074, rel=0.2)


@pytest.mark.parametrize(("waiting", "said"), [(1, "1 image is waiting"), (99, "99 images are waiting")])
def test_a_refusal_says_how_many_wait(waiting, said):
    admission = Admission(waiting, 1)
    with pytest.raises(QueueFullError, match=f"^{said} and 2 more would exceed the queue's {waiting}"):
        admission.admit(2, waiting)


@pytest.mark.parametrize(("lanes", "seconds"), [(1, 20.0), (4, 5.0)])
def test_a_refusal_says_when_what_waits_is_done_by_all_lanes(lanes: int, seconds: float):
    admission = Admission(100, lanes)
    admission.worked(8, 4.0)
    assert refusal(admission, 40).retry_after == pytest.approx(seconds)
