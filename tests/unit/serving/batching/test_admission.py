"""When those may come again for whom there was no room."""

import pytest

from gan_serving.batching.admission import Admission
from gan_serving.errors import QueueFullError


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
