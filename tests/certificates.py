"""A certificate of 127.0.0.1 and its key, for tests alone: nobody trusts it, and it secures nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PASSWORD: Final = "words-of-a-test"
CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBmDCCAT6gAwIBAgIUO8l9JgkRgmECJVShKKyBo+AQGSkwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNZ2Fud29ya3MtdGVzdDAgFw0yNjExMjkxNDEyNTBaGA8yMTI2
MTEwNTE0MTI1MFowGDEWMBQGA1UEAwwNZ2Fud29ya3MtdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABPKvRfN4VI5jdOmGjHEQ4hvDxVj++s11LEUEQWAS0lqq
5w9YXT+rBiC9c11GfJjsyArvJ+NRREbNIwH5ZFITdC2jZDBiMB0GA1UdDgQWBBRw
/W69EbeUkRQBiIB9iT2KKfqStzAfBgNVHSMEGDAWgBRw/W69EbeUkRQBiIB9iT2K
KfqStzAPBgNVHREECDAGhwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0E
AwIDSAAwRQIgH3ngV01iHXWWZRbZtYdpVPSNSlrzf/iflewEnb2fIwcCIQCRjg37
AUAWH3oqyK2Fsw5Xzhm2DPJglJe5ChKzdkyglw==
-----END CERTIFICATE-----
"""
LOCKED_KEY: Final = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhbmS3IJvkfPwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBQyRs9lxPpIHIjZs89KB5cEgZAn
0MmKXObTwq7UrUrElBJkOYoRTPLUZChv80TYCx74VxsleXRe3ctxF6blQscilp3q
qyLpqjtdQMYUzdFgbwbXEAAWdGxvxmi3vC+QByyhHTvjs0faEOBxtVtY7f60acIR
iqRMVPsnvOkMfppXtC1gZv7UPnM8SpHn/+Zi0jKOQpB11Asb1bSHnM6ow7180jQ=
-----END ENCRYPTED PRIVATE KEY-----
"""
OTHER_KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4h5tOzsafeUAk0VS
d+ZtB5vZRRPCMT7mnULwD+mxhnChRANCAAQZcl8Hf8AX4i9HpIDbh1hahW9d0nx7
Rt6O+Az7fdxWFdNQN/ZzzJ+eIqv+ihSYBCLpOg6iyW8rc3KGrU6Ibbda
-----END PRIVATE KEY-----
"""


def write_certificate(folder: Path) -> None:
    """Write `cert.pem`; `locked.pem`, its key, which has a password; and `other.pem`, which is another one's."""
    for name, text in (("cert", CERTIFICATE), ("locked", LOCKED_KEY), ("other", OTHER_KEY)):
        (folder / f"{name}.pem").write_text(text)
