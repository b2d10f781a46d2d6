"use strict";
/* Tables: protocol, dose, sorting */
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const showSheet = () => {
    const scope = find("[name=scope]:checked");
    for (const sheet of all(".sheet")) {
      sheet.hidden = sheet.dataset.sheet !== find("#protocol").value
        || sheet.dataset.scope !== (scope ? scope.value : "all");
    }
  };
  find("#protocol").addEventListener("change", showSheet);
  all("[name=scope]").forEach((input) => input.addEventListener("change", showSheet));

  const sortBy = (head) => {
    const body = find("tbody", head.closest("table"));
    const place = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending";
    all("th", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const text = (row) => row.cells[place].dataset.value;
    const compare = (one, other) => {
      const [a, b] = [text(one), text(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = place === 0 ? a.localeCompare(b) : Number(a) - Number(b);
      return up ? order : -order;
    };
    [...body.rows].sort(compare).forEach((row) => body.append(row));
  };
  all(".sort").forEach((button) => button.addEventListener("click", () => sortBy(button.closest("th"))));
})();
