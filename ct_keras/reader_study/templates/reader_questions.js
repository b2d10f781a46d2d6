/* Questions */
const questions = [];
const addQuestion = (id, title, build) => {
  const section = element("section", { className: "question", id: `question-${id}` }, find("#form"));
  const heading = element("button", { type: "button", className: "heading" }, element("h2", {}, section));
  element("span", {}, heading, title);
  const count = element("span", { className: "count" }, heading);
  const body = element("div", { className: "body", id: `body-${id}` }, section);
  heading.setAttribute("aria-controls", body.id);
  const question = { id, section, heading, count, body };
  heading.addEventListener("click", () => open(body.hidden ? question : null));
  questions.push(question);
  build(body);
  return question;
};
const open = (question) => {
  for (const each of questions) {
    each.body.hidden = each !== question;
    each.heading.setAttribute("aria-expanded", String(each === question));
  }
  question?.section.scrollIntoView({ block: "nearest" });
};
const addScores = (body, id, letter) => {
  const group = element("fieldset", { className: "scores" }, body);
  group.dataset.criterion = id;
  group.dataset.panel = letter;
  element("legend", {}, group, letter);
  for (const score of scores) {
    const label = element("label", {}, group);
    const input = element("input", { type: "radio", name: `${id}-${letter}`, value: score }, label);
    input.setAttribute("aria-label", `Panel ${letter}: ${score}`);
    element("span", {}, label, String(score));
    input.addEventListener("change", () => {
      const wasDone = criterionDone(answer(), id);
      rate(id, letter, score);
      const byArrow = input.matches(":focus-visible");
      if (!wasDone && !byArrow && criterionDone(answer(), id)) openNext();
    });
  }
};
const rate = (id, letter, score) => change((given) => { (given.scores[letter] ||= {})[id] = score; });
const openNext = () => {
  const left = questions.find((each) => !questionDone(each));
  open(left ?? null);
  return left;
};

for (const { id, title, worst, middle, best } of criteria) {
  addQuestion(id, title, (body) => {
    element("p", { className: "anchors" }, body, `1 ${worst} \u00b7 3 ${middle} \u00b7 5 ${best}`);
    letters.forEach((letter) => addScores(body, id, letter));
  });
}
for (const { id, title } of findings) {
  addQuestion(id, title, (body) => {
    const ticks = element("fieldset", { className: "ticks" }, body);
    element("legend", { className: "aloud" }, ticks, title);
    for (const value of [...letters, NONE]) {
      const label = element("label", {}, ticks);
      const input = element("input", { type: "checkbox", name: id, value }, label);
      label.append(value === NONE ? "in none" : value);
      input.addEventListener("change", () => tick(id, value, input.checked));
    }
    element("div", { className: "places" }, body);
  });
}
const tick = (id, value, on) => {
  if (marking) stopMarking();
  change((given) => {
    const before = given.findings[id] ?? [];
    let ticked = before.filter((letter) => letter !== value);
    if (on && value !== NONE) ticked = [...ticked, value].sort();
    if (on && value === NONE) ticked = [];
    given.findings[id] = on || ticked.length ? ticked : null;
    given.marks = given.marks.filter((mark) => mark.finding !== id || ticked.includes(mark.panel));
  });
};
addQuestion("preferred", "Which panel would you prefer to read?", (body) => {
  const ticks = element("fieldset", { className: "ticks" }, body);
  element("legend", { className: "aloud" }, ticks, "Preferred panel");
  for (const value of [...letters, NONE]) {
    const label = element("label", {}, ticks);
    const input = element("input", { type: "radio", name: "preferred", value }, label);
    label.append(value === NONE ? "no difference" : value);
    input.addEventListener("change", () => change((given) => { given.preferred = value; }));
  }
});
addQuestion("remark", "Remark (optional)", (body) => {
  const text = element("textarea", { id: "remark", maxLength: 2000 }, body);
  text.setAttribute("aria-label", "Remark");
  text.addEventListener("input", () => change((given) => { given.remark = text.value; }));
});

const questionDone = ({ id }) => {
  const given = answer();
  if (id === "remark") return true;
  if (id === "preferred") return given.preferred !== null;
  if (findings.some((finding) => finding.id === id)) return Boolean(given.findings[id]);
  return criterionDone(given, id);
};

/* Shows the answers in the form */
const show = () => {
  const given = answer();
  for (const input of all(".scores input")) {
    const { criterion, panel } = input.closest(".scores").dataset;
    input.checked = given.scores[panel]?.[criterion] === Number(input.value);
  }
  for (const { id } of findings) {
    const ticked = given.findings[id];
    for (const input of all(`[name=${id}]`)) {
      input.checked = Boolean(ticked) && (input.value === NONE ? !ticked.length : ticked.includes(input.value));
    }
    const places = find(`#question-${id} .places`);
    places.replaceChildren();
    for (const letter of ticked ?? []) {
      const marked = given.marks.some((mark) => mark.finding === id && mark.panel === letter);
      const button = element("button", { type: "button", id: `mark-${id}-${letter}` }, places, `${marked ? "Move the mark" : "Mark"} in ${letter}`);
      button.addEventListener("click", () => startMarking(id, letter));
    }
  }
  for (const input of all("[name=preferred]")) input.checked = given.preferred === input.value;
  if (find("#remark").value !== given.remark) find("#remark").value = given.remark;
  for (const question of questions) {
    const done = questionDone(question);
    question.section.classList.toggle("complete", done);
    const isCriterion = criteria.some(({ id }) => id === question.id);
    if (question.id !== "remark") {
      question.count.textContent = done ? "done" : isCriterion ? `${scored(given, question.id)} of ${letters.length}` : "open";
    }
  }
  const count = doneCount();
  find("#progress").max = screens.length;
  find("#progress").value = count;
  find("#progress-text").textContent = `${count} of ${screens.length} cases answered`;
  all("#case option").forEach((option, place) => {
    const screen = screens[place];
    option.textContent = `Case ${screen.number} of ${screens.length}${isDone(answers[screen.number]) ? ", done" : ""}`;
  });
  find("#case").value = String(current);
  find("#previous").disabled = current === 0;
  find("#next").disabled = current === screens.length - 1;
  later(draw);
};
const change = (work) => {
  unsaved = true;
  note(work);
  show();
};
addEventListener("storage", (event) => { if (event.key === store && stored()) show(); });
