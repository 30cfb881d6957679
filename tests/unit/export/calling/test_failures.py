"""What is advised where a forward raises something of PyTorch's own."""

from typing import Any

import pytest
from torch import Tensor, nn

from gan_export.calling.convention_search import find_convention
from gan_export.refusal import IntakeError


class Failing(nn.Module):
    """Says what it is told to, in a file of any name."""

    def __init__(self, raised: Exception, file: str) -> None:
        super().__init__()
        self.raised = raised
        names: dict[str, Any] = {}
        exec(compile("def fail(error):\n    raise error", file, "exec"), names)
        self.fail = names["fail"]

    def forward(self, z: Tensor) -> Tensor:
        self.fail(self.raised)
        return z


def advice_for(raised: Exception, file: str) -> str:
    with pytest.raises(IntakeError) as caught:
        find_convention(Failing(raised, file).eval(), 8, 0)
    return str(caught.value)


@pytest.mark.parametrize(
    "raised",
    [
        AssertionError("Torch not compiled with CUDA enabled"),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
        RuntimeError("Cannot access accelerator device when none is available."),
        RuntimeError("Cannot get CUDA generator without ATen_cuda library."),
        AttributeError("module 'torch._C' has no attribute '_cuda_setDevice'"),
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
        RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'"),
        RuntimeError("Expected a 'cpu' device type for generator but found 'cuda'"),
        RuntimeError("Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same"),
        RuntimeError("Tried to instantiate dummy base class CUDAGraph"),
    ],
)
def test_a_forward_that_asks_for_a_gpu_is_told_how_to_do_without(raised: Exception) -> None:
    assert "write z.device in forward instead of .cuda()" in advice_for(raised, "net.py")


@pytest.mark.parametrize(
    ("raised", "file"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x8 and 100x64)"), "net_cuda.py"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x8 and 100x64)"), "net-CUDA.py"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x8 and 100x64)"), "net CUDA v2.py"),
        (AttributeError("'Opt' object has no attribute 'cuda'"), "net.py"),
    ],
)
def test_what_is_only_named_after_a_gpu_has_no_such_advice(raised: Exception, file: str) -> None:
    said = advice_for(raised, file)
    assert f"{file}:2). Check --latent. " in said
    assert "on the CPU" not in said
