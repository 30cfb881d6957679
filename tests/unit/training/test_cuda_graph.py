"""A recorded step does what the step itself does, to the bit. There is nothing to record where there is no GPU."""

import copy

import pytest
import torch

from .test_loop import OBJECTIVES, states_equal

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU, and none is here")
STEPS = 12  # recorded ones among them, of each kind


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", OBJECTIVES)
def test_recorded_steps_are_the_steps_to_the_bit(make_run, tmp_path, case, precision):
    gan_type, settings = OBJECTIVES[case]
    settings = settings | {"device": "cuda", "precision": precision}
    settings |= {"instance_noise_steps": 5} if "instance_noise" in settings else {}
    states = []
    for is_recorded in (True, False):
        run = make_run(gan_type, tmp_path, cuda_graph=is_recorded, **settings)  # seeds what the GPU draws, too
        for _ in range(STEPS):
            run.trainer.step()
        assert (run.trainer.graphs.recorded > 0) if is_recorded else (run.trainer.graphs is None)
        states.append(run.trainer.state_dict())
    assert states_equal(*states)


@pytest.mark.parametrize("case", OBJECTIVES)
def test_a_state_of_recorded_steps_goes_on_as_if_there_had_been_no_stop(make_run, tmp_path, case):
    gan_type, settings = OBJECTIVES[case]
    straight = make_run(gan_type, tmp_path, device="cuda", **settings)
    for _ in range(2 * STEPS):
        straight.trainer.step()
    wanted = copy.deepcopy(straight.trainer.state_dict())
    stopped = make_run(gan_type, tmp_path, device="cuda", **settings)
    for _ in range(STEPS):
        stopped.trainer.step()
    state, batches = copy.deepcopy(stopped.trainer.state_dict()), stopped.data_batches.state_dict()
    resumed = make_run(gan_type, tmp_path, device="cuda", **settings)
    for _ in range(5):
        resumed.trainer.step()  # what was recorded then must not be replayed after loading
    resumed.trainer.load_state_dict(state)
    resumed.data_batches.load_state_dict(batches)
    for _ in range(STEPS):
        resumed.trainer.step()
    assert states_equal(wanted, resumed.trainer.state_dict())
