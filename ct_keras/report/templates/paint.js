/* HU to grey values and differences to colours, by tables */
const REFERENCE = "reference";
const setup = JSON.parse(find("#browser").textContent);
const state = {
  picture: 0, level: 40, width: 400, range: 100, box: null, held: false, view: "panels",
  drag: "window", zoom: 1, x: 0.5, y: 0.5, split: 0.5, front: "first", playing: false,
};
const current = () => setup.pictures[state.picture];

const greys = new Uint32Array(65536);
let tints = new Uint32Array(1);
const fillGreys = () => {
  const low = state.level - state.width / 2;
  for (let i = 0; i < greys.length; i++) {
    const grey = clamp(Math.round((i - 32768 - low) * 255 / state.width), 0, 255);
    greys[i] = 0xff000000 | grey << 16 | grey << 8 | grey;
  }
};
const fillTints = () => {
  tints = new Uint32Array(2 * state.range + 1);
  for (let i = 0; i < tints.length; i++) {
    const share = i / state.range - 1;
    const [r, g, b] = share < 0 ? [-77, -163, -255] : [255, 153, 51];
    const [red, green, blue] = [r, g, b].map((part) => Math.round(part * share));
    tints[i] = 0xff000000 | blue << 16 | green << 8 | red;
  }
};

let sheet = null;
const paint = (canvas, fill) => {
  const { rows, columns } = current();
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
  }
  if (!sheet || sheet.width !== columns || sheet.height !== rows) sheet = new ImageData(columns, rows);
  fill(new Uint32Array(sheet.data.buffer));
  canvas.getContext("2d").putImageData(sheet, 0, 0);
};
const paintImage = (canvas, hu) => paint(canvas, (pixels) => {
  for (let i = 0; i < pixels.length; i++) pixels[i] = greys[hu[i] + 32768];
});
const paintDifference = (canvas, hu, other) => paint(canvas, (pixels) => {
  const { range } = state;
  for (let i = 0; i < pixels.length; i++) {
    const step = hu[i] - other[i];
    pixels[i] = tints[step < -range ? 0 : step > range ? 2 * range : step + range];
  }
});

const boxStatistics = (hu) => {
  const { top, left, side } = state.box;
  const { columns } = current();
  let sum = 0;
  let squares = 0;
  for (let row = top; row < top + side; row++) {
    for (let i = row * columns + left; i < row * columns + left + side; i++) {
      sum += hu(i);
      squares += hu(i) ** 2;
    }
  }
  const mean = sum / side ** 2;
  return { mean, sd: Math.sqrt(Math.max(0, squares / side ** 2 - mean ** 2)) };
};
const boxText = ({ mean, sd }) => `box ${signed(mean.toFixed(1))} \u00b1 ${sd.toFixed(1)} HU`;
