"""torch-fidelity's own GenerativeModelONNX on an artifact as it lies on disk.

Its wheel is installed without dependencies: it asks for torchvision for data sets and pretrained nets that nothing here
uses. A package of that name with the few classes that its import names, and nothing in them, stands in for it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision_stand_in import with_torchvision

from gan_export.artifact import load_artifact, open_session, run_session

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
import torch, torch_fidelity
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.generative_model_onnx import GenerativeModelONNX

class Means(FeatureExtractorBase):
    '''The mean of each channel's four quarters: (N, 3, H, W) uint8 -> (N, 12).'''
    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)
        self.seen = None
    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1:] == (3, int(sys.argv[3]), int(sys.argv[3])), (x.dtype, x.shape)
        pooled = torch.nn.functional.adaptive_avg_pool2d(x.double(), 2)
        return (pooled.flatten(1),)
    @staticmethod
    def get_provided_features_list(): return ("quarters",)
    @staticmethod
    def get_default_feature_layer_for_metric(metric): return "quarters"
    @staticmethod
    def can_be_compiled(): return False
    @staticmethod
    def get_dummy_input_for_compile(): return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

torch_fidelity.register_feature_extractor("means", Means)
latent_dim = int(sys.argv[2])

def distance(z_type):
    return torch_fidelity.calculate_metrics(
        input1=sys.argv[1], input1_model_z_type="normal", input1_model_z_size=latent_dim, input1_model_num_classes=0,
        input1_model_num_samples=64,
        input2=sys.argv[1], input2_model_z_type=z_type, input2_model_z_size=latent_dim, input2_model_num_classes=0,
        input2_model_num_samples=64,
        feature_extractor="means", fid=True, cuda=False, cache=False, verbose=False, batch_size=7,
    )["frechet_inception_distance"]

found = {"frechet_inception_distance": distance("normal"), "other": distance("uniform_0_1")}
model = GenerativeModelONNX(sys.argv[1], latent_dim, "normal", 0)
z = torch.randn(5, latent_dim, generator=torch.Generator().manual_seed(3))
image = model(z)
print(json.dumps({**found, "version": torch_fidelity.__version__, "type": str(image.dtype),
                  "z": z.tolist(), "image": image.tolist()}))
"""


def test_torch_fidelity_runs_an_unconditional_artifact_as_it_is(tmp_path: Path, models: Path):
    artifact = load_artifact(models / "colours")
    path = artifact.directory / "generator.onnx"
    manifest = artifact.manifest
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, str(manifest.latent.dim), str(manifest.image.height)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": with_torchvision(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["version"] == "0.4.0"
    assert found["type"] == "torch.uint8"
    z = np.array(found["z"], np.float32)
    np.testing.assert_array_equal(np.array(found["image"], np.uint8), run_session(open_session(artifact), z, None))
    assert found["frechet_inception_distance"] < 1e-6  # the same latents on both sides
    assert found["other"] > 1.0  # and latents of another distribution
