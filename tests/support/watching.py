"""What a monitoring system sees of a web role: scrapes, and the samples in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gatekeeper.settings import Settings
from support.web import Web, settings_for, trust


def watched(folder: Path, metrics: Mapping[str, Any] | None = None, **spool: Any) -> Settings:
    """Return settings of a web role and a listener whose scrapes are made afresh each time."""
    settings = settings_for(folder)
    chosen: dict[str, Any] = {"cache_seconds": 0.0, "flush_seconds": 0.05, **(metrics or {})}
    return dataclasses.replace(
        settings,
        metrics=dataclasses.replace(settings.metrics, **chosen),
        listen=dataclasses.replace(settings.listen, port=0, host="127.0.0.1", stop_seconds=0.0),
        spool=dataclasses.replace(settings.spool, **spool),
    )


def ask(web: Web, path: str, token: str = "", **headers: str) -> httpx.Response:
    """GET a path beside the DICOMweb root."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        given["Authorization"] = f"Bearer {token}"
    url = f"http://127.0.0.1:{web.port}{path}"
    return httpx.get(url, headers=given, timeout=60, verify=trust())


def scrape(web: Web) -> str:
    """Return the metrics as text."""
    answer = ask(web, "/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


def sample(text: str, name: str, **labels: str) -> float | None:
    """Return the value of a sample, None when there is none with these labels and no others."""
    return samples(text, name).get(tuple(sorted(labels.items())))


def samples(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the values of all samples of a name, by their labels."""
    return {
        tuple(sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name
    }
