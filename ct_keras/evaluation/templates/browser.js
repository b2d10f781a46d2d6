"use strict";
/* Images: decoding, window and level, the box, differences */
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const REFERENCE = "reference";
  const fail = (error) => { document.body.dataset.error = String(error.message || error); };
  addEventListener("error", (event) => fail(event.error || event.message));
  addEventListener("unhandledrejection", (event) => fail(event.reason));

  const setup = JSON.parse(find("#browser").textContent);
  if (!setup.pictures.length) { document.body.dataset.ready = "true"; return; }
  const state = { picture: 0, level: 40, width: 400, range: 100, box: null, held: false };
  const decoded = new Map();
  let panels = [];
  let loading = 0;

  const decode = async (id) => {
    if (decoded.has(id)) return decoded.get(id);
    const text = atob(document.getElementById(`image-${id}`).textContent);
    const packed = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = planes.length / 2;
    const hu = new Int16Array(count);
    for (let i = 0, value = 0; i < count; i++) {
      value = (value + planes[i] + (planes[count + i] << 8)) & 0xffff;
      hu[i] = value;
    }
    decoded.set(id, hu);
    return hu;
  };

  const element = (tag, className, parent, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const signed = (value) => String(value).replace("-", "\u2212");

  const paint = (canvas, columns, rows, colour) => {
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
    }
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
    context.putImageData(image, 0, 0);
  };
  const greyOf = (hu) => {
    const low = state.level - state.width / 2;
    const grey = Math.max(0, Math.min(255, Math.round((hu - low) * 255 / state.width)));
    return 0xff000000 | grey << 16 | grey << 8 | grey;
  };
  const splitOf = (difference) => {
    const share = Math.max(-1, Math.min(1, difference / state.range));
    const [r, g, b] = share < 0 ? [-77, -163, -255] : [255, 153, 51];
    return 0xff000000 | (b * share) << 16 | (g * share) << 8 | (r * share);
  };

  const current = () => setup.pictures[state.picture];
  const draw = () => {
    if (!panels.length) return;
    const { rows, columns } = current();
    const { top, left, side } = state.box;
    const reference = panels[panels.length - 1].hu;
    for (const panel of panels) {
      const hu = state.held ? reference : panel.hu;
      paint(panel.whole, columns, rows, (i) => greyOf(hu[i]));
      paint(panel.zoom, side, side, (i) =>
        greyOf(hu[(top + Math.floor(i / side)) * columns + left + i % side]));
      if (panel.difference) {
        paint(panel.difference, columns, rows, (i) => splitOf(panel.hu[i] - reference[i]));
      }
      for (const box of panel.boxes) {
        box.style.left = `${100 * left / columns}%`;
        box.style.top = `${100 * top / rows}%`;
        box.style.width = `${100 * side / columns}%`;
        box.style.height = `${100 * side / rows}%`;
      }
      measure(panel, columns);
    }
    describe();
  };
  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };

  const measure = (panel, columns) => {
    const { top, left, side } = state.box;
    let sum = 0;
    let squares = 0;
    for (let row = top; row < top + side; row++) {
      for (let column = left; column < left + side; column++) {
        const hu = panel.hu[row * columns + column];
        sum += hu;
        squares += hu * hu;
      }
    }
    const mean = sum / side ** 2;
    const sd = Math.sqrt(Math.max(0, squares / side ** 2 - mean ** 2));
    panel.statistics.textContent = `box ${signed(mean.toFixed(1))} \u00b1 ${sd.toFixed(1)} HU`;
    panel.figure.dataset.mean = mean.toFixed(4);
    panel.figure.dataset.sd = sd.toFixed(4);
  };

  const describe = () => {
    const low = state.level - state.width / 2;
    const named = setup.windows.findIndex((w) => w.center === state.level && w.width === state.width);
    all("[name=window]").forEach((input, place) => { input.checked = place === named; });
    const name = named < 0 ? "own window" : setup.windows[named].name;
    find("#window-text").replaceChildren();
    const text = `W ${state.width} L ${signed(state.level)}, ${signed(low)} to ${signed(low + state.width)} HU`;
    element("strong", "", find("#window-text"), `All panels: ${name}, ${text}`);
    find("#window-text").append(` \u00b7 differences \u00b1${state.range} HU \u00b7 ${current().label}`);
    find("#width").value = state.width;
    find("#level").value = state.level;
    find("#range").value = state.range;
    all(".low-end").forEach((end) => { end.textContent = signed(low); });
    all(".high-end").forEach((end) => { end.textContent = signed(low + state.width); });
    all(".minus-range").forEach((end) => { end.textContent = `\u2212${state.range}`; });
    all(".plus-range").forEach((end) => { end.textContent = `+${state.range}`; });
  };

  const setWindow = (width, level) => {
    state.width = Math.round(Math.max(1, Math.min(8000, width)));
    state.level = Math.round(Math.max(-3000, Math.min(4000, level)));
    redraw();
  };
  const moveBox = (row, column) => {
    const { rows, columns } = current();
    const { side } = state.box;
    state.box.top = Math.round(Math.max(0, Math.min(rows - side, row - side / 2)));
    state.box.left = Math.round(Math.max(0, Math.min(columns - side, column - side / 2)));
    redraw();
  };
  const nudge = (down, right) => {
    const { top, left, side } = state.box;
    moveBox(top + side / 2 + down, left + side / 2 + right);
  };

  const pixelAt = (event, canvas) => {
    const frame = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - frame.top) / frame.height * canvas.height);
    const column = Math.floor((event.clientX - frame.left) / frame.width * canvas.width);
    return [Math.max(0, Math.min(canvas.height - 1, row)), Math.max(0, Math.min(canvas.width - 1, column))];
  };
  const point = (event, canvas, zoomed) => {
    const [row, column] = pixelAt(event, canvas);
    const place = zoomed ? [row + state.box.top, column + state.box.left] : [row, column];
    const index = place[0] * current().columns + place[1];
    for (const panel of panels) panel.pixel.textContent = `pointer ${signed(panel.hu[index])} HU`;
  };
  const listen = (canvas, { zoomed = false, windowed = true } = {}) => {
    let start = null;
    canvas.addEventListener("pointerdown", (event) => {
      start = { x: event.clientX, y: event.clientY, width: state.width, level: state.level, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      point(event, canvas, zoomed);
      if (!start) return;
      const [right, down] = [event.clientX - start.x, event.clientY - start.y];
      start.moved ||= Math.hypot(right, down) > 4;
      if (!start.moved || !windowed) return;
      const speed = Math.max(1, start.width / 300);
      setWindow(start.width + right * speed, start.level + down * speed);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start && !start.moved && !zoomed) moveBox(...pixelAt(event, canvas));
      start = null;
    });
    canvas.addEventListener("pointercancel", () => { start = null; });
    canvas.addEventListener("pointerleave", () => {
      panels.forEach((panel) => { panel.pixel.textContent = ""; });
    });
    canvas.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 16 : 4;
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      nudge(...moves[event.key].map((part) => part * step));
    });
  };

  const addCanvas = (figure, className, label, options) => {
    const stage = element("div", "stage", figure);
    const canvas = element("canvas", `drag ${className}`, stage);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    canvas.tabIndex = options.zoomed ? -1 : 0;
    listen(canvas, options);
    return [canvas, options.zoomed ? null : element("div", "box", stage)];
  };
  const addScales = (figure) => {
    const scales = element("div", "scale", figure);
    const add = (title, bar, ends) => {
      element("p", "", scales, title);
      element("div", `bar ${bar}`, scales);
      const row = element("div", "ends", scales);
      ends.forEach(([className, text]) => element("span", className, row, text));
    };
    add("Images, HU", "grey", [["low-end"], ["high-end"]]);
    add("Method \u2212 reference, HU", "split", [["minus-range"], ["", "0"], ["plus-range"]]);
  };
  const addPanel = (name, hu) => {
    const picture = current();
    const figure = element("figure", "", find("#panels"));
    figure.dataset.name = name;
    const caption = element("figcaption", "", figure);
    element("b", "", caption, name).title = name;
    const found = picture.metrics[name];
    element("span", "figures", caption, found ? `${found[0]} dB \u00b7 ${found[1]} \u00b7 ${found[2]} HU` : "full dose");
    const aspect = `${picture.columns * picture.spacing_mm[1]} / ${picture.rows * picture.spacing_mm[0]}`;
    const [whole, box] = addCanvas(figure, "whole", `${name}: CT image of ${picture.label}. Arrow keys move the box.`, {});
    whole.style.aspectRatio = aspect;
    const line = element("div", "measure", figure);
    const panel = { name, hu, figure, whole, boxes: [box] };
    panel.statistics = element("span", "", line);
    panel.pixel = element("span", "", line);
    [panel.zoom] = addCanvas(figure, "zoom", `${name}: the yellow box, enlarged`, { zoomed: true });
    panel.zoom.style.aspectRatio = `${picture.spacing_mm[1]} / ${picture.spacing_mm[0]}`;
    if (name === REFERENCE) {
      addScales(figure);
    } else {
      element("p", "label", figure, `${name} \u2212 reference`);
      const [difference, other] = addCanvas(figure, "difference", `${name} minus reference, in HU`, { windowed: false });
      difference.style.aspectRatio = aspect;
      panel.difference = difference;
      panel.boxes.push(other);
    }
    return panel;
  };

  const show = async (place) => {
    const turn = ++loading;
    const picture = setup.pictures[place];
    const images = await Promise.all(picture.names.map((name, number) => decode(`${place}/${number}`)));
    if (turn !== loading) return;
    const changed = state.picture !== place || !state.box;
    state.picture = place;
    state.range = picture.difference_range;
    if (changed) {
      const shortest = Math.min(picture.rows, picture.columns);
      const side = Math.min(shortest, Math.max(24, Math.round(shortest / 4)));
      state.box = { side, top: (picture.rows - side) >> 1, left: (picture.columns - side) >> 1 };
    }
    find("#panels").replaceChildren();
    panels = picture.names.map((name, number) => addPanel(name, images[number]));
    draw();
    document.body.dataset.ready = "true";
  };

  find("#picture").addEventListener("change", (event) => show(Number(event.target.value)));
  find("#range").addEventListener("change", (event) => { state.range = Number(event.target.value); redraw(); });
  const typed = () => setWindow(Number(find("#width").value) || 1, Number(find("#level").value) || 0);
  find("#width").addEventListener("change", typed);
  find("#level").addEventListener("change", typed);
  const preset = (place) => setWindow(setup.windows[place].width, setup.windows[place].center);
  all("[name=window]").forEach((input, place) => input.addEventListener("change", () => preset(place)));
  all("[name=size]").forEach((input) => input.addEventListener("change", () =>
    find("#panels").classList.toggle("large", input.value === "large")));
  const hold = (held) => { if (state.held !== held) { state.held = held; redraw(); } };
  const typing = (event) => event.ctrlKey || event.metaKey || event.altKey
    || event.target.matches("select, input[type=number]");
  addEventListener("keydown", (event) => {
    if (typing(event)) return;
    if (event.key.toLowerCase() === "r") hold(true);
    const place = Number(event.key) - 1;
    if (event.key.trim() && place in setup.windows) preset(place);
  });
  addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "r") hold(false); });
  addEventListener("blur", () => hold(false));
  show(0);
})();
