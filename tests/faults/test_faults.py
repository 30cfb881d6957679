"""A fault of each kind, planted into a good generator: caught by its own gate, and nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import planted
import pytest

from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import Options
from gan_export.artifact.gates import ALLOWABLE, RULES
from gan_export.capture import capture
from gan_export.capture_errors import CaptureError
from gan_export.package.export import Exported, export
from gan_export.refusal import ExportError

pytestmark = pytest.mark.slow

REFUSALS = (ExportError, CaptureError, CertificationError)

CODES = tuple(rule.code for rule in RULES)


def test_without_a_fault_every_gate_passes(good: Exported):
    (result,) = good.certificate.results
    assert [gate.code for gate in result.gates] == list(CODES)
    assert all(gate.passed for gate in result.gates)


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_caught_by_its_own_gate(fault: planted.Fault, tmp_path: Path):
    with pytest.raises(REFUSALS) as caught:
        export(planted.source_of(fault.net()), "m", tmp_path / "models" / "m")
    message = str(caught.value)
    assert caught.value.code == fault.code, message
    assert re.search(fault.says, message), message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_every_gate_has_a_fault():
    assert {fault.code for fault in planted.FAULTS} | {"dtype", "uint8_rounding"} == set(CODES)


@pytest.mark.parametrize(("operator", "code"), [("Round", "uint8_rounding"), ("Cast", "dtype")])
def test_a_faulty_tail_is_caught(operator: str, code: str, tmp_path: Path):
    """Truncation instead of rounding, and an image that was never made uint8: taken out of the graph by hand."""
    graph = capture(planted.Good().eval(), planted.LATENT_DIM, planted.CLASSES)
    (node,) = (node for node in graph.graph.node if node.op_type == operator)
    (before,), (after,) = node.input, node.output
    graph.graph.node.remove(node)
    for other in graph.graph.node:
        for i, name in enumerate(other.input):
            if name == after:
                other.input[i] = before
    outputs = {output.name for output in graph.graph.output}
    if after in outputs:
        maker = next(other for other in graph.graph.node if before in other.output)
        maker.output[list(maker.output).index(before)] = after
        graph.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    with pytest.raises(ExportError) as caught:
        export(planted.source_of(graph), "m", tmp_path / "m")
    assert caught.value.code == code


@pytest.mark.parametrize("net", [planted.LabelModulo, planted.LatentsIgnored, planted.SigmoidLast, planted.WrongEps])
def test_a_fault_that_is_allowed_is_recorded_and_no_other_gate_minds_it(net, tmp_path: Path):
    (code,) = {fault.code for fault in planted.FAULTS if fault.net is net}
    exported = export(planted.source_of(net()), "m", tmp_path / "m", options=Options(allowed=(code,)))
    assert exported.certificate.allowed == [code]
    assert exported.certificate.options.allowed == (code,)
    (result,) = exported.certificate.results
    assert [gate.code for gate in result.gates if not gate.passed] == [code]
    assert f"Allowed to fail by --allow: {code}" in (tmp_path / "m" / "README.md").read_text()


def test_a_manifest_does_not_promise_what_was_let_through(tmp_path: Path):
    options = Options(allowed=("batch_invariant", "tolerance"))
    exported = export(planted.source_of(planted.NoRunningStatistics()), "m", tmp_path / "m", options=options)
    assert not exported.artifact.manifest.properties.batch_invariant
    assert exported.artifact.manifest.properties.deterministic


def test_a_wider_tolerance_is_recorded(tmp_path: Path):
    exported = export(planted.source_of(planted.WrongEps()), "m", tmp_path / "m", options=Options(tolerance=1.0))
    (gate,) = (gate for gate in exported.certificate.results[0].gates if gate.code == "tolerance")
    assert gate.passed
    assert gate.limit == 1.0 > gate.measured > 1e-3


def test_what_can_be_allowed():
    assert set(CODES) - set(ALLOWABLE) == {"dynamic_batch", "shape", "dtype", "finite"}
