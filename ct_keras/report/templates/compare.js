/* Two images in one place: swipe with a divider, or blink; and their difference */
const stage = find("#compare .stage.pair");
const divider = find("#divider");
const halves = ["first", "second"].map((side) => {
  const half = element("div", `half ${side}`, stage);
  return { side, half, select: find(`#${side}`), canvas: addLayer(half, side, { stage }) };
});
const differenceStage = find("#compare .stage.of-pair");
const pairDifference = addLayer(differenceStage, "pair-difference", { windowed: false });
stage.append(...all(".tag", stage), divider);

const pairNames = () => halves.map(({ select }) => select.value);
const setSplit = (share) => {
  state.split = clamp(share, 0, 1);
  refresh();
};
const setFront = (side) => {
  state.front = side;
  refresh();
};
const swapFront = () => setFront(state.front === "first" ? "second" : "first");

let timer = null;
const setPlaying = (playing) => {
  clearInterval(timer);
  state.playing = playing;
  if (playing) timer = setInterval(swapFront, Number(find("#interval").value));
  refresh();
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const setMode = (view) => {
  state.view = view;
  document.body.dataset.view = view;
  setPlaying(view === "blink" && !calm.matches);
  refresh("images", "differences", "box");
};

const labelPair = () => {
  const [first, second] = pairNames();
  const picture = current();
  for (const { canvas, select } of halves) {
    canvas.setAttribute("aria-label", `${select.value}: CT image of ${picture.label}`);
  }
  pairDifference.setAttribute("aria-label", `${first} minus ${second}, in HU, ${picture.label}`);
  for (const each of [stage, differenceStage]) each.style.aspectRatio = aspectOf(picture);
  find("#pair-title").textContent = `${first} \u2212 ${second}, HU`;
  all("#compare .pointer").forEach((output, place) => { output.dataset.of = [first, second][place]; });
  all("#compare .name").forEach((output, place) => { output.textContent = [first, second][place]; });
};
const measurePair = ([first, second]) => {
  const [one, other] = [images.get(first), images.get(second)];
  const found = [(i) => one[i], (i) => other[i], (i) => one[i] - other[i]].map(boxStatistics);
  all("#compare .statistics").forEach((output, place) => { output.textContent = boxText(found[place]); });
};
const showPair = () => {
  const swiping = state.view === "swipe";
  const [first, second] = halves;
  second.half.style.clipPath = swiping ? `inset(0 0 0 ${100 * state.split}%)` : "none";
  second.half.style.visibility = swiping || state.front === "second" ? "visible" : "hidden";
  divider.style.left = `${100 * state.split}%`;
  divider.setAttribute("aria-valuenow", Math.round(100 * state.split));
  divider.setAttribute("aria-valuetext", `${first.select.value} left of ${Math.round(100 * state.split)} %, ${second.select.value} right`);
  const [left, right] = all(".tag", stage);
  left.textContent = swiping || state.front === "first" ? first.select.value : second.select.value;
  right.textContent = second.select.value;
  right.hidden = !swiping;
  find("#play").textContent = state.playing ? "Pause" : "Play";
};
painters.push((what) => {
  if (state.view === "panels") return;
  const names = pairNames();
  if (what.has("images")) {
    for (const { canvas, select } of halves) {
      paintImage(canvas, images.get(state.held ? REFERENCE : select.value));
    }
  }
  if (what.has("differences")) paintDifference(pairDifference, ...names.map((name) => images.get(name)));
  if (what.has("box")) measurePair(names);
  showPair();
});

const splitAt = (event) => {
  const frame = stage.getBoundingClientRect();
  setSplit((event.clientX - frame.left) / frame.width);
};
divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) splitAt(event);
});
divider.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.02;
  const places = {
    ArrowLeft: state.split - step, ArrowRight: state.split + step,
    ArrowDown: state.split - step, ArrowUp: state.split + step, Home: 0, End: 1,
  };
  if (!(event.key in places)) return;
  event.preventDefault();
  event.stopPropagation();
  setSplit(places[event.key]);
});
const choosePair = () => {
  labelPair();
  refresh("images", "differences", "box");
};
halves.forEach(({ select }) => select.addEventListener("change", choosePair));
find("#swap").addEventListener("click", () => {
  const [first, second] = halves;
  [first.select.value, second.select.value] = [second.select.value, first.select.value];
  choosePair();
});
find("#play").addEventListener("click", () => setPlaying(!state.playing));
find("#other").addEventListener("click", () => { setPlaying(false); swapFront(); });
find("#interval").addEventListener("change", () => setPlaying(state.playing));
