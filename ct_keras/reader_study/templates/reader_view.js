/* Window, zoom and pan: the same in all panels */
const setWindow = (width, level) => {
  view.width = Math.round(Math.max(1, Math.min(4096, width)));
  view.level = Math.round(Math.max(-1024, Math.min(3071, level)));
  const named = windows.findIndex((each) => each.center === view.level && each.width === view.width);
  all("[name=window]").forEach((input, place) => { input.checked = place === named; });
  find("#window-text").textContent = `W ${view.width} L ${String(view.level).replace("-", "\u2212")}`;
  later(paint);
};
const preset = (place) => setWindow(windows[place].width, windows[place].center);
const move = (row, column) => {
  const { rows, columns } = screens[current];
  view.row = Math.max(0, Math.min(rows, row));
  view.column = Math.max(0, Math.min(columns, column));
  later(draw);
};
const zoomBy = (factor, row = view.row, column = view.column) => {
  const zoom = Math.max(1, Math.min(16, view.zoom * factor));
  const share = view.zoom / zoom;
  view.zoom = zoom;
  move(row + (view.row - row) * share, column + (view.column - column) * share);
};
const resetView = () => {
  const { rows, columns } = screens[current];
  view.zoom = 1;
  move(rows / 2, columns / 2);
  preset(0);
};

windows.forEach((each, place) => {
  const label = element("label", { title: String(place + 7) }, find("#windows"));
  const input = element("input", { type: "radio", name: "window" }, label);
  element("span", {}, label, each.name);
  input.addEventListener("change", () => preset(place));
});
find("#reset").addEventListener("click", resetView);

const listen = (panel) => {
  const { canvas, letter } = panel;
  let start = null;
  canvas.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, y: event.clientY, ...view, pan: event.shiftKey || event.button === 1, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [row, column] = toImage(canvas, event);
    view.cross = { row, column, from: letter };
    if (marking) marking.keys = false;
    later(draw);
    if (!start) return;
    const [right, down] = [event.clientX - start.x, event.clientY - start.y];
    start.moved ||= Math.hypot(right, down) > 4;
    if (!start.moved) return;
    if (start.pan) {
      const [perRow, perColumn] = scaleOf(canvas).map((scale) => scale * canvas.clientWidth / canvas.width);
      move(start.row - down / perRow, start.column - right / perColumn);
    } else {
      const speed = Math.max(1, start.width / 300);
      setWindow(start.width + right * speed, start.level + down * speed);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (start && !start.moved && marking?.panel === letter) setMark(...toImage(canvas, event));
    start = null;
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
  canvas.addEventListener("pointerleave", () => { view.cross = null; later(draw); });
  canvas.addEventListener("dblclick", () => enlarge(letter));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, ...toImage(canvas, event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key === "Enter") {
      event.preventDefault();
      if (marking?.panel === letter && view.cross) setMark(view.cross.row, view.cross.column);
      else enlarge(letter);
    } else if (event.key in moves) {
      event.preventDefault();
      const [down, right] = moves[event.key].map((part) => part * (event.shiftKey ? 16 : 4) / view.zoom);
      if (marking?.panel === letter) {
        const from = view.cross ?? view;
        view.cross = { row: from.row + down, column: from.column + right, from: letter };
        marking.keys = true;
        later(draw);
      } else {
        move(view.row + down, view.column + right);
      }
    }
  });
};
panels.forEach(listen);

/* Marks: the position of a finding in a panel */
const setMark = (row, column) => {
  const { rows, columns } = screens[current];
  const place = [Math.floor(row), Math.floor(column)];
  if (place[0] < 0 || place[1] < 0 || place[0] >= rows || place[1] >= columns) return;
  const { finding, panel } = marking;
  stopMarking();
  change((given) => {
    const others = given.marks.filter((mark) => mark.finding !== finding || mark.panel !== panel);
    given.marks = [...others, { finding, panel, row: place[0], column: place[1] }];
  });
  find(`#mark-${finding}-${panel}`)?.focus();
};
const startMarking = (finding, panel) => {
  marking = { finding, panel, keys: true };
  view.cross = { row: view.row, column: view.column, from: panel };
  if (view.large !== null && view.large !== panel) enlarge(panel);
  find(`[data-letter=${panel}]`).classList.add("marking");
  find(`[data-letter=${panel}] canvas`).focus({ preventScroll: true });
  tell(`Click on the finding in panel ${panel}, or move the cross with the arrow keys and press Enter. Esc cancels.`);
  draw();
};
const stopMarking = () => {
  marking = null;
  view.cross = null;
  all(".marking").forEach((figure) => figure.classList.remove("marking"));
  tell("");
  later(draw);
};
