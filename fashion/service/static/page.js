/** The page: what is dropped, chosen, typed and clicked, and what the header says of it. */
import { fetchReview, leaveOut, noClass, send, take, undo } from "./decisions.js";
import { csvOf, save } from "./export.js";
import { draw, layOut, move, reveal, sight } from "./grid.js";
import { fromDrop, fromFiles, isReading } from "./intake.js";
import { enqueue, pause, retry, work } from "./labelling.js";
import { ask, count, make, many, notice, the } from "./make.js";
import { fillPanel, findClass } from "./panel.js";
import { request, server } from "./server.js";
import { facts, forget, news, open, photos, remember, tell } from "./store.js";
import { FILTERS, candidates, photosOf, rebuild, tally, view } from "./view.js";

const REST_MS = 1500; // the photos shown change by themselves once the person has been still so long
const SPOKEN_MS = 10_000; // how often progress is read aloud
let [touched, spoken, isDue] = [-REST_MS, 0, false]; // when the person last did something, and when progress was read

/** Show what is new; what the person did (`isOwn`) at once, and where it is. */
function show(isOwn) {
  if (isOwn) touched = performance.now();
  if (isOwn || performance.now() - touched > REST_MS) {
    if (rebuild() || view.order === "label") layOut();
    else draw();
    fillPanel();
    if (isOwn) reveal();
  } else {
    setTimeout(tell, REST_MS);
  }
  fillHeader();
}

for (const kind of ["pointerdown", "wheel"]) document.addEventListener(kind, () => { touched = performance.now(); }, { passive: true });

news.addEventListener("change", ({ isOwn }) => {
  if (isOwn) return show(true);
  if (!isDue) setTimeout(() => { isDue = false; show(false); }, 300);
  isDue = true;
});
server.addEventListener("change", fillHeader);

const change = (given) => { Object.assign(view, given); tell(true); };
const chips = Object.fromEntries(Object.entries(FILTERS).map(([filter, [words]]) =>
  [filter, make("button", { onclick: () => change({ filter, label: "" }) }, `${words} `, make("b"))]));
the("filters").append(...Object.values(chips));

function fillHeader() {
  const { filters, labels } = tally();
  document.body.dataset.state = filters.all + filters.review ? "full" : "empty";
  Object.assign(the("progress"), { max: filters.all || 1, value: filters.all - filters.waiting, hidden: !filters.waiting });
  Object.assign(the("pause"), { hidden: !filters.waiting, textContent: work.isPaused ? "Go on" : "Pause" });
  Object.assign(the("retry"), { hidden: !filters.failed, textContent: `Try ${count(filters.failed)} again` });
  Object.assign(the("summary"), { textContent: server.trouble || summary(filters), className: server.trouble && "trouble" });
  for (const [filter, chip] of Object.entries(chips)) {
    chip.hidden = !filters[filter] && filter !== view.filter && filter !== "all";
    chip.setAttribute("aria-pressed", filter === view.filter);
    chip.lastChild.textContent = count(filters[filter]);
  }
  const options = labels.map(([label, number]) => new Option(`${label.replace(/[()]/g, "")}: ${count(number)}`, label));
  if (document.activeElement !== the("label")) the("label").replaceChildren(new Option("all labels", ""), ...options);
  the("label").value = view.label;
  Object.assign(the("nothing"), { hidden: view.list.length > 0, textContent: view.filter === "check" ? "Nothing is left to check." : "No such photo." });
  if (filters.waiting && performance.now() - spoken < SPOKEN_MS) return;
  spoken = performance.now();
  the("spoken").textContent = the("summary").textContent;
}

function summary({ all, waiting, sure, check, decided, failed, review }) {
  if (!all) return review ? `${many(review, "photo")} to review` : "";
  const rate = (work.times.length - 1) / (work.times.at(-1) - work.times[0]) * 1000;
  const speed = rate > 0 && Number.isFinite(rate) ? `, ${rate < 10 ? rate.toFixed(1) : Math.round(rate)} a second` : "";
  if (waiting) return `${count(all - waiting)} of ${many(all, "photo")}${work.isPaused ? ", paused" : speed}`;
  const parts = [[sure, "sure"], [check, "to check"], [decided, "decided"], [failed, "unreadable"]].filter(([number]) => number);
  return `${many(all, "photo")}: ${parts.map(([number, what]) => `${count(number)} ${what}`).join(", ")}`;
}

async function exportPhotos() {
  const open = photosOf("check").length;
  the("undecided").textContent = open ? `${many(open, "photo")} to check: ${open === 1 ? "it has" : "they have"} no final label yet.` : "";
  if ((await ask(the("exporting"))) !== "save") return;
  const { which, form } = the("exporting").firstElementChild.elements;
  save(csvOf(which.value === "all" ? photosOf("all") : view.list, form.value === "excel"), `labels-${new Date().toISOString().slice(0, 10)}.csv`);
}

async function startAnew() {
  the("adding").close();
  if ((await ask(the("forgetting"))) !== "yes") return;
  work.waiting = [];
  await forget();
  change({ filter: "all", label: "", cursor: null });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-Infinity, 0], End: [Infinity, 0] };
const KEYS = { Enter: () => take(), 0: noClass, x: leaveOut, u: undo, "?": () => DOING.help(), "/": () => findClass() };
const DOING = {
  ...{ noClass, leaveOut, undo, retry, exportPhotos, startAnew, find: () => findClass() },
  ...{ add: () => ask(the("adding")), help: () => ask(the("keys")), hush: () => notice(""), pause: () => pause(!work.isPaused) },
  close: () => change({ cursor: null, selected: new Set() }),
  several: () => the("several").setAttribute("aria-pressed", (view.isSeveral = !view.isSeveral)),
};

/** Return what a key does; nothing if it is the browser's. */
function meaning({ key, ctrlKey, metaKey, altKey, shiftKey, target }) {
  const isCommand = ctrlKey || metaKey;
  const step = { ...STEPS, PageUp: [0, -sight()], PageDown: [0, sight()] }[key];
  if (step) return () => { move(...step, shiftKey ? "range" : "only"); tell(true); };
  if (isCommand && key === "a") return () => change({ selected: new Set(view.list), cursor: view.cursor ?? view.list[0] });
  if (isCommand && key === "z") return undo;
  if (isCommand || altKey || (key === "Enter" && target.matches("button")) || (facts.isSingleOff && key.length === 1)) return null;
  if (key.toLowerCase() in KEYS || key in KEYS) return KEYS[key] ?? KEYS[key.toLowerCase()];
  if (/^[1-5]$/.test(key)) return () => candidates()[key - 1] && take(candidates()[key - 1].label);
  return /^\p{L}$/u.test(key) && view.selected.size ? () => findClass(key) : null;
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.target.matches("input, select") || document.body.dataset.state === "empty") return;
  const act = meaning(event);
  if (act) event.preventDefault();
  act?.();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.toggle("dropping", event.dataTransfer.types.includes("Files"));
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  fromDrop(event.dataTransfer);
});
addEventListener("beforeunload", (event) => isReading() && event.preventDefault());

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-do], [data-pick]");
  if (button?.dataset.pick) the(button.dataset.pick).click();
  else if (button) DOING[button.dataset.do]();
});
for (const id of ["photos", "folder", "zip"]) the(id).onchange = ({ target }) => { fromFiles(target.files); target.value = ""; };
the("grid").addEventListener("pick", () => tell(true));
the("label").onchange = ({ target }) => change({ label: target.value });
the("order").onchange = ({ target }) => change({ order: target.value });
the("person").onchange = ({ target }) => { remember({ person: target.value.trim() }); send(); };
the("single").onchange = ({ target }) => remember({ isSingleOff: !target.checked });

// Two windows would label the same photos: this one waits for the other to be closed.
const wait = setTimeout(() => notice("This page is open in another window. Close that one, and this one goes on."), 1000);
await new Promise((begin) => navigator.locks?.request("fashion", () => new Promise(() => begin())) ?? begin());
clearTimeout(wait);
notice("");
await open();
the("person").value = facts.person ?? "";
the("single").checked = !facts.isSingleOff;
tell();
enqueue([...photos.values()]);
try {
  remember({ model: await request("v1/model") });
  the("model").textContent = facts.model.name;
  the("who").hidden = !facts.model.review;
  if (facts.model.review) await fetchReview();
  send();
} catch (error) {
  notice(error.message);
}
