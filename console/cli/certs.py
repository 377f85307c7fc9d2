"""`hermes certs`: makes certificates for development. Imports `actors`, so the command line imports it late."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from actors import development_ca
from actors.errors import CertificatesNotMade, InvalidHost
from console.cli import output, terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE


def make(folder: Path, hosts: Sequence[str], days: int) -> int:
    """Makes the certificates, and prints what to write in the configuration and for a client; returns the exit code.

    The server's is for this machine's own names too: commands on the server itself reach it by them.
    """
    terminal.require_text("--folder", str(folder))  # it is printed as YAML
    try:
        files = development_ca.make(
            folder.absolute(), hosts=tuple(dict.fromkeys((*development_ca.DEFAULT_HOSTS, *hosts))), days=days
        )
    except InvalidHost as error:
        return terminal.report(f"--host: {error}", MISTAKE)
    except CertificatesNotMade as error:
        return terminal.report(str(error), FAILURE)
    ca = files.certificate("ca")
    lines = (
        "# in the configuration; without client_ca no client needs a certificate",
        "router:",
        "  tls:",
        f"    certificate: {_yaml(files.certificate('server'))}",
        f"    key: {_yaml(files.key('server'))}",
        f"    client_ca: {_yaml(ca)}",
        "# for a client, or as HERMES_CA, HERMES_CERT and HERMES_KEY",
        f"#   --ca {ca} --cert {files.certificate('client')} --key {files.key('client')}",
    )
    for line in lines:
        terminal.out.print(line, markup=False)
    terminal.err.print(f"for development only: whoever can read {files.key('ca')} can make certificates", markup=False)
    return DONE


def _yaml(path: Path) -> str:
    """The path as YAML: in quotes where it needs them."""
    return str(path) if re.fullmatch(r"[A-Za-z0-9/._-]+", str(path)) else output.as_json(str(path))
