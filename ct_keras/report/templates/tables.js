/* Tables: protocol, dose, sorting */
const showSheet = () => {
  const scope = find("[name=scope]:checked");
  for (const each of all(".sheet")) {
    each.hidden = each.dataset.sheet !== find("#protocol").value
      || each.dataset.scope !== (scope ? scope.value : "all");
  }
};
find("#protocol").addEventListener("change", showSheet);
all("[name=scope]").forEach((input) => input.addEventListener("change", showSheet));

const showGroups = () => {
  for (const each of all("[data-group-metric]")) {
    each.hidden = each.dataset.groupMetric !== find("[name=group-metric]:checked").value;
  }
};
all("[name=group-metric]").forEach((input) => input.addEventListener("change", showGroups));

const sortBy = (head) => {
  const body = find("tbody", head.closest("table"));
  const place = head.cellIndex;
  const words = head.classList.contains("text");
  const first = words ? "ascending" : "descending";
  const second = words ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  all("[aria-sort]", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", order);
  const valueOf = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const compare = (one, other) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const rising = words ? a.localeCompare(b) : Number(a) - Number(b);
    return order === "ascending" ? rising : -rising;
  };
  [...body.rows].sort(compare).forEach((row) => body.append(row));
};
all(".sort").forEach((button) => button.addEventListener("click", () => sortBy(button.closest("th"))));
