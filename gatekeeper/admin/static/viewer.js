// The slice viewer: <div data-viewer="FIGURE AS JSON">. Source and map are pictures of the
// server's; here they are stacked, and gone through by slider, keys, wheel and touch.
"use strict";

(() => {
  const KEPT = 160; // pictures in memory
  const NEAR = 4; // slices fetched ahead, to each side
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // The colours of the map between threshold and top, as the results have them: inferno, 80 to 245.
  const BAR = ["#66166e", "#88226a", "#a92e5e", "#c73e4c", "#e05536", "#f1731d", "#fa9407", "#fbb91f", "#f2df53"];

  const start = (root) => {
    if (root.dataset.started) return;
    root.dataset.started = "yes";
    const figure = JSON.parse(root.dataset.viewer);
    const part = (name) => root.querySelector(`[data-${name}]`);
    const [stage, canvas, slider, strip] = ["stage", "canvas", "slice", "strip"].map(part);
    const pictures = new Map();
    const count = figure.slices.length;
    const state = { index: 0, opacity: 0.6, centre: 0, width: 0, region: null };

    const fetched = (name) => {
      let picture = pictures.get(name);
      if (picture) {
        pictures.delete(name);
      } else {
        picture = new Image();
        picture.addEventListener("load", () => { if (shows(name)) draw(); });
        picture.addEventListener("error", () => { picture.failed = true; if (shows(name)) draw(); });
        picture.src = figure.path + name;
      }
      pictures.set(name, picture);
      if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
      return picture;
    };
    const shows = (name) => name === `${state.index}.png` || name === `${state.index}-map.png`;
    const load = (index) => {
      const slice = figure.slices[index];
      if (!slice || slice.problem) return;
      fetched(`${index}.png`);
      if (slice.map) fetched(`${index}-map.png`);
    };

    const windowed = (context, width, height) => {
      if (!state.centre && !state.width) return;
      const gain = 2 ** (state.width / 40);
      const table = new Uint8ClampedArray(256);
      for (let grey = 0; grey < 256; grey++) table[grey] = (grey - 128) * gain + 128 + state.centre * 1.28;
      const image = context.getImageData(0, 0, width, height);
      for (let at = 0; at < image.data.length; at += 4) {
        image.data[at] = image.data[at + 1] = image.data[at + 2] = table[image.data[at]];
      }
      context.putImageData(image, 0, 0);
    };

    const ring = (context, region, scaleX, scaleY) => {
      const radius = Math.max(region.radius * 1.25, 4);
      const path = new Path2D();
      path.ellipse((region.column + 0.5) * scaleX, (region.row + 0.5) * scaleY, radius * scaleX, radius * scaleY, 0, 0, 2 * Math.PI);
      const thin = Math.max(1.5, context.canvas.width / 260);
      for (const [width, colour] of [[3 * thin, "rgba(0,0,0,.65)"], [thin, "#fff"]]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke(path);
      }
    };

    const draw = () => {
      const slice = figure.slices[state.index];
      const problem = part("problem");
      const source = slice.problem ? null : fetched(`${state.index}.png`);
      const lost = source?.failed ? "The picture is not kept any more. Load the page again." : "";
      problem.hidden = !slice.problem && !lost;
      problem.textContent = slice.problem ? `This slice cannot be shown. ${slice.problem}` : lost;
      if (problem.hidden && !(source.complete && source.naturalWidth)) return;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      if (!problem.hidden) {
        context.clearRect(0, 0, canvas.width, canvas.height);
        return;
      }
      // Enough pixels for a ring and for pixels that are not square; the browser scales the rest.
      const factor = Math.max(1, Math.ceil(512 / source.naturalWidth));
      const width = source.naturalWidth * factor;
      const height = Math.round(source.naturalHeight * factor * figure.aspect);
      canvas.width = width;
      canvas.height = height;
      context.imageSmoothingEnabled = true;
      context.drawImage(source, 0, 0, width, height);
      windowed(context, width, height);
      const map = slice.map ? fetched(`${state.index}-map.png`) : null;
      if (map?.complete && map.naturalWidth && state.opacity) {
        context.globalAlpha = state.opacity;
        context.imageSmoothingEnabled = false;
        context.drawImage(map, 0, 0, width, height);
        context.globalAlpha = 1;
      }
      const region = figure.regions[state.region];
      if (region && region.slice === state.index) ring(context, region, factor, factor * figure.aspect);
      canvas.setAttribute("aria-label", `Slice ${state.index + 1} of ${count}`);
      canvas.dataset.shown = String(state.index);
    };

    const drawStrip = () => {
      const width = (strip.width = Math.max(1, Math.round(strip.clientWidth * (window.devicePixelRatio || 1))));
      const context = strip.getContext("2d");
      const step = width / count;
      context.clearRect(0, 0, width, strip.height);
      figure.slices.forEach((slice, index) => {
        const high = slice.problem ? strip.height : Math.round((strip.height - 2) * (slice.score ?? 0));
        context.fillStyle = slice.problem ? style("--gk-danger") : style("--gk-suspect");
        context.fillRect(index * step, strip.height - high, Math.max(step - (step > 3 ? 1 : 0), 1), high);
      });
      context.fillStyle = style("--bs-body-color");
      context.fillRect(Math.min(state.index * step, width - 2), 0, Math.max(2, Math.min(step, 4)), strip.height);
    };

    const go = (index, region = null) => {
      state.index = Math.min(count - 1, Math.max(0, index));
      state.region = region;
      slider.value = String(state.index + 1);
      slider.setAttribute("aria-valuetext", `slice ${state.index + 1} of ${count}`);
      for (const one of root.querySelectorAll("[data-number]")) one.textContent = `${state.index + 1} of ${count}`;
      for (const one of root.querySelectorAll("[data-region]")) one.setAttribute("aria-pressed", String(Number(one.dataset.region) === region));
      draw();
      drawStrip();
      for (let away = 1; away <= NEAR; away++) { load(state.index + away); load(state.index - away); }
    };

    const large = Math.max(5, Math.round(count / 10));
    const KEYS = {
      ArrowUp: () => state.index - 1, ArrowLeft: () => state.index - 1,
      ArrowDown: () => state.index + 1, ArrowRight: () => state.index + 1,
      PageUp: () => state.index - large, PageDown: () => state.index + large,
      Home: () => 0, End: () => count - 1,
    };
    stage.addEventListener("keydown", (event) => {
      const to = KEYS[event.key];
      if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      go(to());
      part("said").textContent = `Slice ${state.index + 1} of ${count}`;
    });
    let turned = 0;
    stage.addEventListener("wheel", (event) => {
      if (event.ctrlKey || document.activeElement !== stage) return; // the page scrolls until the images are chosen
      event.preventDefault();
      turned += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
      const steps = Math.trunc(turned);
      if (steps) { turned -= steps; go(state.index + steps); }
    }, { passive: false });
    let touched = null;
    stage.addEventListener("pointerdown", (event) => {
      stage.focus({ preventScroll: true });
      touched = { x: event.clientX, index: state.index };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!touched) return;
      // The whole width goes through all slices, but never faster than one in three pixels.
      const step = Math.max(3, stage.clientWidth / count);
      go(touched.index + Math.round((event.clientX - touched.x) / step));
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { touched = null; });

    slider.addEventListener("input", () => go(Number(slider.value) - 1));
    strip.addEventListener("click", (event) => go(Math.floor(event.offsetX / strip.clientWidth * count)));
    part("opacity")?.addEventListener("input", (event) => {
      state.opacity = Number(event.target.value) / 100;
      part("opacity-said").textContent = `${event.target.value} %`;
      draw();
    });
    for (const name of ["centre", "width"]) {
      part(name).addEventListener("input", (event) => { state[name] = Number(event.target.value); draw(); });
    }
    part("reset").addEventListener("click", () => {
      state.centre = state.width = 0;
      part("centre").value = part("width").value = "0";
      draw();
    });
    for (const one of root.querySelectorAll("[data-region]")) {
      one.addEventListener("click", () => {
        const region = Number(one.dataset.region);
        go(figure.regions[region].slice, region);
      });
    }
    const bar = part("bar");
    if (bar) {
      const context = bar.getContext("2d");
      const ramp = context.createLinearGradient(0, 0, bar.width, 0);
      BAR.forEach((colour, index) => ramp.addColorStop(index / (BAR.length - 1), colour));
      context.fillStyle = ramp;
      context.fillRect(0, 0, bar.width, bar.height);
    }
    document.addEventListener("theme", drawStrip);
    window.addEventListener("resize", drawStrip);
    const first = figure.regions.length ? 0 : null;
    const worst = figure.slices.reduce((best, one, index) => ((one.score ?? 0) > (figure.slices[best].score ?? 0) ? index : best), 0);
    const begin = first !== null ? figure.regions[0].slice : figure.slices[worst].score ? worst : Math.floor(count / 2);
    go(begin, first);
  };

  const all = () => document.querySelectorAll("[data-viewer]").forEach(start);
  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:afterSettle", all);
})();
