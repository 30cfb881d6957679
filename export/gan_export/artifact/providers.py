"""What computes a graph: the processor, by ONNX Runtime or OpenVINO, or a GPU with CUDA; which variants are for which,
and whether it is there."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from .manifest import EXACT
from .openvino_session import openvino_core
from .reading import ArtifactError

CPU_ENGINE: Final = "CPUExecutionProvider"
CUDA_ENGINE: Final = "CUDAExecutionProvider"
OPENVINO_ENGINE: Final = "OpenVINO"
REPEATABLE: Final = "DEFAULT"  # of cuDNN's ways to choose an algorithm: always the same one
INSTALL_OPENVINO: Final = "pip install 'ganworks[openvino]'"
INSTALL: Final = "pip install 'ganworks[cuda]', and then pip install --force-reinstall --no-deps onnxruntime-gpu"


ProviderWord = Literal["cpu", "cuda", "cuda-tf32", "openvino", "openvino-bf16"]
"""What users write for a provider: the keys of PROVIDERS."""


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime, or OpenVINO, set up in one way."""

    word: ProviderWord  # in GAN_PROVIDER and --providers
    engine: str  # ONNX Runtime's name, or OpenVINO
    title: str  # in certificates
    variants: tuple[str, ...]  # that it draws
    exact: bool = True  # whether float32 is float32: if not, it is enough that the images look the same
    options: dict[str, str] = field(default_factory=dict, hash=False)
    """ONNX Runtime's provider options, or OpenVINO's properties."""

    @property
    def is_cuda(self) -> bool:
        return self.engine == CUDA_ENGINE

    @property
    def is_openvino(self) -> bool:
        return self.engine == OPENVINO_ENGINE

    @property
    def runtime(self) -> str:
        """The library that draws."""
        return OPENVINO_ENGINE if self.is_openvino else "ONNX Runtime"


def _cuda(word: ProviderWord, title: str, variants: tuple[str, ...], *, tf32: bool) -> Provider:
    options = {
        "device_id": "0",
        "cudnn_conv_use_max_workspace": "1",
        # TF32 rounds the factors of float32 products to 10 bits, and NVIDIA's libraries do so unless told not to.
        "use_tf32": "1" if tf32 else "0",
        # The arena grows by what is asked for: doubling would keep other programs from the GPU's memory.
        "arena_extend_strategy": "kSameAsRequested",
    }
    return Provider(word, CUDA_ENGINE, title, variants, exact=not tf32, options=options)


def _openvino(word: ProviderWord, precision: str, hint: str, *, exact: bool) -> Provider:
    options = {"INFERENCE_PRECISION_HINT": hint}
    return Provider(word, OPENVINO_ENGINE, f"{OPENVINO_ENGINE} in {precision}", (EXACT,), exact=exact, options=options)


CPU: Final = Provider("cpu", CPU_ENGINE, CPU_ENGINE, (EXACT, "int8"))
CUDA: Final = _cuda("cuda", CUDA_ENGINE, (EXACT, "fp16"), tf32=False)
CUDA_TF32: Final = _cuda("cuda-tf32", f"{CUDA_ENGINE} with TF32", (EXACT,), tf32=True)
OPENVINO: Final = _openvino("openvino", "float32", "f32", exact=True)
OPENVINO_BF16: Final = _openvino("openvino-bf16", "bfloat16", "bf16", exact=False)
PROVIDERS: Final[dict[str, Provider]] = {
    provider.word: provider for provider in (CPU, CUDA, CUDA_TF32, OPENVINO, OPENVINO_BF16)
}
"""All there are, by the word for them."""


def algorithm_search(content: bytes) -> str:
    """How cuDNN is to choose the algorithms of a graph's convolutions: `cudnn_conv_algo_search` of an ONNX file.

    By its heuristics, where all convolutions are plain ones. Of transposed ones these choose algorithms that add in
    whatever order threads arrive: of one latent, two runs gave two images. So a graph that has any gets the one
    algorithm that repeats itself, though it takes several times as long (docs/graphs.md).
    """
    # As a node's type (field 4 of NodeProto, with its length), not as a part of a value's name: a layer that was
    # rewritten may have kept that. Read as bytes, since serving has no onnx.
    return REPEATABLE if b"\x22\x0dConvTranspose" in content else "HEURISTIC"


def first_provider(variant: str) -> Provider:
    """What a variant is made for, and its rates are measured with."""
    return next((provider for provider in PROVIDERS.values() if variant in provider.variants), CPU)


def provider_titled(title: str) -> Provider | None:
    """The provider of a certificate's result; None if this version does not know it."""
    return next((provider for provider in PROVIDERS.values() if provider.title == title), None)


def absence_of(provider: Provider) -> str:
    """Why it can't be used here, in words without a full stop; empty if it can."""
    if provider.is_openvino:
        return _absence_of_openvino(provider)
    if not provider.is_cuda:
        return ""
    import onnxruntime as ort  # here: a process that opens no session, as a server's first one, starts without it

    if provider.engine not in ort.get_available_providers():
        return f"the installed ONNX Runtime {ort.__version__} has no {provider.engine}: {INSTALL}"
    gpus = count_gpus()
    if gpus < 1:
        found = "the driver reports none" if gpus == 0 else "NVIDIA's driver (libcuda.so.1) is missing"
        return f"there is no GPU here: {found}; use cpu"
    return ""


def _absence_of_openvino(provider: Provider) -> str:
    if importlib.util.find_spec("openvino") is None:
        return f"the package openvino is not installed: {INSTALL_OPENVINO}"
    if provider is OPENVINO_BF16 and "BF16" not in _openvino_capabilities():
        return "this processor has no bfloat16 instructions, according to OpenVINO; use openvino, or cpu"
    return ""


@lru_cache
def _openvino_capabilities() -> tuple[str, ...]:
    """What OpenVINO says this processor can multiply, e.g. FP32, BF16, INT8."""
    return tuple(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def runtime_version(provider: Provider) -> str:
    """Names and versions of the libraries that draw with it, which is here: others may draw other bytes."""
    if provider.is_openvino:
        import openvino

        return f"{OPENVINO_ENGINE} {openvino.__version__}"
    import onnxruntime as ort

    return f"ONNX Runtime {ort.__version__}" + (f", cuDNN {_cudnn_version()}" if provider.is_cuda else "")


def _cudnn_version() -> int:
    """As cuDNN counts, e.g. 91002 for 9.10.2; 0 if it is not found under its name."""
    load_libraries()
    try:
        version = ctypes.CDLL("libcudnn.so.9").cudnnGetVersion
    except OSError:
        return 0
    version.restype = ctypes.c_size_t
    return int(version())


def check_provider(provider: Provider) -> None:
    """Whether it can be used here.

    Raises:
        ArtifactError: its package is not installed, or there is no GPU; the message says what to do.
    """
    if absence := absence_of(provider):
        raise ArtifactError(f"{provider.word} was requested, but {absence}", code="provider")


def is_usable(provider: Provider) -> bool:
    """Whether `check_provider` has nothing to say."""
    return not absence_of(provider)


def count_gpus() -> int:
    """As NVIDIA's driver counts them; -1 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return -1
    count = ctypes.c_int(0)
    # Both return 0 for success; cuInit fails where the driver is there and its kernel module or the GPU is not.
    return 0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value


@lru_cache
def load_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's Python packages, where they are not on the loader's path. What is missing is
    told when a session is opened."""
    import onnxruntime as ort

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find there
        ort.preload_dlls()
