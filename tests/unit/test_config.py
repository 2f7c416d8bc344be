"""Settings: every one documented, every bad value named by its key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gatekeeper import config
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import Settings, rows


def write(folder: Path, text: str) -> Path:
    path = folder / "gatekeeper.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_written_template_is_the_defaults(tmp_path: Path) -> None:
    """`gatekeeper init` writes every setting, and uncommenting them all changes nothing."""
    text = config.template()
    uncommented = "\n".join(
        line[2:]
        if line.startswith("# ") and " = " in line and "(" not in line.split(" = ")[0]
        else line
        for line in text.splitlines()
    )
    assert {
        f"{section}.{name}" for section, rows in tomllib.loads(uncommented).items() for name in rows
    } == {row.key for row in rows()}
    assert config.load(write(tmp_path, uncommented), {}) == Settings()


def test_every_setting_has_a_help_and_every_number_a_bound() -> None:
    """No limit is undocumented or open at its lower end."""
    for row in rows():
        assert row.help, row.key
        if isinstance(row.default, int | float) and not isinstance(row.default, bool):
            assert row.minimum is not None, row.key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[listen]\nport = 0", "listen.port"),
        ("[listen]\nport = '104'", "listen.port"),
        ("[listen]\nport = true", "listen.port"),
        ("[listen]\nae_title = 'SEVENTEEN_LETTERS'", "listen.ae_title"),
        ("[listen]\nprivate_sop_classes = ['1.2.x']", "listen.private_sop_classes"),
        ("[listen]\nprot = 104", "listen.prot"),
        ("[lisen]\nport = 104", "lisen.port"),
        ("port = 104", "port"),
        ("[work]\ndevice = 'tpu'", "work.device"),
        ("[models]\nfalse_hold_rate = 0.9", "models.false_hold_rate"),
        ("[listen", "gatekeeper.toml"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_key(tmp_path: Path, text: str, key: str) -> None:
    """The error names what to correct."""
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, text), {})
    assert caught.value.key.endswith(key)


def test_every_bad_value_is_reported_at_once(tmp_path: Path) -> None:
    """A person corrects the file in one round."""
    path = write(tmp_path, "[listen]\nport = 0\nhost = 5\n[log]\nlevel = 'LOUD'")
    assert {problem.key for problem in config.inspect(path, {})[1]} == {
        "listen.port",
        "listen.host",
        "log.level",
    }


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """A container is configured by its environment alone."""
    settings = config.load(
        write(tmp_path, "[listen]\nport = 104"),
        {
            "GATEKEEPER_LISTEN_PORT": "11113",
            "GATEKEEPER_LISTEN_AE_TITLE": "GATE",
            "GATEKEEPER_LISTEN_ACCEPT_DEFLATED": "true",
            "GATEKEEPER_LISTEN_PRIVATE_SOP_CLASSES": "1.2.3, 1.2.4",
            "GATEKEEPER_TICK_COMPLETE_SECONDS": "2",
        },
    )
    assert settings.listen.port == 11113
    assert settings.listen.ae_title == "GATE"
    assert settings.listen.accept_deflated
    assert settings.listen.private_sop_classes == ("1.2.3", "1.2.4")
    assert settings.tick.complete_seconds == 2.0


def test_a_bad_environment_value_is_named_like_one_in_the_file() -> None:
    """The same rules hold for both."""
    with pytest.raises(ConfigurationError, match=r"listen\.port"):
        config.load(None, {"GATEKEEPER_LISTEN_PORT": "ssh"})


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A mistyped --config never starts a site on defaults."""
    with pytest.raises(ConfigurationError, match="no such file"):
        config.load(tmp_path / "absent.toml", {})
