// Rules: files that are dropped, rows that grow, order by the keyboard.
"use strict";

// Headers stand at the beginning: no more of a file leaves this machine.
const heads = (files, bytes) => {
  const kept = new DataTransfer();
  for (const file of [...files].slice(0, 50)) kept.items.add(new File([file.slice(0, bytes)], file.name));
  return kept.files;
};
for (const zone of document.querySelectorAll("[data-drop]")) {
  const input = zone.querySelector("input[type=file]");
  const bytes = Number(zone.dataset.headerBytes);
  const take = (files) => {
    if (!files.length) return;
    input.files = heads(files, bytes);
    input.form.requestSubmit();
  };
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files); });
  input.addEventListener("change", () => take(input.files));
}

// The last row that is filled in makes room for another; only what an action takes is shown.
const TAKES = { hold: ["hours"], priors: ["count", "modality"] };
const shape = (row) => {
  const kind = row.querySelector("[name=kind]")?.value;
  if (kind === undefined) return;
  row.querySelector("[name=target]").hidden = kind === "" || kind === "skip";
  for (const name of ["hours", "count", "modality"]) row.querySelector(`[name=${name}]`).hidden = !(TAKES[kind] ?? []).includes(name);
};
for (const rows of document.querySelectorAll("[data-rows]")) {
  rows.querySelectorAll("[data-action]").forEach(shape);
  const number = () => rows.querySelectorAll("[data-row]").forEach((row, index) => {
    const every = row.querySelector("[name=every]");
    if (every) every.value = String(index);
  });
  rows.addEventListener("input", (event) => {
    const row = event.target.closest("[data-row]");
    if (row.hasAttribute("data-action")) shape(row);
    if (row !== rows.lastElementChild || !event.target.value) return;
    const next = row.cloneNode(true);
    next.classList.remove("wrong");
    for (const one of next.querySelectorAll("input, select")) { if (one.type === "checkbox") one.checked = false; else one.value = one.name === "op" ? "is" : ""; }
    rows.append(next);
    if (next.hasAttribute("data-action")) shape(next);
    number();
  });
  rows.addEventListener("click", (event) => {
    if (!event.target.closest("[data-clear]")) return;
    const row = event.target.closest("[data-row]");
    for (const one of row.querySelectorAll("input, select")) { if (one.type === "checkbox") one.checked = false; else one.value = one.name === "op" ? "is" : ""; }
    if (row.hasAttribute("data-action")) shape(row);
    row.querySelector("input, select").focus();
  });
}

document.addEventListener("keydown", (event) => {
  if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
  const row = event.target.closest?.("[data-rule]");
  const button = row?.querySelector(`button[value=${event.key === "ArrowUp" ? "up" : "down"}]`);
  if (!button || button.disabled) return;
  event.preventDefault();
  button.focus();
  button.click();
});
