"""Where and how precisely to compute."""

from __future__ import annotations

import torch

from .config import ConfigError
from .errors import first_line


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; raises ConfigError on a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # its own words list a dozen kinds that nobody has
        raise ConfigError(f"device {name!r} is not a device; use auto, cpu, cuda or cuda:1") from None
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r} can't be used here ({first_line(error)}); use auto, cpu or cuda") from None
    return device


def choose_bf16(precision: str, device: torch.device) -> bool:
    """Whether to autocast to bfloat16; `auto` does where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        with torch.cuda.device(device):  # of several GPUs it tells of the present one
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def compute_exactly(device: torch.device, *, bf16: bool) -> None:
    """On a GPU, cuDNN's algorithms that always add in the same order: same seed, same run.

    And, where all is to be float32, none of those that round to TF32's 10 bits first, as cuDNN does by default.
    """
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = bf16
