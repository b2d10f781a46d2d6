/* Plots: methods on and off by their legend, the value under the pointer */
const legendOf = (index) => all(`.legend button[data-series="${index}"]`);
const seriesOf = (index) => all(`.plot [data-series="${index}"]`);

for (const button of all(".legend button")) {
  const { series } = button.dataset;
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    legendOf(series).forEach((each) => each.setAttribute("aria-pressed", shown));
    seriesOf(series).forEach((each) => each.classList.toggle("off", !shown));
  });
  const lift = (lifted) => seriesOf(series).forEach((each) => each.classList.toggle("lifted", lifted));
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => lift(true));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => lift(false));
}

const vertices = (plot) => all("[data-series]:not(.off) polyline", plot).flatMap((line) => {
  const [xs, ys] = [line.dataset.x.split(" "), line.dataset.y.split(" ")];
  return line.getAttribute("points").trim().split(/\s+/).map((pair, place) => {
    const [left, top] = pair.split(",").map(Number);
    return { left, top, name: line.dataset.name, where: line.dataset.where, x: xs[place], y: ys[place] };
  });
});
for (const plot of all(".plot")) {
  const readout = find(".readout", plot.closest(".plot-frame"));
  plot.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    const apart = (vertex) => Math.hypot(vertex.left - at.x, vertex.top - at.y);
    const nearest = vertices(plot).reduce((best, each) => (best && apart(best) <= apart(each) ? best : each), null);
    if (!nearest || apart(nearest) > 30) { readout.textContent = ""; return; }
    const { name, where, x, y } = nearest;
    readout.textContent = `${name}${where ? `, ${where}` : ""}: ${plot.dataset.x} ${signed(x)}, ${plot.dataset.y} ${signed(y)}`;
  });
  plot.addEventListener("pointerleave", () => { readout.textContent = ""; });
}
