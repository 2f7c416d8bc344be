"""The look of the report's page, light and dark."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2329;
  --faint: #5b6670; --rule: #dfe3e6; --suspect: #9a4b00; --suspect-paper: #fff1df;
  --clear: #1f5a83; --clear-paper: #e6f1f8; --none: #55504a; --none-paper: #efedea; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2125;
  --ink: #e4e7ea; --faint: #9aa5ae; --rule: #313940; --suspect: #ffb866;
  --suspect-paper: #3a2710; --clear: #8cc7ee; --clear-paper: #12303f; --none: #cbc5bd;
  --none-paper: #2c2a27; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
p { margin: 0.5rem 0; }
.verdict { border-radius: 10px; padding: 1rem 1.25rem; margin-bottom: 1.25rem;
  color: var(--none); background: var(--none-paper); border-left: 6px solid currentColor; }
.verdict.suspect { color: var(--suspect); background: var(--suspect-paper); }
.verdict.clear { color: var(--clear); background: var(--clear-paper); }
.verdict p { margin: 0; color: var(--ink); }
.verdict .label { color: inherit; font-size: 1.5rem; font-weight: 700; letter-spacing: 0.04em; }
dl { margin: 0; display: flex; flex-wrap: wrap; gap: 0.5rem 1.75rem; }
dt { color: var(--faint); font-size: 0.78rem; }
dd { margin: 0; font-weight: 600; }
.facts { padding-bottom: 1rem; margin-bottom: 0.75rem; border-bottom: 1px solid var(--rule); }
img { display: block; max-width: 100%; margin: 1.25rem auto; border-radius: 8px; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 1rem 1.25rem; margin: 1rem 0; overflow-x: auto; }
h2 { font-size: 1.05rem; margin: 0 0 0.75rem; }
.tiles { margin-bottom: 1rem; }
.tiles dd { font-size: 1.3rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; margin-top: 0.5rem; }
th { text-align: left; font-weight: 400; color: var(--faint); }
td { font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 1rem 0.3rem 0; border-top: 1px solid var(--rule); }
.levels tr:first-child th, table tr:first-child > * { border-top: 0; }
.levels td { white-space: nowrap; }
section ul { margin: 0; padding-left: 1.1rem; overflow-wrap: anywhere; }
section li { margin: 0.3rem 0; }
details { margin: 1.25rem 0; }
summary { cursor: pointer; color: var(--faint); }
.tree, .tree ul { list-style: none; padding-left: 1rem; border-left: 1px solid var(--rule);
  font-size: 0.85rem; overflow-wrap: anywhere; }
.kind { color: var(--faint); font-size: 0.7rem; }
footer { color: var(--faint); font-size: 0.8rem; margin-top: 1.5rem; }
.uid { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
@media print { details { display: none; } body { background: #fff; } }
"""
