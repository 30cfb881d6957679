"""Who notices that an export is broken: gan-export's certificate, or what people do otherwise.

    python bench/faults.py                # all faults, about 3 minutes on two cores
    python bench/faults.py --help         # with examples

At export: each row is a generator with one planted fault (tests/faults/planted.py), put into eval mode as everybody
does. `Good` is the same generator without a fault: nobody may complain of it. Each column is a way to check:

- gan-export: the whole command's work; what is printed is the code of the gate that failed.
- verify=True: `torch.onnx.export(net, args, dynamo=True, verify=True, dynamic_shapes=...)` as its documentation shows
  it. It compares the graph with the program that torch traced, not with the module, on the example batch, and never
  raises for what it finds: a difference goes to torch's log, a failure of ONNX Runtime to a line on stdout. Both count
  as caught here, as "says", although the file is written all the same.
- allclose, same batch: the same file in ONNX Runtime against the eager module, on the batch that it was exported with,
  with the tolerances of tutorials (rtol 1e-3, atol 1e-5).
- allclose, other batch: that on one random batch of another size, without ONNX Runtime's graph optimisations, with atol
  1e-4: what exporters that validate their own files do, in spirit. It is written here by hand, and is the code of none.

An exception at any step counts as caught, as "raised": nobody overlooks one, and Good, which differs in nothing but the
fault, must raise none. Who caught what is computed from what happened; nothing here lists it.

After the export: a good artifact that was changed on disk, given to gan-verify, and to onnx.checker and an ONNX Runtime
session that only has to load.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnxruntime as ort
import torch
from plain_export import PlainExport
from report.faults import tables
from torch import Tensor

from gan_export.artifact import MANIFEST_FILE, ArtifactError
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.verify import verify
from gan_export.capture import seal
from gan_export.capture_errors import CaptureError
from gan_export.package.export import export
from gan_export.package.variants import ONNX_FILE
from gan_export.refusal import ExportError

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "faults"))
import planted
import tampering

GOOD = planted.Good.__name__
NETS: dict[str, Any] = {GOOD: planted.Fault(planted.Good, "", "")} | {fault.name: fault for fault in planted.FAULTS}
EXAMPLE_BATCH, OTHER_BATCH = 3, 5  # BatchBakedIn is made for 3
EPILOG = """examples:
  python bench/faults.py --only NanWeight WrongEps      under a minute: these two and Good, and no second table
  python bench/faults.py --json > faults.json
"""
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """What one way of checking made of one fault, in a few words."""

    caught: bool
    words: str = ""


@dataclass(frozen=True)
class Row:
    """A fault, the code that the certificate should give it ("" for none), and the verdicts by way of checking."""

    name: str
    code: str
    verdicts: dict[str, Verdict]


def ask(ways: Mapping[str, Callable[[T], Verdict]], subject: T, name: str, code: str) -> Row:
    """Give one fault to every way of checking."""
    print(f"{name} ...", file=sys.stderr)
    verdicts = {}
    for way, check in ways.items():
        try:
            verdicts[way] = check(subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the table
            verdicts[way] = Verdict(True, f"raised: {first_words(error)}")
    return Row(name, code, verdicts)


def first_words(error: BaseException) -> str:
    """Of the root cause, on one line; ONNX Runtime's own begin with numbers and end with what matters."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.rpartition("Status Message: ")[2]


def inputs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Latents (n, latent_dim), and labels (n,) of all classes in turn."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, planted.LATENT_DIM, generator=rng), torch.arange(n) % planted.CLASSES


class Attempt:
    """A planted generator, seeded and in eval mode."""

    def __init__(self, fault: planted.Fault) -> None:
        torch.manual_seed(0)
        random.seed(0)
        ort.set_seed(0)
        self.net = fault.net().eval()
        self.plain = PlainExport(fault.net().eval(), inputs(EXAMPLE_BATCH))  # for all columns but the first


def by_certificate(attempt: Attempt) -> Verdict:
    """gan-export: the code of the gate that failed, if one did."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            export(planted.source_of(attempt.net), "planted", Path(folder) / "planted")
        except (ExportError, CaptureError, CertificationError) as error:
            return Verdict(True, error.code)
    return Verdict(False)


def by_verify(attempt: Attempt) -> Verdict:
    """torch.onnx.export with verify=True: the first of what it said."""
    attempt.plain.file()
    said = attempt.plain.said
    return Verdict(True, f"says: {said[0]}") if said else Verdict(False)


def by_same_batch(attempt: Attempt) -> Verdict:
    """The plain export against the module on the batch that it was exported with, with tutorials' tolerances."""
    difference = attempt.plain.compare(inputs(EXAMPLE_BATCH), rtol=1e-3, atol=1e-5)
    return Verdict(bool(difference), difference)


def by_other_batch(attempt: Attempt) -> Verdict:
    """The same on a random batch of another size, without graph optimisations."""
    difference = attempt.plain.compare(inputs(OTHER_BATCH, seed=1), rtol=1e-5, atol=1e-4, optimise=False)
    return Verdict(bool(difference), difference)


AT_EXPORT: dict[str, Callable[[Attempt], Verdict]] = {
    "gan-export": by_certificate,
    "verify=True": by_verify,
    "allclose, same batch": by_same_batch,
    "allclose, other batch": by_other_batch,
}


def by_gan_verify(directory: Path) -> Verdict:
    """gan-verify on the artifact in `directory`: the code of the first gate that failed."""
    try:
        found, _ = verify(directory)
    except (ArtifactError, CertificationError) as error:
        return Verdict(True, error.code)
    return Verdict(True, found.failures[0][1].code) if found.failures else Verdict(False)


def by_loading(directory: Path) -> Verdict:
    """onnx.checker and a session of ONNX Runtime, which raise where they find something."""
    onnx.checker.check_model(onnx.load(directory / ONNX_FILE), full_check=True)
    ort.InferenceSession(directory / ONNX_FILE, providers=["CPUExecutionProvider"])
    return Verdict(False)


def nothing(directory: Path) -> None:
    """Leave it as it is."""


def flip_a_bit(directory: Path) -> None:
    """In the middle of the file: in a weight."""
    tampering.flip_byte(directory / ONNX_FILE)


def swap(directory: Path) -> None:
    """The same net of another run: other weights, sealed for another manifest."""
    graph = onnx.load(directory / ONNX_FILE)
    tampering.scale_a_weight(graph)
    (directory / ONNX_FILE).write_bytes(seal(graph, "0" * 64))


def reverse_classes(directory: Path) -> None:
    """Class names in another order in the manifest."""
    tampering.edit_json(directory / MANIFEST_FILE, lambda manifest: manifest["class_names"].reverse())


TAMPERINGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing changed": ("", nothing),
    "one bit changed": ("digest", flip_a_bit),
    "file swapped": ("digest", swap),
    "swapped, digest corrected": ("identity", tampering.swap_graph),
    "manifest edited": ("identity", reverse_classes),
    "weight changed, resealed": ("tolerance", partial(tampering.change, edit=tampering.scale_a_weight)),
    "rounding out, resealed": ("uint8_rounding", partial(tampering.change, edit=tampering.drop_rounding)),
}
"""What may happen to an artifact on disk, and the code by which gan-verify should know it."""

AFTER_EXPORT: dict[str, Callable[[Path], Verdict]] = {"gan-verify": by_gan_verify, "checker, loading": by_loading}


def tamper_with_good() -> list[Row]:
    """Every tampering on a copy of one good artifact."""
    with tempfile.TemporaryDirectory() as folder:
        exported = export(planted.source_of(planted.Good()), "good", Path(folder) / "good", portable=True)
        rows = []
        for name, (code, tamper) in TAMPERINGS.items():
            copied = Path(shutil.copytree(exported.artifact.directory, Path(folder) / "copied"))
            tamper(copied)
            rows.append(ask(AFTER_EXPORT, copied, name, code))
            shutil.rmtree(copied)
    return rows


def net_name(text: str) -> str:
    """In any case, e.g. nanweight."""
    found = next((name for name in NETS if name.lower() == text.lower()), None)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fault; choose from {', '.join(NETS)}")
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="who catches planted faults: gan-export and gan-verify, or the checks that people do otherwise",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", type=net_name, metavar="NAME", help=f"of {', '.join(list(NETS)[1:])}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    began = time.perf_counter()
    chosen = [fault for name, fault in NETS.items() if not options.only or name in (GOOD, *options.only)]
    found = {"at export": [ask(AT_EXPORT, Attempt(fault), fault.name, fault.code) for fault in chosen]}
    if not options.only:
        found["after the export"] = tamper_with_good()
    versions = {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__}
    seconds = time.perf_counter() - began
    rows = {title: [asdict(row) for row in table] for title, table in found.items()}
    if options.json:
        print(json.dumps({**versions, "seconds": round(seconds, 1), "tables": rows}, indent=2))
        return
    print(", ".join(f"{package} {version}" for package, version in versions.items()), end="")
    print(f"; {seconds:.0f} s\n\n{tables({'tables': rows})}")


if __name__ == "__main__":
    main()
