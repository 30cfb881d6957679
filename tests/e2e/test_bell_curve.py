"""examples/bell_curve.py: the same loop and objectives learn the classic one-dimensional distribution."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "bell_curve.py"
MEAN, STD = 4.0, 1.25
MEAN_ERROR, STD_ERROR, KS_DISTANCE = 0.15, 0.15, 0.06
STEPS = 3000
SAMPLES = 20_000  # a sample of the true distribution this large has a distance of about 0.006


def ks_distance(drawn: np.ndarray) -> float:
    """From the true distribution."""
    from scipy.stats import kstest, norm  # more than a second, at each collection of the tests

    return float(kstest(drawn, norm(MEAN, STD).cdf).statistic)


@pytest.fixture(scope="module")
def bell_curve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bell_curve", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_generator_learns_the_bell_curve(bell_curve, seed):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = bell_curve.train(STEPS, seed=seed)
    finally:
        torch.set_num_threads(threads)
    drawn = bell_curve.sample(generator, SAMPLES, seed=seed + 10)
    assert drawn.shape == (SAMPLES,)
    assert np.isfinite(drawn).all()
    assert drawn.mean() == pytest.approx(MEAN, abs=MEAN_ERROR)
    assert drawn.std() == pytest.approx(STD, abs=STD_ERROR)
    assert ks_distance(drawn) < KS_DISTANCE


def test_it_starts_far_from_the_bell_curve(bell_curve):
    drawn = bell_curve.sample(bell_curve.train(1), SAMPLES)
    assert abs(drawn.mean() - MEAN) > 10 * MEAN_ERROR
    assert ks_distance(drawn) > 10 * KS_DISTANCE


def test_both_nets_are_three_linear_maps_and_noise_is_uniform(bell_curve):
    for net in (bell_curve.Generator(), bell_curve.Discriminator()):
        linear = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
        assert [linear[0].in_features, linear[-1].out_features, len(linear)] == [1, 1, 3]


@pytest.mark.slow
def test_the_script_ends_in_a_picture(tmp_path):
    command = [sys.executable, SCRIPT, "--steps", "20", "--out", "curve.png"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("curve.png: mean ")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 400
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10  # two densities, axes, text


def test_the_script_is_short():
    assert len(SCRIPT.read_text().splitlines()) <= 80
