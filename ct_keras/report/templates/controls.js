/* The toolbar, the keys, and the change from slice to slice */
let speaking = null;
const describe = () => {
  const low = state.level - state.width / 2;
  const named = setup.windows.findIndex((w) => w.center === state.level && w.width === state.width);
  all("[name=window]").forEach((input, place) => { input.checked = place === named; });
  const name = named < 0 ? "own window" : setup.windows[named].name;
  const text = `W ${state.width} L ${signed(state.level)}, ${signed(low)} to ${signed(low + state.width)} HU`;
  find("#window-text").replaceChildren();
  element("strong", "", find("#window-text"), `All images: ${name}, ${text}`);
  find("#window-text").append(` \u00b7 differences \u00b1${state.range} HU \u00b7 ${current().label}`);
  find("#zoom").textContent = `${Math.round(100 * state.zoom)} %`;
  find("#width").value = state.width;
  find("#level").value = state.level;
  find("#range").value = state.range;
  all(".low-end").forEach((end) => { end.textContent = signed(low); });
  all(".high-end").forEach((end) => { end.textContent = signed(low + state.width); });
  all(".minus-range").forEach((end) => { end.textContent = `\u2212${state.range}`; });
  all(".plus-range").forEach((end) => { end.textContent = `+${state.range}`; });
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const spoken = `${find("#window-text").textContent}, zoom ${find("#zoom").textContent}`;
    if (find("#spoken").textContent !== spoken) find("#spoken").textContent = spoken;
  }, 700);
};

let loading = 0;
const show = async (place) => {
  const turn = ++loading;
  const picture = setup.pictures[place];
  find("#picture").value = place;
  find("#picture").setAttribute("aria-valuetext", picture.label);
  find("#picture-label").textContent = picture.label;
  const found = await Promise.all(picture.names.map((name, number) => decode(`${place}/${number}`)));
  if (turn !== loading) return;
  const before = state.box && current();
  state.picture = place;
  state.range = picture.difference_range;
  if (!before || before.rows !== picture.rows || before.columns !== picture.columns) {
    const shortest = Math.min(picture.rows, picture.columns);
    const side = Math.min(shortest, Math.max(24, Math.round(shortest / 4)));
    state.box = { side, top: (picture.rows - side) >> 1, left: (picture.columns - side) >> 1 };
  }
  picture.names.forEach((name, number) => images.set(name, found[number]));
  labelPanels();
  labelPair();
  stale.clear();
  for (const each of ["images", "differences", "box"]) stale.add(each);
  draw();
  document.body.dataset.ready = "true";
};

const typed = () => setWindow(Number(find("#width").value) || 1, Number(find("#level").value) || 0);
const preset = (place) => setWindow(setup.windows[place].width, setup.windows[place].center);
const hold = (held) => {
  if (state.held === held) return;
  state.held = held;
  refresh("images");
};
const listenTo = (name, use) => all(`[name=${name}]`).forEach((input, place) =>
  input.addEventListener("change", () => use(input, place)));

const viewerKeys = (event) => {
  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  const turns = { PageUp: -1, PageDown: 1 };
  if (event.key in moves) {
    const [right, down] = moves[event.key];
    if (event.shiftKey) nudgeBox(4 * right, 4 * down);
    else setView(state.zoom, state.x + 0.1 * right / state.zoom, state.y + 0.1 * down / state.zoom);
  } else if (event.key in turns) {
    show(clamp(state.picture + turns[event.key], 0, setup.pictures.length - 1));
  } else return;
  event.preventDefault();
};
const imageKeys = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("select, input[type=number]")) return;
  if (event.target === find("#viewer")) viewerKeys(event);
  const key = event.key.toLowerCase();
  if (key === "r") hold(true);
  else if (key === "b" && state.view === "blink") find("#other").click();
  else if (key === "+" || key === "=") zoomBy(1.25);
  else if (key === "-") zoomBy(0.8);
  else if (key === "0") setView(1, 0.5, 0.5);
  else if (key.trim() && Number(key) - 1 in setup.windows) preset(Number(key) - 1);
};

find("#picture").addEventListener("input", (event) => show(Number(event.target.value)));
find("#range").addEventListener("change", (event) => {
  state.range = Number(event.target.value);
  refresh("differences");
});
find("#width").addEventListener("change", typed);
find("#level").addEventListener("change", typed);
find("#zoom-in").addEventListener("click", () => zoomBy(1.25));
find("#zoom-out").addEventListener("click", () => zoomBy(0.8));
find("#fit").addEventListener("click", () => setView(1, 0.5, 0.5));
listenTo("window", (input, place) => preset(place));
listenTo("view", (input) => setMode(input.value));
listenTo("drag", (input) => { state.drag = document.body.dataset.drag = input.value; });
listenTo("size", (input) => find("#panels").classList.toggle("large", input.value === "large"));
listenTo("part", (input) => find("#panels").classList.toggle(`without-${input.value}`, !input.checked));
find("#images").addEventListener("keydown", imageKeys);
addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "r") hold(false); });
addEventListener("blur", () => hold(false));
show(0);
