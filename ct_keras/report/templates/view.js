/* What all images share: window and level, zoom and pan, the box, the pointer */
const LARGEST_ZOOM = 16;
const images = new Map();
const painters = [];
const stale = new Set();

const refresh = (...what) => {
  if (!stale.size) requestAnimationFrame(draw);
  for (const each of ["frame", ...what]) stale.add(each);
};
const draw = () => {
  const what = new Set(stale);
  stale.clear();
  if (!images.size) return;
  if (what.has("images")) fillGreys();
  if (what.has("differences")) fillTints();
  const { style } = find("#viewer");
  style.setProperty("--zoom", state.zoom);
  style.setProperty("--x", `${100 * (0.5 - state.zoom * state.x)}%`);
  style.setProperty("--y", `${100 * (0.5 - state.zoom * state.y)}%`);
  painters.forEach((painter) => painter(what));
  placeBoxes();
  describe();
};
const placeBoxes = () => {
  const { rows, columns } = current();
  const { top, left, side } = state.box;
  for (const { style } of all("#viewer .box")) {
    style.left = `${100 * left / columns}%`;
    style.top = `${100 * top / rows}%`;
    style.width = `${100 * side / columns}%`;
    style.height = `${100 * side / rows}%`;
  }
};

const setWindow = (width, level) => {
  state.width = Math.round(clamp(width, 1, 8000));
  state.level = Math.round(clamp(level, -3000, 4000));
  refresh("images");
};
const setView = (zoom, x, y) => {
  state.zoom = clamp(zoom, 1, LARGEST_ZOOM);
  if (state.zoom < 1.01) state.zoom = 1;
  const margin = 0.5 / state.zoom;
  state.x = clamp(x, margin, 1 - margin);
  state.y = clamp(y, margin, 1 - margin);
  refresh();
};
const zoomBy = (factor, across = 0.5, down = 0.5) => {
  const zoom = clamp(state.zoom * factor, 1, LARGEST_ZOOM);
  const change = 1 / state.zoom - 1 / zoom;
  setView(zoom, state.x + (across - 0.5) * change, state.y + (down - 0.5) * change);
};
const moveBox = (row, column) => {
  const { rows, columns } = current();
  const { side } = state.box;
  state.box.top = Math.round(clamp(row - side / 2, 0, rows - side));
  state.box.left = Math.round(clamp(column - side / 2, 0, columns - side));
  refresh("box");
};
const nudgeBox = (right, down) => {
  const { top, left, side } = state.box;
  moveBox(top + side / 2 + down, left + side / 2 + right);
};

const pixelAt = (event, canvas, zoomed) => {
  const frame = canvas.getBoundingClientRect();
  const row = Math.floor((event.clientY - frame.top) / frame.height * canvas.height);
  const column = Math.floor((event.clientX - frame.left) / frame.width * canvas.width);
  const place = [clamp(row, 0, canvas.height - 1), clamp(column, 0, canvas.width - 1)];
  return zoomed ? [place[0] + state.box.top, place[1] + state.box.left] : place;
};
const showPointer = (index) => {
  for (const output of all("#viewer .pointer")) {
    const hu = images.get(output.dataset.of);
    output.textContent = index === null || !hu ? "" : `pointer ${signed(hu[index])} HU`;
  }
};

/* Drags change the window or pan, a click moves the box, Ctrl and the wheel zoom. */
const listen = (canvas, stage, { detail = false, windowed = true } = {}) => {
  let start = null;
  const drag = (right, down) => {
    if (start.pan) {
      const frame = stage.getBoundingClientRect();
      const [across, along] = [right / frame.width / start.zoom, down / frame.height / start.zoom];
      setView(start.zoom, start.x - across, start.y - along);
    } else if (windowed) {
      const speed = Math.max(1, start.width / 300);
      setWindow(start.width + right * speed, start.level + down * speed);
    }
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const pan = !detail && (state.drag === "pan" || event.shiftKey);
    start = { ...state, fromX: event.clientX, fromY: event.clientY, pan, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [row, column] = pixelAt(event, canvas, detail);
    showPointer(row * current().columns + column);
    if (!start) return;
    const [right, down] = [event.clientX - start.fromX, event.clientY - start.fromY];
    start.moved ||= Math.hypot(right, down) > 4;
    if (start.moved) drag(right, down);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (start && !start.moved && !detail) moveBox(...pixelAt(event, canvas));
    start = null;
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
  canvas.addEventListener("pointerleave", () => showPointer(null));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const frame = stage.getBoundingClientRect();
    const [across, down] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
    zoomBy(Math.exp(-clamp(event.deltaY, -100, 100) / 400), across, down);
  }, { passive: false });
};

/* A canvas that zooms and pans with all others, and the box above it */
const addLayer = (parent, className, { stage = parent, ...options } = {}) => {
  const layer = element("div", "layer", parent);
  const canvas = element("canvas", `drag ${className}`, layer);
  canvas.setAttribute("role", "img");
  element("div", "box", layer);
  listen(canvas, stage, options);
  return canvas;
};
const aspectOf = ({ rows, columns, spacing_mm: [down, across] }) =>
  `${columns * across} / ${rows * down}`;
