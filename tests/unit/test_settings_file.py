"""One value of the settings file is changed, or nothing is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gatekeeper import config, settings_file
from gatekeeper.errors import ConfigurationError

KEY = "listen.ae_title"


@pytest.mark.parametrize(
    "text",
    [
        config.template(),
        "",
        "# only a comment\n",
        '[listen]\nae_title = "OLD"  # of before\nport = 104\n\n[work]\nprocesses = 2\n',
        "[listen]\nport = 104\n",
        '[log]\nlevel = "INFO"\n',
    ],
)
def test_a_value_is_put_where_it_belongs_and_the_rest_stays(tmp_path: Path, text: str) -> None:
    """In place of the old one or of its comment; every other value, the mode and a link stay."""
    real = tmp_path / "real.toml"
    real.write_text(text, "utf-8")
    real.chmod(0o600)
    path = tmp_path / "gatekeeper.toml"
    path.symlink_to(real)
    before = tomllib.loads(text)
    settings_file.put(path, KEY, "RADIOLOGY")
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert config.load(path, {}).listen.ae_title == "RADIOLOGY"
    after = tomllib.loads(real.read_text("utf-8"))
    assert after.pop("listen") == {**before.pop("listen", {}), "ae_title": "RADIOLOGY"}
    assert after == before
    comments = [one for one in text.splitlines() if one.startswith("# ") and "ae_title" not in one]
    assert [one for one in comments if one not in real.read_text("utf-8")] == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["gatekeeper.toml", "real.toml"]


def test_nothing_is_changed_by_what_is_not_valid(tmp_path: Path) -> None:
    """Neither a value nor a file that the program would refuse at its next start is put there."""
    path = tmp_path / "gatekeeper.toml"
    broken = '[listen]\nport = "none"\n'
    inline = 'listen = { ae_title = "OLD" }\n'
    for text, value in ((broken, "GOOD"), (inline, "GOOD"), ("", "SEVENTEEN LETTERS")):
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigurationError):
            settings_file.put(path, KEY, value)
        assert path.read_text("utf-8") == text
        assert list(tmp_path.iterdir()) == [path]


def test_why_it_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, or an environment variable that goes before it."""
    path = tmp_path / "gatekeeper.toml"
    path.write_text('[listen]\nae_title = "OWN"\n', "utf-8")
    assert settings_file.problem(path, KEY) == ""
    assert settings_file.stated(path, KEY) == "OWN"
    assert "without a settings file" in settings_file.problem(None, KEY)
    assert settings_file.stated(None, KEY) == ""
    monkeypatch.setenv("GATEKEEPER_LISTEN_AE_TITLE", "ENV")
    assert "GATEKEEPER_LISTEN_AE_TITLE" in settings_file.problem(path, KEY)
    assert settings_file.stated(path, KEY) == "ENV"
