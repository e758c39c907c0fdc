"use strict";

const study = JSON.parse(document.getElementById("study").textContent);
const KINDS = {
  realism: {
    prompt: "Which picture looks more like a real photograph?",
    help: "Two pictures stand side by side. Choose one by a click, a tap, the arrow keys or the keys 1 and 2.",
  },
  identity: {
    prompt: "Which of the two shows the same person as the source?",
    help: "The source is above. If both seem to show the person, choose the more alike. A click, a tap, the arrow keys or the keys 1 and 2.",
  },
  emotion: {
    prompt: "Which emotion does the face show?",
    help: "If nothing fits, choose “none of these”. A click, a tap or the number keys.",
  },
};
const SHORTEST = 200; // ms; what comes sooner is the second click of a double click, not an answer
const byId = (id) => document.getElementById(id);

// Chance: the same participant always gets the same order and sides, another one others.

/** Numbers in [0, 1) that a text decides on: mulberry32, started from the FNV-1a hash of its UTF-8. */
function randomFrom(text) {
  let state = 2166136261;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 16777619);
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  next(); // texts that differ in the last letter alone start close to each other
  return next;
}

/** A shuffled copy (Fisher and Yates). */
function shuffled(items, random) {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

/** What a participant is asked, part by part: `left` is the picture on the left, "a" or "b". */
function planFor(participant) {
  const random = randomFrom(`${study.page}/${participant}`);
  const kinds = shuffled(Object.keys(KINDS).filter((kind) => study.questions.some((q) => q.kind === kind)), random);
  const questions = kinds.flatMap((kind) => {
    const own = shuffled(study.questions.filter((q) => q.kind === kind), random);
    const drawn = own.filter((q) => !q.always).slice(0, study.per_participant ?? own.length);
    return shuffled([...drawn, ...own.filter((q) => q.always)], random);
  });
  // "None of these" stays last; the emotions keep their order for a participant, so that keys can be learned.
  const emotions = shuffled(study.choices.slice(0, -1), random);
  return {
    kinds,
    choices: [...emotions, study.choices.at(-1)],
    questions: questions.map((question) => ({ question, left: random() < 0.5 ? "a" : "b" })),
  };
}

// What has been answered.

let plan, record;
let shownAt = null; // when the open question was shown; null while none is

const storageName = (participant) => `user-study:${study.page}:${participant}`;

/** Storage throws where a browser forbids it, and then the page works without. */
function stored(store, action) {
  try {
    return action(window[store]);
  } catch {
    byId("storage").hidden = false;
    return null;
  }
}

function load(participant) {
  const known = stored("localStorage", (s) => s.getItem(storageName(participant)));
  return known === null
    ? { version: study.version, page: study.page, participant, started: new Date().toISOString(), finished: null, answers: [] }
    : JSON.parse(known);
}

function save() {
  stored("localStorage", (s) => s.setItem(storageName(record.participant), JSON.stringify(record)));
}

function enter(participant) {
  stored("sessionStorage", (s) => s.setItem(storageName(""), participant)); // a reload goes on without asking
  plan = planFor(participant);
  record = load(participant);
  save();
  next();
}

/** The first question without an answer, announced where it is the first of its part. */
function next() {
  const done = new Set(record.answers.map((answer) => answer.question));
  const number = plan.questions.findIndex(({ question }) => !done.has(question.id));
  byId("bar").hidden = false;
  byId("progress").max = plan.questions.length;
  byId("progress").value = done.size;
  byId("count").textContent = `${done.size} of ${plan.questions.length} answered`;
  if (number < 0) return showEnd();
  const { question } = plan.questions[number];
  const isFirst = number === 0 || plan.questions[number - 1].question.kind !== question.kind;
  return isFirst ? showPart(question.kind, () => showQuestion(number)) : showQuestion(number);
}

function choose(number, choice) {
  const ms = performance.now() - shownAt;
  if (shownAt === null || ms < SHORTEST) return;
  shownAt = null;
  const { question, left } = plan.questions[number];
  record.answers.push({
    question: question.id,
    choice,
    left: question.kind === "emotion" ? null : left,
    ms: Math.round(ms),
  });
  if (record.answers.length === plan.questions.length) record.finished = new Date().toISOString();
  save();
  next();
}

// What is seen.

function show(id, focus) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
  window.scrollTo(0, 0);
  byId(focus)?.focus({ preventScroll: true });
}

function showStart(participant) {
  const count = planFor("").questions.length;
  byId("introduction").textContent = study.introduction;
  byId("introduction").hidden = !study.introduction;
  byId("summary").textContent = `There are ${count} questions, about ${Math.max(1, Math.round((count * 5) / 60))} minutes.`;
  byId("participant").value = participant;
  stored("localStorage", (s) => s.getItem("")); // warns early
  show("start", "participant");
}

let begin = () => {};

function showPart(kind, start) {
  byId("part-number").textContent = `Part ${plan.kinds.indexOf(kind) + 1} of ${plan.kinds.length}`;
  byId("part-title").textContent = KINDS[kind].prompt;
  byId("part-help").textContent = KINDS[kind].help;
  begin = start;
  show("part", "go");
}

let keys = {}; // what the keys of the open question do

async function showQuestion(number) {
  const { question, left } = plan.questions[number];
  const isPair = question.kind !== "emotion";
  const right = left === "a" ? "b" : "a";
  const picture = { a: question.pictures[0], b: question.pictures[1] };
  const wanted = isPair
    ? [[byId("left").querySelector("img"), picture[left]], [byId("right").querySelector("img"), picture[right]]]
    : [[byId("face"), picture.a]];
  if (question.source) wanted.push([byId("source-picture"), question.source]);
  keys = {};
  for (const [image, name] of wanted) image.src = study.pictures[name];
  await Promise.all(wanted.map(([image]) => image.decode().catch(() => {})));

  byId("prompt").textContent = question.request
    ? `To show that you are reading: choose “${question.request}” here, whatever the face shows.`
    : KINDS[question.kind].prompt;
  byId("source").hidden = !question.source;
  byId("pair").hidden = !isPair;
  byId("single").hidden = isPair;
  if (isPair) {
    keys = { ArrowLeft: left, 1: left, ArrowRight: right, 2: right };
    byId("left").onclick = () => choose(number, left);
    byId("right").onclick = () => choose(number, right);
  } else {
    byId("choices").replaceChildren(...plan.choices.map((choice, i) => {
      keys[i + 1] = choice;
      const button = document.createElement("button");
      const key = document.createElement("kbd");
      key.textContent = i + 1;
      button.append(key, choice === study.choices.at(-1) ? "none of these" : choice);
      button.dataset.choice = choice;
      button.onclick = () => choose(number, choice);
      return button;
    }));
  }
  document.onkeydown = (event) => {
    if (shownAt === null || event.repeat || event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    choose(number, keys[event.key]);
  };
  show("question", "prompt");
  requestAnimationFrame(() => (shownAt = performance.now()));
}

function showEnd() {
  byId("closing").textContent = study.closing;
  byId("text").value = JSON.stringify(record);
  show("end", "thanks");
}

byId("go").onclick = () => begin();
byId("enter").onsubmit = (event) => {
  event.preventDefault();
  const participant = byId("participant").value.trim().normalize("NFC");
  if (participant) enter(participant);
};
byId("download").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(record, null, 1)], { type: "application/json" }));
  link.download = `answers_${record.participant.replace(/[^\p{L}\p{N}_-]+/gu, "_")}_${study.page}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
byId("another").onclick = () => {
  stored("sessionStorage", (s) => s.removeItem(storageName("")));
  byId("bar").hidden = true;
  showStart("");
};
byId("text").onfocus = () => byId("text").select();

const given = ["search", "hash"].map((part) => new URLSearchParams(location[part].slice(1)).get("participant")).find(Boolean);
const going = stored("sessionStorage", (s) => s.getItem(storageName("")));
if (going && (!given || given.trim().normalize("NFC") === going)) enter(going);
else showStart(given ?? "");
