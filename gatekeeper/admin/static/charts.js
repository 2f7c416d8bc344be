// Charts: <canvas data-chart> with its figure as JSON beside it, and the same numbers as a table.
// A figure: {type: "line" | "bar" | "scatter", x: {title, min, max, log}, y: {...}, labels: [...],
// series: [{name, values: [...] or [{x, y}], color: "primary" | "suspect" | "clear" | "muted",
// dashed, fill, step, points}], lines: [{name, y}]}
"use strict";

(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (name) => style(`--gk-${name ?? "primary"}`) || style("--bs-body-color");

  const axis = (given = {}) => ({
    type: given.log ? "logarithmic" : given.kind,
    title: { display: Boolean(given.title), text: given.title, color: style("--bs-secondary-color") },
    min: given.min, max: given.max, stacked: given.stacked,
    grid: { color: style("--bs-border-color-translucent") },
    ticks: { color: style("--bs-secondary-color"), maxRotation: 0, autoSkipPadding: 16 },
  });

  const dataset = (series, type) => ({
    label: series.name, data: series.values, type: series.type ?? type,
    borderColor: color(series.color), backgroundColor: color(series.color) + (type === "bar" ? "cc" : "33"),
    borderDash: series.dashed ? [6, 4] : [], borderWidth: 2, fill: series.fill ?? false,
    stepped: series.step ?? false, pointRadius: series.points ?? (type === "scatter" ? 3 : 0),
    pointHitRadius: 8, showLine: series.line ?? type !== "scatter", spanGaps: true,
  });

  const draw = (canvas) => {
    const figure = JSON.parse(canvas.closest("figure").querySelector("script").textContent);
    Chart.getChart(canvas)?.destroy();
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches || navigator.webdriver;
    const lines = (figure.lines ?? []).map((line) => ({
      name: line.name, color: line.color ?? "muted", dashed: true, line: true, points: 0, type: "line",
      values: figure.labels ? figure.labels.map(() => line.y)
        : [{ x: figure.x?.min ?? 0, y: line.y }, { x: figure.x?.max ?? 1, y: line.y }],
    }));
    new Chart(canvas, {
      type: figure.type,
      data: { labels: figure.labels, datasets: [...figure.series, ...lines].map((one) => dataset(one, figure.type)) },
      options: {
        animation: still ? false : { duration: 250 }, responsive: true, maintainAspectRatio: false,
        indexAxis: figure.horizontal ? "y" : "x",
        interaction: { mode: "nearest", intersect: false },
        plugins: { legend: { display: figure.series.length + lines.length > 1, labels: { color: style("--bs-body-color"), boxWidth: 14 } } },
        scales: { x: axis({ kind: figure.labels ? "category" : "linear", ...figure.x }), y: axis({ kind: "linear", ...figure.y }) },
      },
    });
  };

  const tabulate = (canvas) => {
    const figure = canvas.closest("figure");
    const holder = figure.querySelector("details > div");
    if (!holder || holder.childElementCount) return;
    const { labels, series, x } = JSON.parse(figure.querySelector("script").textContent);
    const table = document.createElement("table");
    table.className = "table table-sm";
    const row = (cells, tag) => {
      const line = document.createElement("tr");
      for (const cell of cells) {
        const element = document.createElement(tag);
        element.textContent = typeof cell === "number" ? String(Number(cell.toPrecision(4))) : cell ?? "–";
        line.append(element);
      }
      return line;
    };
    const head = document.createElement("thead");
    const body = document.createElement("tbody");
    if (labels) {
      head.append(row([x?.title ?? "", ...series.map((one) => one.name)], "th"));
      labels.forEach((label, index) => body.append(row([label, ...series.map((one) => one.values[index])], "td")));
    } else {
      head.append(row(["series", "x", "y"], "th"));
      for (const one of series) for (const point of one.values.slice(0, 500)) body.append(row([one.name, point.x, point.y], "td"));
    }
    table.append(head, body);
    holder.append(table);
  };

  const all = () => document.querySelectorAll("canvas[data-chart]");
  const start = () => all().forEach((canvas) => { draw(canvas); tabulate(canvas); });
  document.addEventListener("DOMContentLoaded", start);
  document.addEventListener("theme", () => all().forEach(draw));
  document.addEventListener("htmx:afterSettle", start);
})();
