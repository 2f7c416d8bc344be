// What every page does: the theme's switch, live parts, questions before what cannot be undone.
"use strict";

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-theme-switch]")) window.switchTheme();
});

// A form that cannot be undone asks first: <form data-confirm="Remove node AI?">.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
  if (!question || form.dataset.confirmed) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  dialog.className = "confirm";
  dialog.setAttribute("aria-labelledby", "confirm-text");
  const text = document.createElement("p");
  text.id = "confirm-text";
  text.textContent = question;
  const answers = document.createElement("form");
  answers.method = "dialog";
  answers.className = "d-flex gap-2 justify-content-end";
  for (const [value, label, look] of [["", "Cancel", "btn-outline-secondary"], ["yes", "Yes", "btn-danger"]]) {
    const button = document.createElement("button");
    button.value = value;
    button.className = `btn ${look}`;
    button.textContent = label;
    answers.append(button);
  }
  dialog.append(text, answers);
  document.body.append(dialog);
  const submitter = event.submitter;
  dialog.addEventListener("close", () => {
    const agreed = dialog.returnValue === "yes";
    dialog.remove();
    if (!agreed) return submitter?.focus();
    form.dataset.confirmed = "yes";
    form.requestSubmit(submitter ?? undefined);
    delete form.dataset.confirmed;
  });
  dialog.showModal();
}, true);

// Live parts: what the browser has already is not sent again, and a hidden page asks for nothing.
const lost = () => document.getElementById("lost");
document.addEventListener("htmx:configRequest", (event) => {
  const part = event.target;
  if (part.dataset?.seen) event.detail.headers["X-Seen"] = part.dataset.seen;
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.hasAttribute?.("data-live") && document.hidden) event.preventDefault();
});
document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr } = event.detail;
  const failed = !xhr || xhr.status === 0 || xhr.status >= 500;
  if (lost()) lost().hidden = !failed;
  const seen = xhr?.getResponseHeader("X-Seen");
  if (seen && event.target.hasAttribute?.("data-live")) event.target.dataset.seen = seen;
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const part of document.querySelectorAll("[data-live]")) window.htmx.trigger(part, "refresh");
});

// A button that another request fills in says so: <button hx-post=... data-busy>.
document.addEventListener("htmx:beforeSend", (event) => event.target.setAttribute?.("aria-busy", "true"));
document.addEventListener("htmx:afterRequest", (event) => event.target.removeAttribute?.("aria-busy"));
