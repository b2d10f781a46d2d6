/* The study and the answers, which the browser stores after every change */
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

/* Whether the browser stores answers, and whether some are neither stored nor saved */
let refused = false;
let unsaved = false;
let message = "";
const WARNING = "This browser does not store answers: save them to a file before you close it.";
const tell = (text) => {
  message = text;
  find("#message").textContent = [refused ? WARNING : "", message].filter(Boolean).join(" ");
};
addEventListener("beforeunload", (event) => { if (refused && unsaved) event.preventDefault(); });

/* Stored values that are not valid answers are ignored */
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isSound = ([place, given]) => screens.some((screen) => screen.number === Number(place))
  && isObject(given) && isObject(given.scores) && isObject(given.findings)
  && Object.values(given.scores).every((panel) => isObject(panel) && Object.values(panel).every((score) => scores.includes(score)))
  && Object.values(given.findings).every((ticked) => ticked === null || Array.isArray(ticked))
  && Array.isArray(given.marks) && given.marks.every(isObject)
  && (given.preferred === null || typeof given.preferred === "string")
  && typeof given.remark === "string";
const taken = (entries) => Object.fromEntries(entries.map(([place, given]) => {
  const parts = Object.keys(empty()).map((part) => [part, given[part]]);
  return [place, { ...Object.fromEntries(parts), seconds: Number(given.seconds) || 0 }];
}));

/* Other tabs of the page share the storage, so it is read before every change */
const stored = () => {
  if (refused) return null;
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    answers = taken(Object.entries(kept.answers).filter(isSound));
    return kept;
  } catch {
    return null;
  }
};
const keep = () => {
  try {
    localStorage.setItem(store, JSON.stringify({ current, answers }));
    refused = false;
  } catch {
    refused = true;
  }
  tell(message);
};
const restore = () => {
  const kept = stored();
  current = screens[kept?.current] ? kept.current : 0;
  return kept !== null;
};
let passed = 0;
const note = (work = () => {}) => {
  stored();
  answer().seconds += passed;
  passed = 0;
  work(answer());
  keep();
};

const scored = (given, id) => letters.filter((letter) => given.scores[letter]?.[id]).length;
const criterionDone = (given, id) => scored(given, id) === letters.length;
const isDone = (given) => Boolean(given) && given.preferred !== null
  && criteria.every(({ id }) => criterionDone(given, id))
  && findings.every(({ id }) => given.findings[id]);
const isBegun = (given) => Boolean(given) && (given.preferred !== null || given.remark !== "" || given.marks.length > 0
  || Object.keys(given.scores).length > 0 || Object.values(given.findings).some(Boolean));
const doneCount = () => screens.filter((screen) => isDone(answers[screen.number])).length;
