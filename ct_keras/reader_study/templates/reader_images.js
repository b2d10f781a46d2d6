/* Images: one block for each case, unpacked when it is shown */
const imagesOf = async (place) => {
  const { number: id, rows, columns } = screens[place];
  const whole = await decode(String(id));
  const kept = screens.slice(Math.max(0, place - 1), place + 2).map((screen) => String(screen.number));
  for (const old of decoded.keys()) if (!kept.includes(old)) decoded.delete(old);
  return letters.map((_, panel) => whole.subarray(panel * rows * columns, (panel + 1) * rows * columns));
};

const view = { level: 0, width: 1, zoom: 1, row: 0, column: 0, large: null, cross: null };
let marking = null;
const panels = letters.map((letter) => {
  const figure = element("figure", {}, find("#panels"));
  figure.dataset.letter = letter;
  element("figcaption", {}, figure, letter);
  const canvas = element("canvas", { tabIndex: 0 }, figure);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Panel ${letter}`);
  return { letter, figure, canvas, grey: document.createElement("canvas") };
});

const paint = async () => {
  const place = current;
  const images = await imagesOf(place);
  if (place !== current) return false;
  const { rows, columns } = screens[place];
  const low = view.level - view.width / 2;
  panels.forEach((panel, index) => {
    Object.assign(panel.grey, { width: columns, height: rows });
    const context = panel.grey.getContext("2d");
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const hu = images[index];
    for (let i = 0; i < pixels.length; i++) {
      const grey = Math.max(0, Math.min(255, Math.round((hu[i] - low) * 255 / view.width)));
      pixels[i] = 0xff000000 | grey << 16 | grey << 8 | grey;
    }
    context.putImageData(image, 0, 0);
  });
  draw();
  return true;
};

const scaleOf = (canvas) => {
  const { rows, columns, spacing_mm: [down, across] } = screens[current];
  const fit = Math.min(canvas.width / (columns * across), canvas.height / (rows * down)) * view.zoom;
  return [fit * down, fit * across];
};
const toCanvas = (canvas, row, column) => {
  const [down, across] = scaleOf(canvas);
  return [canvas.width / 2 + (column - view.column) * across, canvas.height / 2 + (row - view.row) * down];
};
const toImage = (canvas, event) => {
  const frame = canvas.getBoundingClientRect();
  const [down, across] = scaleOf(canvas);
  const x = (event.clientX - frame.left) / frame.width * canvas.width;
  const y = (event.clientY - frame.top) / frame.height * canvas.height;
  return [view.row + (y - canvas.height / 2) / down, view.column + (x - canvas.width / 2) / across];
};
const draw = () => {
  const ratio = devicePixelRatio || 1;
  for (const panel of panels) {
    if (panel.figure.hidden) continue;
    const { canvas, grey } = panel;
    const [width, height] = [panel.figure.clientWidth, panel.figure.clientHeight].map((side) => Math.round(side * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    const [left, top] = toCanvas(canvas, 0, 0);
    const [down, across] = scaleOf(canvas);
    context.drawImage(grey, left, top, grey.width * across, grey.height * down);
    decorate(panel, context, ratio);
  }
};
const decorate = (panel, context, ratio) => {
  context.strokeStyle = "#ffd23f";
  context.lineWidth = 1.5 * ratio;
  for (const mark of answer().marks) {
    if (mark.panel !== panel.letter) continue;
    const [x, y] = toCanvas(panel.canvas, mark.row + .5, mark.column + .5);
    context.setLineDash(mark.finding === "lost" ? [4 * ratio, 3 * ratio] : []);
    context.beginPath();
    context.arc(x, y, 11 * ratio, 0, 2 * Math.PI);
    context.stroke();
  }
  context.setLineDash([]);
  if (!view.cross || (view.cross.from === panel.letter && !marking?.keys)) return;
  const [x, y] = toCanvas(panel.canvas, view.cross.row, view.cross.column);
  context.strokeStyle = "rgb(121 188 205 / .8)";
  context.lineWidth = ratio;
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(x + dx * 4 * ratio, y + dy * 4 * ratio);
    context.lineTo(x + dx * 12 * ratio, y + dy * 12 * ratio);
  }
  context.stroke();
};
let waiting = null;
const later = (work) => {
  if (waiting) { if (work === paint) waiting = paint; return; }
  waiting = work;
  requestAnimationFrame(() => { const todo = waiting; waiting = null; todo(); });
};

const layOut = () => {
  const area = find("#panels").getBoundingClientRect();
  const shown = view.large === null ? panels.length : 1;
  const { rows, columns, spacing_mm: [down, across] } = screens[current];
  const aspect = (columns * across) / (rows * down);
  let best = [0, 1];
  for (let count = 1; count <= shown; count++) {
    const size = Math.min(area.width / count, area.height / Math.ceil(shown / count) * aspect);
    if (size > best[0]) best = [size, count];
  }
  find("#panels").style.gridTemplate = `repeat(${Math.ceil(shown / best[1])}, minmax(0, 1fr)) / repeat(${best[1]}, minmax(0, 1fr))`;
  for (const panel of panels) panel.figure.hidden = view.large !== null && view.large !== panel.letter;
  draw();
};
const enlarge = (letter) => { view.large = view.large === letter ? null : letter; layOut(); };
