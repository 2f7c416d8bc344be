"""What is installed: three packages, each with one owner, and everything that they need at hand."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import gatekeeper
import models
import storage


@pytest.mark.parametrize("package", ["gatekeeper", "storage", "models"])
def test_each_package_has_exactly_one_owner(package: str) -> None:
    """The names exist on the package index too; an install of one of those would shadow ours."""
    owners = set(packages_distributions().get(package, ["dicom-gatekeeper"]))
    assert owners == {"dicom-gatekeeper"}


@pytest.mark.parametrize("package", [gatekeeper, storage, models])
def test_each_package_is_typed(package: object) -> None:
    """Type checkers of those who build on us see our types."""
    file = getattr(package, "__file__", None)
    assert file is not None
    assert (Path(file).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "module",
    [
        "gatekeeper.cli",
        "gatekeeper.periodic",
        "gatekeeper.listen.process",
        "gatekeeper.send.sender",
    ],
)
def test_roles_that_judge_nothing_import_no_torch(module: str) -> None:
    """A listener's machine needs neither torch nor highdicom."""
    program = (
        f"import sys, {module}; "
        "print(*{'torch', 'highdicom', 'monai', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr
