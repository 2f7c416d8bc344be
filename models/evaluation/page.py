"""Page: the frame and style of a report, light, for 1440 pixels and for A4 paper."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #ffffff; color: #1b1b1b;
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 40px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 14px; }
h2 { font-size: 18px; margin: 34px 0 8px; }
p { margin: 0 0 10px; max-width: 78ch; }
header { border-bottom: 2px solid #1b1b1b; padding-bottom: 16px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }
dt { color: #595959; }
dd { margin: 0; overflow-wrap: anywhere; }
dd.digest { font: 12.5px/1.8 ui-monospace, "DejaVu Sans Mono", monospace; }
.limits { background: #f6f4ec; border-left: 4px solid #8a6d00; padding: 12px 20px; margin: 22px 0; }
.limits h2 { margin: 0 0 4px; font-size: 16px; }
ul { margin: 0; padding-left: 20px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; }
thead th { font-weight: 600; font-size: 12.5px; line-height: 1.3; color: #404040;
  border-bottom: 1px solid #1b1b1b; vertical-align: bottom; }
tbody tr { border-bottom: 1px solid #e2e2e2; break-inside: avoid; }
tbody th { font-weight: 600; }
small { display: block; color: #626262; font-size: 11.5px; font-weight: 400; white-space: nowrap; }
tr.floor { color: #4a4a4a; background: #f7f7f7; }
tr.floor th { font-weight: 400; font-style: italic; }
.none { color: #a0a0a0; }
.close td, .close th { padding-top: 4px; padding-bottom: 4px; }
figure { margin: 12px 0 0; break-inside: avoid; }
figure img { width: 100%; height: auto; display: block; }
figure.medium { max-width: 800px; }
figure.small { max-width: 430px; }
figcaption { color: #595959; font-size: 13px; margin-top: 4px; max-width: 90ch; }
details { margin-top: 34px; }
summary { font-size: 18px; font-weight: 700; cursor: pointer; }
@page { size: A4; margin: 14mm 12mm; }
@media print {
  body { font-size: 10.5pt; }
  main { padding: 0; max-width: none; }
  table { font-size: 7.6pt; }
  thead th { font-size: 7.2pt; }
  small { font-size: 6.6pt; }
  th, td { padding-right: 6px; }
  .wide { overflow: visible; }
  h2 { break-after: avoid; }
  .limits, tr.floor { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
@media (max-width: 720px) { main { padding: 16px; } }
"""


def document(title: str, facts: Mapping[str, str], limits: Sequence[str], body: str) -> str:
    """Return a whole page that needs no other file: title, facts, limits, and the body as HTML."""
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    notes = "".join(f"<li>{escape(one)}</li>" for one in limits)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(title)}</h1><dl>{listed}</dl></header>"
        f'<section class="limits"><h2>What this cannot show</h2><ul>{notes}</ul></section>'
        f"{body}</main></body></html>\n"
    )


def picture(png: bytes, caption: str, size: str = "") -> str:
    """Return a figure with its caption; `size` is empty, ``medium`` or ``small``."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure class="{size}"><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
