/* What the study is, and the answers: kept in the browser after every change */
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const element = (tag, attributes, parent, text) => {
  const made = Object.assign(document.createElement(tag), attributes);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
};
const fail = (error) => { document.body.dataset.error = String(error.message || error); };
addEventListener("error", (event) => fail(event.error || event.message));
addEventListener("unhandledrejection", (event) => fail(event.reason));

const setup = JSON.parse(find("#setup").textContent);
const { letters, criteria, findings, scores, windows, screens } = setup;
const NONE = "none";
const SITTING_SECONDS = 45 * 60;
const store = `ct_keras reader study ${setup.study} ${setup.reader}`;

const empty = () => ({ scores: {}, findings: {}, marks: [], preferred: null, remark: "", seconds: 0 });
let answers = {};
let current = 0;
const number = () => screens[current].number;
const answer = () => (answers[number()] ||= empty());
const tell = (text) => { find("#message").textContent = text; };
const keep = () => {
  try {
    localStorage.setItem(store, JSON.stringify({ current, answers }));
  } catch {
    tell("This browser does not keep answers: save them to a file before you close it.");
  }
};
const restore = () => {
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (!kept) return false;
    answers = kept.answers;
    current = Math.min(kept.current, screens.length - 1);
    return true;
  } catch {
    return false;
  }
};

const scored = (given, id) => letters.filter((letter) => given.scores[letter]?.[id]).length;
const criterionDone = (given, id) => scored(given, id) === letters.length;
const isDone = (given) => Boolean(given) && given.preferred !== null
  && criteria.every(({ id }) => criterionDone(given, id))
  && findings.every(({ id }) => given.findings[id]);
const doneCount = () => screens.filter((screen) => isDone(answers[screen.number])).length;
