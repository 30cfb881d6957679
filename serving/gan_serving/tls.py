"""What `--ssl-certfile` and its like name: without it each worker ends with a traceback, and is started again."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_FILES: Final = ("certfile", "keyfile", "ca_certs")


def problem(given: Mapping[str, Any], folder: Path) -> str | None:
    """Why a worker could not speak TLS with these, in one line; None: it can, or is not to.

    Args:
        given: `certfile`, `keyfile`, `keyfile_password`, `version`, `cert_reqs`, `ca_certs`, `ciphers`, or None.
        folder: where relative files are looked for, which is the workers' working directory.
    """
    if not given["certfile"]:
        return "--ssl-keyfile needs --ssl-certfile, the file of its certificate" if given["keyfile"] else None
    files = {name: folder / given[name] for name in _FILES if given[name]}
    for name, file in files.items():
        try:
            file.open("rb").close()
        except OSError as error:
            return f"--ssl-{name.replace('_', '-')}: can't read {file}: {error.strerror}"
    try:
        context = ssl.SSLContext(given["version"])
        # Without a function OpenSSL asks the terminal for a password.
        context.load_cert_chain(files["certfile"], files.get("keyfile"), lambda: given["keyfile_password"] or "")
    except (OSError, ValueError) as error:
        key = f"its key {files['keyfile']}" if "keyfile" in files else "a key in it"
        return (
            f"--ssl-certfile: can't use {files['certfile']} with {key}: {_reason(error)}; give a certificate in PEM "
            "form, its key with --ssl-keyfile, and the key's password if it has one with --ssl-keyfile-password"
        )
    try:
        context.verify_mode = ssl.VerifyMode(given["cert_reqs"])
        if "ca_certs" in files:
            context.load_verify_locations(files["ca_certs"])
        context.set_ciphers(given["ciphers"])
    except (OSError, ValueError) as error:
        return f"--ssl-cert-reqs, --ssl-ca-certs or --ssl-ciphers can't be followed: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and "PEM lib" in str(error):  # all that OpenSSL says of it
        return "the file is another one, or the password is"
    return str(getattr(error, "reason", None) or error.args[-1]).lower().replace("_", " ").rstrip(".")
