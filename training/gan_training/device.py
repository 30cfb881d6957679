"""Where and how precisely to compute."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import Final

import torch

from .config import ConfigError
from .errors import first_line

PRODUCT_SIZE: Final = 512  # rows and columns of the matrices by which number formats are compared
TURNS: Final = 6


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


def choose_bf16(precision: str, device: torch.device, was: str | None = None) -> bool:
    """Whether to autocast to bfloat16; `auto` does where the hardware multiplies it natively, and faster.

    `was`: what `auto` came to when the run began, fp32 or bf16. It stays so where the hardware has it, whatever would
    be measured now.
    """
    if precision != "auto" or was == "fp32":
        return precision == "bf16"
    if device.type == "cuda":
        with torch.cuda.device(device):  # of several GPUs it tells of the present one
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_native_bf16() and (was == "bf16" or is_bf16_faster())


def has_native_bf16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported())


@cache
def is_bf16_faster() -> bool:
    """Whether matrix products in bfloat16 are the faster ones on this processor; it takes about 0.05 s, once.

    Its instructions alone don't tell: AMD's Zen 4 does about twice as many operations a second as in float32, a Xeon
    with AVX-512's, and without AMX, half as many. They take turns, and the best of each counts, in one thread's own
    time on the processor, so that other programs don't change what comes out. By the clock and with all threads, half
    of the measurements on two busy cores were wrong.
    """
    single = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE)
    half = single.bfloat16()
    best = [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(TURNS):
            for i, matrix in enumerate((single, half)):
                began = time.thread_time()
                torch.mm(matrix, matrix)
                best[i] = min(best[i], time.thread_time() - began)
    finally:
        torch.set_num_threads(threads)
    return best[1] < best[0]


def compute_exactly(device: torch.device, *, bf16: bool) -> None:
    """On a GPU, cuDNN's algorithms that always add in the same order: same seed, same run.

    And, where all is to be float32, none of those that round to TF32's 10 bits first, as cuDNN does by default.
    """
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = bf16
