"""The documents say what the program does."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_group

from gatekeeper import certificates, config
from gatekeeper.cli import app
from gatekeeper.metrics import families
from gatekeeper.settings import TlsSettings
from gatekeeper.tls import Credentials

ROOT = Path(__file__).resolve().parents[2]


def document(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip("the documents are not beside these tests")
    return path.read_text(encoding="utf-8")


def test_the_settings_page_is_the_settings() -> None:
    """docs/settings.md has exactly the rows that the program knows."""
    assert document("docs/settings.md") == config.page()


def test_the_table_of_metrics_is_what_is_collected() -> None:
    """docs/administrator.md has exactly the metrics that the program knows."""
    page = document("docs/administrator.md")
    table = re.findall(r"^\| metric \|(?:.+\n)+", page, flags=re.MULTILINE)
    assert table == [families.page()]


@pytest.mark.parametrize("name", ["README.md", "docs/administrator.md"])
def test_every_command_named_in_a_document_exists(name: str) -> None:
    """A reader can run what the pages show."""
    found = set(re.findall(r"gatekeeper ((?:[a-z-]+ ?){1,2})", _code(document(name))))
    commands = get_group(app)
    assert found
    for words in found:
        first, *second = words.split()
        command = commands.get_command(Context(commands), first)
        assert command is not None, f"no command: gatekeeper {words}"
        if second and isinstance(command, TyperGroup):
            inner = command.get_command(Context(command), *second)
            assert inner is not None, f"no command: gatekeeper {words}"


def test_the_commands_that_make_a_certificate_make_a_good_one(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    """A small CA as the administrator's page says: what comes out is taken as it is."""
    peer("openssl")
    blocks = re.findall(r"```\w*\n(.*?)```", document("docs/administrator.md"), flags=re.DOTALL)
    [script] = [block for block in blocks if "openssl req" in block]

    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True)

    own_file, key, trusted = (str(tmp_path / name) for name in ("gate.pem", "gate.key", "ca.pem"))
    settings = TlsSettings(certificate=own_file, key=key, ca=trusted)
    Credentials(settings).check(server=True)
    Credentials(settings).check(server=False)
    [own, ca] = certificates.in_use(settings)
    assert own.certificate.names == ("gate.hospital.example", "10.1.2.1")
    assert own.days > settings.warn_days
    assert ca.days > own.days
    context = ssl.create_default_context(cafile=trusted)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(Credentials(settings).accept, near)
        context.load_cert_chain(own_file, key)
        with context.wrap_socket(far, server_hostname="gate.hospital.example"):
            served.result(30).close()


def _code(text: str) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`]+`", text, flags=re.DOTALL))
