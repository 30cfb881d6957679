"""A recorded step does what the step itself does, to the bit. There is nothing to record where there is no GPU."""

import pytest
import torch

from .test_loop import OBJECTIVES, states_equal

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU, and none is here")
STEPS = 12  # recorded ones among them, of each kind


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", OBJECTIVES)
def test_recorded_steps_are_the_steps_to_the_bit(make_run, tmp_path, case, precision):
    gan_type, settings = OBJECTIVES[case]
    settings = {"instance_noise_steps": 5} | settings | {"device": "cuda", "precision": precision}
    runs = [make_run(gan_type, tmp_path, cuda_graph=recorded, **settings) for recorded in (True, False)]
    for run in runs:
        for _ in range(STEPS):
            parts = run.trainer.step()
        assert all(torch.isfinite(value) for value in parts.values())
    recorded, plain = runs
    assert recorded.trainer.graphs.recorded > 0
    assert plain.trainer.graphs is None
    assert states_equal(recorded.trainer.state_dict(), plain.trainer.state_dict())


@pytest.mark.parametrize("case", OBJECTIVES)
def test_a_state_of_recorded_steps_goes_on_as_if_there_had_been_no_stop(make_run, tmp_path, case):
    gan_type, settings = OBJECTIVES[case]
    straight, stopped, resumed = (make_run(gan_type, tmp_path, device="cuda", **settings) for _ in range(3))
    for _ in range(2 * STEPS):
        straight.trainer.step()
    for _ in range(STEPS):
        stopped.trainer.step()
    for _ in range(5):
        resumed.trainer.step()  # what was recorded then must not be replayed after loading
    resumed.trainer.load_state_dict(stopped.trainer.state_dict())
    resumed.data_batches.load_state_dict(stopped.data_batches.state_dict())
    for _ in range(STEPS):
        resumed.trainer.step()
    assert states_equal(straight.trainer.state_dict(), resumed.trainer.state_dict())
