"""`gatekeeper model list`, `show`, `export` and `import`: the bundles there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.model.common import (
    BundleName,
    licence_text,
    model_errors,
    registry_of,
    site_folder,
)
from gatekeeper.cli.output import console, emit_json, emit_rows
from gatekeeper.cli.site import AsJson
from models import synthetic_share
from models.registry import SHIPPED_BUNDLES, BundleInfo, Registry

_LICENCE_WIDTH = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="list")(list_models)
    app.command()(show)
    app.command()(export)
    app.command(name="import")(import_model)


def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the bundles; those with a mark answer for their profile."""
    registry = registry_of(context)
    bundles = registry.bundles()
    answers = {info.name: answers_for(registry, info) for info in bundles}
    rows: list[Any] = list(bundles)
    if as_json:
        rows = [
            {
                **info.manifest,
                "name": info.name,
                "version": info.version,
                "digest": info.digest,
                "answers_for": answers[info.name],
                "non_commercial": info.non_commercial,
            }
            for info in bundles
        ]
    emit_rows(
        "Models",
        rows,
        {
            "": lambda info: "[bold green]*[/]" if answers[info.name] else "",
            "name": lambda info: escape(f"{info.name} {info.version}") + _synthetic_mark(info),
            "answers for": lambda info: escape(", ".join(answers[info.name])),
            "subjects": lambda info: f"{info.calibration_size} (p ≥ {info.smallest_p_value:.3g})",
            "scanners": lambda info: str(len(info.manifest.get("site_calibrations", ()))),
            "licence": _short_licence,
        },
        as_json=as_json,
        empty="No bundles; nothing would be assessed.",
    )


def _short_licence(info: BundleInfo) -> str:
    if info.non_commercial:
        return "[bold yellow]NON-COMMERCIAL[/]"
    return escape(info.weights_licence[:_LICENCE_WIDTH])


def _synthetic_mark(info: BundleInfo) -> str:
    known = info.manifest.get(synthetic_share.ENTRY)
    return f" [bold yellow]+{known['scans']} SYNTHETIC[/]" if known else ""


def answers_for(registry: Registry, info: BundleInfo) -> list[str]:
    """Return the profiles that a bundle answers for, each with how it came to it."""
    return [
        f"{one.profile.key} ({'activated' if one.activated else 'default'})"
        for one in registry.answering
        if one.info.name == info.name
    ]


def show(context: typer.Context, name: BundleName, as_json: AsJson = False) -> None:
    """Show a bundle: data, calibration, intended use, limits, licence; `--json` for all of it."""
    with model_errors():
        registry = registry_of(context)
        info = registry.get(name)
    if as_json:
        emit_json(dict(info.manifest))
        return
    table = Table(show_header=False, box=None, padding=(0, 1))
    table.add_column()
    table.add_column(overflow="fold")
    for heading, text in lines_of(registry, info):
        table.add_row(heading, escape(text))
    console.print(table)


def lines_of(registry: Registry, info: BundleInfo) -> list[tuple[str, str]]:
    """Return what is shown of a bundle, line by line."""
    manifest = info.manifest
    calibration = manifest.get("calibration", {})
    lines = [
        ("name", f"{info.name} {info.version}"),
        ("digest", info.digest),
        ("folder", str(info.path)),
        ("answers for", ", ".join(answers_for(registry, info)) or "nothing: not active"),
        ("made for", str(info.profile.key)),
        ("detector", info.detector),
        ("made of", str(manifest.get("architecture", ""))),
        ("decided by", ", ".join(manifest.get("deciding", ()))),
        ("intended use", str(manifest.get("intended_use", ""))),
        ("not tested on", "; ".join(manifest.get("not_tested_on", ()))),
        ("licence", licence_text(info)),
        *((("synthetic", share),) if (share := synthetic_share.in_words(manifest)) else ()),
        ("calibration", str(calibration.get("description", ""))),
        (
            "",
            f"{info.calibration_size} subjects: no p-value is under {info.smallest_p_value:.3g}",
        ),
    ]
    for one in manifest.get("site_calibrations", ()):
        smallest = f"no p-value under {1 / (int(one['n']) + 1):.3g}"
        text = f"{one['device']}, {one['protocol']}: {one['n']} subjects, {smallest}"
        lines.append(("calibrated for", text))
    lines += [
        (f"data: {key}", str(manifest["data"][key])) for key in sorted(manifest.get("data", {}))
    ]
    measured = manifest.get("metrics", {})
    lines.append(("measured", ", ".join(sorted(measured)) or "nothing; see `model evaluate`"))
    return lines


def export(
    context: typer.Context,
    name: BundleName,
    file: Annotated[Path, typer.Argument(help="zip file to write")],
) -> None:
    """Write a bundle to one file; the same bundle always gives the same bytes."""
    from models.transfer import export as write

    with model_errors():
        info = registry_of(context).get(name)
        digest = write(info, file)
    console.print(f"Wrote {file}, SHA-256 {digest}.", highlight=False)
    console.print(f"Model digest {info.digest}.", highlight=False)
    if info.non_commercial:
        console.print(f"Its weights are not for commercial use: {escape(info.weights_licence)}")


def import_model(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(exists=True, help="what `model export` wrote, or a bundle's folder")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="replace a bundle of the same name, kept aside")
    ] = False,
) -> None:
    """Install a bundle, after its digests are checked and it was loaded."""
    from models.transfer import import_bundle

    folder = site_folder(context)
    with model_errors():
        shipped = {info.name for info in Registry().bundles()} if SHIPPED_BUNDLES.is_dir() else ()
        info = import_bundle(source, folder, shipped, replace=replace)
        registry = registry_of(context)
    console.print(f"Installed {info.name} {info.version}, model digest {info.digest}.")
    if info.non_commercial:
        console.print(f"Its weights are not for commercial use: {escape(info.weights_licence)}")
    answers = answers_for(registry, info)
    if answers:
        console.print(f"It answers for {', '.join(answers)} from now on.")
    else:
        console.print(f"It is not active: `gatekeeper model activate {info.name}`.")
