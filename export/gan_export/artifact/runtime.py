"""One way to run an artifact, for the certificate and for serving alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .first_line import first_line
from .fixed_batch import FixedBatchSession, on_gpu_thread
from .manifest import IDENTITY_KEY, IMAGE_OUTPUT, LABEL_INPUT, LATENT_INPUT, PIXELS_OUTPUT
from .openvino_session import OpenVinoSession
from .processor import adds_byte_products, usable_cores
from .providers import CPU, Provider, algorithm_search, check_provider, load_libraries
from .reading import Artifact, ArtifactError, read_graph

if TYPE_CHECKING:
    import onnxruntime as ort

SPIN_MICROSECONDS = "50"
CUDA_BATCH = 16
"""Images in every run on a GPU."""


class Session(Protocol):
    """What draws: an `onnxruntime.InferenceSession`, or what runs like one."""

    def run(self, output_names: Sequence[str], input_feed: dict[str, Any], /) -> Sequence[Any]: ...

    def get_session_options(self) -> ort.SessionOptions: ...


def session_options(threads: int = 0) -> ort.SessionOptions:
    """How a graph is run: by the certificate, by whatever measures it, and by serving.

    Args:
        threads: threads inside an operator; 0 is one for each core.
    """
    import onnxruntime as ort  # here: a process that opens no session, as a server's first one, starts without it

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Between the operators of a run, threads wait by spinning: waking them costs more than a small layer takes. But not
    # for long: by default they go on for 50 ms and more after the run, and take the cores from all else in a server.
    # docs/graphs.md has what was measured.
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    # Without VNNI, the fast kernels for int8 add two products in 16 bits, which may overflow: of the zoo's mnist-wgan a
    # pixel was 238 steps off. The others don't, and took 9 to 22 % longer. With VNNI the fast ones are exact, and twice
    # as fast as these, which ONNX Runtime would take there too.
    if not adds_byte_products():
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def open_session(artifact: Artifact, variant: str = "fp32", *, threads: int = 0, provider: Provider = CPU) -> Session:
    """A session on the variant's file, with the options that serving uses.

    Args:
        artifact: as `load_artifact` returned it.
        variant: which graph.
        threads: threads inside an operator, on a processor, or of OpenVINO runs side by side; 0 is one for each core.
        provider: what computes it.

    Raises:
        ArtifactError: the graph can't be loaded, was made for another manifest, or has another signature; or the
            provider is not there, or does not draw that variant.
    """
    chosen = artifact.variant(variant)
    if variant not in provider.variants:
        raise ArtifactError(
            f"{artifact.directory}: {provider.word} can't run the variant {variant!r}, only "
            f"{' or '.join(provider.variants)}",
            code="provider",
        )
    check_provider(provider)
    path, content = artifact.path_of(chosen), read_graph(artifact, chosen)
    try:
        opened = _open(content, provider, threads)
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"{path}: {provider.runtime} can't load it: {first_line(error)}", code="unloadable"
        ) from error
    _check_declared(opened, artifact, path)
    if provider.is_cuda:
        return FixedBatchSession(opened.session, artifact.manifest, CUDA_BATCH)
    session: Session = opened.session
    return session


class _Opened(NamedTuple):
    """A session, and what its file says of itself."""

    session: Any  # a Session; of CUDA, one that is to run batches of one size
    identity: str | None  # of the manifest
    inputs: list[str]
    outputs: list[str]


def _check_declared(opened: _Opened, artifact: Artifact, path: Path) -> None:
    """Raises ArtifactError if a graph is not the manifest's, or has other inputs or outputs."""
    if opened.identity != artifact.manifest.identity():
        raise ArtifactError(
            f"{path}: was exported with another {artifact.directory / 'manifest.json'} "
            "(its digest in the graph differs); the manifest was changed or the file swapped: export again",
            code="identity",
        )
    for kind, declared, found in (
        ("input", artifact.manifest.inputs, opened.inputs),
        ("output", artifact.manifest.outputs, opened.outputs),
    ):
        if [tensor.name for tensor in declared] != found:
            names = ", ".join(found)
            raise ArtifactError(f"{path}: its {kind}s are {names}, not those of the manifest", code="signature")


def _open(content: bytes, provider: Provider, threads: int) -> _Opened:
    if provider.is_openvino:
        drawing = OpenVinoSession(content, provider.options, threads or usable_cores())
        return _Opened(drawing, drawing.identity, drawing.inputs, drawing.outputs)
    session = open_cuda(content, provider) if provider.is_cuda else open_cpu(content, threads)
    identity = session.get_modelmeta().custom_metadata_map.get(IDENTITY_KEY)
    inputs, outputs = ([port.name for port in ports] for ports in (session.get_inputs(), session.get_outputs()))
    return _Opened(session, identity, inputs, outputs)


def open_cpu(content: bytes, threads: int = 0) -> ort.InferenceSession:
    """A session on the processor, with the options that serving uses; `threads` as for `open_session`."""
    import onnxruntime as ort  # here: a process that opens no session, as a server's first one, starts without it

    return ort.InferenceSession(content, session_options(threads), providers=[CPU.engine])


def open_cuda(content: bytes, provider: Provider) -> ort.InferenceSession:
    """A session on the GPU, for the thread that uses it. Runs must be bound, and all of one shape.

    Args:
        content: the ONNX file.
        provider: of CUDA's.

    Raises:
        ArtifactError: ONNX Runtime can't start the provider, as where a library of CUDA's is missing.
    """
    import onnxruntime as ort  # here: a process that opens no session, as a server's first one, starts without it

    load_libraries()
    options = provider.options | {
        "cudnn_conv_algo_search": algorithm_search(content),
        "enable_cuda_graph": "1",  # from the third run on, one start for all kernels of a batch
    }
    session = on_gpu_thread(
        # The fallback is Python's: without the provider there is to be no session, and not one on the processor.
        lambda: ort.InferenceSession(content, session_options(1), [(provider.engine, options)], enable_fallback=0)
    )
    if session.get_providers()[0] != provider.engine:
        raise ArtifactError(
            f"{provider.word} was requested, but ONNX Runtime can't start its {provider.engine}: a library of CUDA or "
            "cuDNN is missing, or has a different version than the one it was built for; the log above names it",
            code="provider",
        )
    return session


def run_session(
    session: Session,
    latents: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    *,
    pixels: bool = False,
) -> Any:
    """Generate images.

    Args:
        session: from `open_session`.
        latents: (N, latent_dim).
        labels: (N,), None for an unconditional generator.
        pixels: also return the float output.

    Returns:
        uint8 (N, C, H, W); with `pixels` a pair of that and float32 (N, C, H, W).
    """
    feed: dict[str, NDArray[Any]] = {LATENT_INPUT: latents}
    if labels is not None:
        feed[LABEL_INPUT] = labels
    names = [IMAGE_OUTPUT, PIXELS_OUTPUT] if pixels else [IMAGE_OUTPUT]
    outputs = session.run(names, feed)
    return tuple(outputs) if pixels else outputs[0]
