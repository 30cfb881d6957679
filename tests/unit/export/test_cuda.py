"""On a GPU: the certificate of a provider, and one seed as one image."""

from pathlib import Path

import numpy as np
import pytest

from gan_export.artifact import draw, open_session, run_session
from gan_export.artifact.providers import CUDA, CUDA_TF32, Provider, is_usable
from gan_export.artifact.reading import read_certificate
from gan_export.artifact.verify import verify
from gan_export.package.export import Exported, export
from gan_training.specs import GeneratorSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_usable(CUDA), reason="no GPU, or no onnxruntime-gpu, here"),
]


@pytest.mark.parametrize("provider", [CUDA, CUDA_TF32])
def test_the_gates_hold(faces: Exported, clouds: Exported, provider: Provider):
    for exported in (faces, clouds):
        found, _ = verify(exported.artifact.directory, provider=provider)
        assert [(result.variant, result.provider) for result in found.results] == [("fp32", provider.title)]
        assert found.failures == []


def test_an_image_is_the_same_alone_in_any_batch_and_in_another_session(clouds: Exported):
    latent = clouds.artifact.manifest.latent
    z = draw(range(70), latent.dim, latent.distribution).latents
    session = open_session(clouds.artifact, provider=CUDA)
    whole = run_session(session, z, None)
    for first, count in ((0, 1), (3, 1), (5, 16), (11, 17), (69, 1)):
        assert np.array_equal(run_session(session, z[first : first + count], None), whole[first : first + count])
    assert np.array_equal(run_session(open_session(clouds.artifact, provider=CUDA), z, None), whole)


def test_an_export_is_certified_there_and_float16_is_made_or_the_reason_told(make_source, tmp_path: Path):
    source = make_source(GeneratorSpec(image_size=28, channels=1, latent_dim=16))
    exported = export(source, "m", tmp_path / "m", variants=("fp32", "fp16"), providers=(CUDA,))
    results = {(result.variant, result.provider) for result in read_certificate(exported.artifact).results}
    assert {("fp32", "CPUExecutionProvider"), ("fp32", CUDA.title)} <= results
    made = [variant.name for variant in exported.artifact.manifest.variants]
    assert ("fp16", CUDA.title) in results or any(note.startswith("fp16 is left out: ") for note in exported.notes)
    assert ("fp16" in made) == (("fp16", CUDA.title) in results)
