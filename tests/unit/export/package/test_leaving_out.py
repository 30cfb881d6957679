"""Which variants an artifact goes without: those that don't pay, fail, or need what the exact one does not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawn import drawn_by
from onnx import TensorProto, helper
from toy_artifact import toy_gate

from gan_export.artifact import Manifest
from gan_export.artifact.candidate import CertificationError, Result
from gan_export.artifact.cases import make_cases
from gan_export.artifact.certificate import Gate, Options, VariantCertificate
from gan_export.artifact.evidence import Reference
from gan_export.artifact.golden import GOLDEN_FILE, golden_entry, pack_golden
from gan_export.artifact.pixels import to_uint8
from gan_export.artifact.verify import summarise
from gan_export.package import variants
from gan_export.package.variants import Certifier, LeftOutError, Made, add_int8, first_failed, unsteady
from gan_export.quantize import QuantizationError
from gan_export.tuning import TIMED_BATCHES, RewrittenGraph


def result_with(*gates: Gate) -> VariantCertificate:
    return summarise(drawn_by().evidence(), Options()).model_copy(update={"gates": list(gates)})


def made_with(*gates: Gate, spread: float = 1.0) -> Made:
    return Made(drawn_by().manifest.variants[0], result_with(*gates), spread)


def identity(count: int = 1) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("z", "image")]
    nodes = [helper.make_node("Identity", ["z"], ["image"])] * count
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))


def test_what_was_let_through_for_the_exact_variant_is_let_through_for_another_and_nothing_else():
    exact = made_with(toy_gate("labels_matter", passed=False, allowed=True), toy_gate("finite", passed=True))
    passed, failed = toy_gate("finite", passed=True), toy_gate("psnr", passed=False)
    let, newly = (toy_gate(code, passed=False, allowed=True) for code in ("labels_matter", "batch_invariant"))
    assert first_failed([passed, let], exact) is None
    assert first_failed([passed, let, newly, failed], exact) is newly
    assert first_failed([passed, let, failed, newly], exact) is failed
    assert first_failed([toy_gate("finite", passed=False, allowed=True)], exact) is not None


@pytest.mark.parametrize(("spread", "told"), [(1.4, False), (1.6, True)])
def test_a_host_that_was_busy_is_told(spread: float, told: bool):
    assert [line.startswith("fp32: ") for line in unsteady([made_with(spread=spread)])] == [True] * told


class AskedError(Exception):
    """The variant was to be certified."""


class Recording(Certifier):
    def certify_optional(self, *_: object, **__: object) -> Made:
        raise AskedError


@pytest.mark.parametrize(
    ("ratios", "pays"), [([1.14, 1.14], False), ([1.16, 1.16], True), ([2.0, 0.6], False), ([2.0, 0.7], True)]
)
def test_int8_must_be_faster_in_the_mean_of_the_batches(
    ratios: list[float], pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    exact, traced, compared = identity(), identity(2), []
    other = identity(3)
    certifier = Recording(tmp_path, {}, Reference({}), Options())
    quantized = type("Quantized", (), {"model": other, "rewrites": []})
    monkeypatch.setattr(variants, "quantize", lambda *_, **__: quantized)
    monkeypatch.setattr(variants, "simplified", RewrittenGraph)
    monkeypatch.setattr(variants, "open_graph", lambda model: model)
    monkeypatch.setattr(variants, "speedups", lambda *given: compared.append(given) or ratios)
    with pytest.raises(AskedError if pays else LeftOutError) as caught:
        add_int8(certifier, drawn_by().manifest, traced, exact, made_with(), lambda _: None)
    ((first, second, feeds),) = compared
    assert (first, second) == (exact, other)
    assert [len(feed["z"]) for feed in feeds] == list(TIMED_BATCHES)
    if not pays:
        assert str(caught.value).startswith("int8 is left out: it is not faster than fp32 on this host (")


def test_int8_that_shows_is_left_out_with_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise QuantizationError("image error too large")

    monkeypatch.setattr(variants, "quantize", refuse)
    monkeypatch.setattr(variants, "simplified", RewrittenGraph)
    with pytest.raises(LeftOutError, match=r"^int8 is left out: image error too large\.$"):
        add_int8(
            Certifier(tmp_path, {}, Reference({}), Options()),
            drawn_by().manifest,
            identity(),
            identity(),
            made_with(),
            lambda _: None,
        )


def certifier_of(folder: Path) -> tuple[Certifier, Manifest]:
    drawn = drawn_by()
    cases = make_cases(drawn.manifest.latent, drawn.manifest.classes)
    reference = drawn.evidence().reference
    golden = pack_golden(cases, reference.float32)
    (folder / GOLDEN_FILE).write_bytes(golden)
    manifest = drawn.manifest.model_copy(update={"golden": golden_entry(golden)})
    return Certifier(folder, cases, reference, Options()), manifest


@pytest.mark.parametrize("failing", ["the certificate", "the golden images", "the process", None])
def test_the_file_of_a_variant_that_fails_is_gone(failing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where it fails only on the golden images, which a service looks at when it starts."""
    certifier, manifest = certifier_of(tmp_path)
    ran = list[tuple[Path, str]]()

    def certified(_: Path, whole: Manifest, name: str, *__: object) -> tuple[VariantCertificate, Any]:
        if failing == "the process":
            raise CertificationError("it ended")
        assert [each.name for each in whole.variants] == ["fp32", name]
        speeds = type("Speeds", (), {"rates": {"1": 0.0, "64": 5.0}, "spread": 1.75})
        return result_with(toy_gate("psnr", passed=failing != "the certificate")), speeds

    def run(directory: Path, name: str, cases: Any, *_: object) -> tuple[Any, None]:
        ran.append((directory, name))
        sign = -1 if failing == "the golden images" else 1
        pixels = {key: sign * drawn_by().pixels(case).astype(np.float32) for key, case in cases.items()}
        results = {key: Result(to_uint8(each), each) for key, each in pixels.items()}
        return results, None

    monkeypatch.setattr(variants, "certify_variant", certified)
    monkeypatch.setattr(variants, "run_candidate", run)
    graph, before = RewrittenGraph(identity(), []), [made_with()]
    file = tmp_path / "generator.int8.onnx"
    if failing is None:
        made = certifier.certify_optional(manifest, "int8", graph, before)
        assert file.read_bytes()
        assert made.variant.images_per_second == {"64": 5.0}  # a rate of nothing can't be stored
        assert made.spread == 1.75
    else:
        with pytest.raises(LeftOutError, match=r"^int8 is left out: it "):
            certifier.certify_optional(manifest, "int8", graph, before)
        assert not file.exists()
    assert ran == ([(tmp_path, "int8")] if failing in ("the golden images", None) else [])
