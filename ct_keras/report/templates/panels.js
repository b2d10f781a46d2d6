/* All methods side by side: image, the box enlarged, difference to the reference */
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

const addPanel = (name) => {
  const figure = element("figure", "", find("#panels"));
  figure.dataset.name = name;
  const caption = element("figcaption", "", figure);
  element("b", "", caption, name).title = name;
  const panel = { name, figure, figures: element("span", "figures", caption) };
  panel.stages = [element("div", "stage of-image", figure)];
  panel.whole = addLayer(panel.stages[0], "whole");
  const line = element("div", "measure", figure);
  panel.statistics = element("span", "", line);
  element("span", "pointer", line).dataset.of = name;
  const enlarged = element("div", "stage of-detail", figure);
  panel.detail = element("canvas", "drag zoom", enlarged);
  panel.detail.setAttribute("role", "img");
  panel.detail.setAttribute("aria-label", `${name}: the yellow box, enlarged`);
  listen(panel.detail, enlarged, { detail: true });
  if (name === REFERENCE) {
    addScales(figure);
  } else {
    element("p", "label of-difference", figure, `${name} \u2212 reference`);
    panel.stages.push(element("div", "stage of-difference", figure));
    panel.difference = addLayer(panel.stages[1], "difference", { windowed: false });
  }
  return panel;
};

const panels = setup.pictures[0].names.map(addPanel);
const labelPanels = () => {
  const picture = current();
  for (const panel of panels) {
    const found = picture.metrics[panel.name];
    panel.figures.textContent = found ? `${found[0]} dB \u00b7 ${found[1]} \u00b7 ${found[2]} HU` : "full dose";
    for (const stage of panel.stages) stage.style.aspectRatio = aspectOf(picture);
    panel.detail.style.aspectRatio = `${picture.spacing_mm[1]} / ${picture.spacing_mm[0]}`;
    panel.whole.setAttribute("aria-label", `${panel.name}: CT image of ${picture.label}`);
    if (panel.difference) {
      panel.difference.setAttribute("aria-label", `${panel.name} minus reference, in HU, ${picture.label}`);
    }
  }
};
const drawDetail = ({ detail, whole }) => {
  const { top, left, side } = state.box;
  detail.width = side;
  detail.height = side;
  detail.getContext("2d").drawImage(whole, left, top, side, side, 0, 0, side, side);
};
painters.push((what) => {
  if (state.view !== "panels") return;
  const reference = images.get(REFERENCE);
  for (const panel of panels) {
    const hu = images.get(panel.name);
    if (what.has("images")) paintImage(panel.whole, state.held ? reference : hu);
    if (what.has("differences") && panel.difference) paintDifference(panel.difference, hu, reference);
    if (what.has("images") || what.has("box")) drawDetail(panel);
    if (!what.has("box")) continue;
    const found = boxStatistics((i) => hu[i]);
    panel.statistics.textContent = boxText(found);
    panel.figure.dataset.mean = found.mean.toFixed(4);
    panel.figure.dataset.sd = found.sd.toFixed(4);
  }
});
