"""What the processor tells of itself, in the forms that Linux writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_export.artifact import processor
from gan_export.artifact.processor import adds_byte_products, features

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC flags of no meaning
flags\t\t: fpu sse sse2 avx2{more}
bugs\t\t: avx512_vnni_is_no_bug

processor\t: 1
flags\t\t: fpu sse sse2 avx2{more}
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm{more}
CPU implementer\t: 0x41
"""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in place of Linux's own."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    processor.features.cache_clear()
    yield path
    processor.features.cache_clear()


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        (X86.format(more=""), False),
        (X86.format(more=" avx512_vnni avx512f"), True),
        (X86.format(more=" avx_vnni"), True),
        (ARM.format(more=""), False),
        (ARM.format(more=" asimddp"), True),
        ("processor: 0\ncpu: POWER9\n", None),
    ],
)
def test_products_of_bytes(cpuinfo: Path, text: str, fast: bool | None):
    cpuinfo.write_text(text)
    assert adds_byte_products() is fast


@pytest.mark.usefixtures("cpuinfo")
def test_a_system_that_does_not_tell():
    assert features() == frozenset()
    assert adds_byte_products() is None


def test_the_first_of_several_processors_speaks(cpuinfo: Path):
    cpuinfo.write_text(X86.format(more=""))
    assert features() == {"fpu", "sse", "sse2", "avx2"}
