/* Going from case to case, keys, the file of answers, time */
const go = async (place) => {
  if (place < 0 || place >= screens.length) return;
  if (passed) note();
  current = place;
  if (marking) stopMarking();
  document.body.dataset.ready = "";
  view.large = null;
  view.cross = null;
  note();
  layOut();
  resetView();
  show();
  openNext();
  if (await paint()) document.body.dataset.ready = number();
  if (place + 1 < screens.length) decode(String(screens[place + 1].number));
};

/* Keys */
const groupNow = () => {
  const focused = document.activeElement?.closest(".scores");
  if (focused && !focused.closest("[hidden]")) return focused;
  const shown = questions.find((each) => !each.body.hidden);
  return shown && all(".scores", shown.body).find((group) => !find("input:checked", group));
};
const rateNow = (score) => {
  const group = groupNow();
  if (!group) return;
  rate(group.dataset.criterion, group.dataset.panel, score);
  const next = group.nextElementSibling;
  if (next?.matches(".scores")) {
    (find("input:checked", next) ?? find("input", next)).focus();
    return;
  }
  const question = openNext();
  if (question) find("input:checked, input", question.body).focus();
  else find("#next").disabled ? find("#save").focus() : find("#next").focus();
};
addEventListener("focusin", (event) => {
  all(".scores.now").forEach((group) => group.classList.remove("now"));
  event.target.closest(".scores")?.classList.add("now");
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || find("#help").open) return;
  if (event.target.matches("textarea, select, input[type=file]")) return;
  const key = event.key;
  const letter = key.toUpperCase();
  if (scores.includes(Number(key)) && key.trim()) rateNow(Number(key));
  else if (Number(key) >= 7 && windows[Number(key) - 7]) preset(Number(key) - 7);
  else if (key === "0") resetView();
  else if (key === "+" || key === "=") zoomBy(1.25);
  else if (key === "-") zoomBy(1 / 1.25);
  else if (key === "?") openHelp();
  else if (key === "PageDown") go(current + 1);
  else if (key === "PageUp") go(current - 1);
  else if (key === "Escape" && marking) stopMarking();
  else if (key === "Escape" && view.large !== null) enlarge(view.large);
  else if (letters.includes(letter)) enlarge(letter);
  else return;
  event.preventDefault();
});

find("#previous").addEventListener("click", () => go(current - 1));
find("#next").addEventListener("click", () => go(current + 1));
screens.forEach((_, place) => element("option", { value: String(place) }, find("#case")));
find("#case").addEventListener("change", (event) => go(Number(event.target.value)));

/* The file of answers */
const toFile = () => ({
  format: setup.format,
  version: 1,
  study: setup.study,
  reader: setup.reader,
  saved: new Date().toISOString(),
  showings: screens
    .filter((screen) => answers[screen.number])
    .map((screen) => ({ number: screen.number, ...answers[screen.number] })),
});
find("#save").addEventListener("click", () => {
  note();
  const file = new Blob([JSON.stringify(toFile(), null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: `answers-${setup.reader}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  const left = screens.length - doneCount();
  tell(left ? `Saved; ${left} of ${screens.length} cases are not complete yet.` : "Saved: all cases are complete.");
});
const readFile = async (chosen) => {
  const file = JSON.parse(await chosen.text());
  if (file.study !== setup.study || file.reader !== setup.reader) throw new Error("other study");
  const entries = file.showings.map((given) => [given.number, given]);
  if (!entries.every(isSound)) throw new Error("damaged answers");
  return taken(entries);
};
find("#load").addEventListener("change", async ({ target }) => {
  if (!target.files.length) return;
  const read = await readFile(target.files[0]).catch(() => null);
  target.value = "";
  if (!read) return tell("This file has no answers of this reader for this study.");
  stored();
  const [here, there] = [answers, read].map((each) => Object.values(each).filter(isBegun).length);
  const question = `This page has answers to ${here} of ${screens.length} cases, the file to ${there}. Replace the answers on this page?`;
  if (here && !confirm(question)) return tell("The answers on this page were kept.");
  answers = read;
  unsaved = false;
  passed = 0;
  keep();
  await go(Math.max(0, screens.findIndex((screen) => !isDone(answers[screen.number]))));
  tell("The answers in the file were loaded.");
});

/* Time: seconds that a case was in view, and a reminder after a long session */
let sitting = 0;
setInterval(() => {
  if (document.hidden || find("#help").open) return;
  passed += 1;
  sitting += 1;
  if (sitting % 10 === 0) note();
  if (sitting === SITTING_SECONDS) tell("45 minutes: time for a break. Your answers are kept.");
}, 1000);

const openHelp = () => find("#help").showModal();
find("#help-open").addEventListener("click", openHelp);
find("#begin").addEventListener("click", () => find("#help").close());
new ResizeObserver(layOut).observe(find("#panels"));
find("#begin").textContent = restore() ? `Continue with case ${number()}` : "Begin";
openHelp();
go(current);
