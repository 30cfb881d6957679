"""What the processor tells of itself, in the forms that Linux writes."""

from pathlib import Path

import pytest

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
def test_products_of_bytes(tmp_path: Path, text: str, fast: bool | None):
    told = tmp_path / "cpuinfo"
    told.write_text(text)
    assert adds_byte_products(told) is fast


def test_a_system_that_does_not_tell(tmp_path: Path):
    assert features(tmp_path / "none") == frozenset()
    assert adds_byte_products(tmp_path / "none") is None


def test_the_first_of_several_processors_speaks(tmp_path: Path):
    told = tmp_path / "cpuinfo"
    told.write_text(X86.format(more=""))
    assert features(told) == {"fpu", "sse", "sse2", "avx2"}
