/** The panel with the chosen photo, and the search for a class. */
import { take } from "./decisions.js";
import { fillPicture } from "./grid.js";
import { ask, make, many, percent, shown, the } from "./make.js";
import { facts } from "./store.js";
import { KINDS, candidates, isBlind, view } from "./view.js";

const panel = the("panel");
const [picture, name, state, error, bars, attributes, more] =
  [".photo", ".name", ".state", ".error", ".bars", ".attributes", ".more"].map((part) => panel.querySelector(part));

export function fillPanel() {
  const photo = view.cursor;
  if ((panel.hidden = !photo)) return;
  const several = view.selected.size > 1;
  name.textContent = [photo.product ?? "", photo.name].map((each) => shown(each)).join("\n").trim();
  state.textContent = several ? `${many(view.selected.size, "photo")} chosen: a key decides on all of them.` : stateOf(photo);
  error.textContent = photo.error ?? "";
  more.hidden = photo.state !== "labelled";
  fillPicture(photo, picture);
  const key = `${photo.number ?? photo.sha256} ${photo.state} ${photo.decision?.at}`;
  if (bars.dataset.key !== key) bars.replaceChildren(...candidates().map((each, i) => bar(each, i, photo)));
  const told = isBlind(photo) ? [] : Object.entries(photo.attributes ?? {});
  attributes.replaceChildren(...told.flatMap(([attribute, { label, probability }]) =>
    [make("dt", {}, shown(attribute, 80)), make("dd", {}, `${shown(label, 80)}, ${percent(probability)}`)]));
  bars.dataset.key = key; // else the focus on one of them would be lost
}

function bar({ label, probability }, i, photo) {
  const line = make("i");
  line.style.width = `${100 * probability}%`;
  const className = photo.decision?.label === label ? "taken" : "";
  const onclick = () => take(label);
  return make("button", { className, onclick }, make("kbd", {}, `${i + 1}`), make("b", {}, shown(label, 80)), percent(probability), line);
}

function stateOf(photo) {
  const { decision } = photo;
  if (decision) return `✓ ${decision.kind === "accepted" ? "Accepted" : "Decided"}: ${shown(decision.label ?? KINDS[decision.kind], 80)}`;
  if (photo.state !== "labelled") return photo.state === "waiting" ? "Not labelled yet." : "";
  if (isBlind(photo)) return "Blind: which class is it? Type its name.";
  return { true: "The model is sure.", false: "The model isn’t sure: please check." }[photo.sure] ?? "";
}

const [wanted, found] = [the("wanted"), the("found")];
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** Have a class chosen by its name, of which some letters may be typed already. */
export async function findClass(typed = "") {
  wanted.value = typed;
  list();
  const isTaken = (await ask(the("classes"))) === "take";
  if (isTaken && found.value) take(found.value);
  the("grid").focus();
}

/** List the classes that begin as typed, then those with such a word, then those with it inside. */
function list() {
  const typed = plain(wanted.value.trim());
  const tests = [(name) => name.startsWith(typed), (name) => ` ${name}`.includes(` ${typed}`), (name) => name.includes(typed)];
  const classes = (facts.model?.classes ?? []).map((label) => [plain(label), label]);
  const ranked = tests.flatMap((test) => classes.filter(([name]) => test(name)));
  found.replaceChildren(...[...new Set(ranked.map(([, label]) => label))].map((label) => new Option(shown(label, 120), label)));
  found.selectedIndex = 0;
}

wanted.oninput = list;
wanted.addEventListener("keydown", ({ key }) => key === "ArrowDown" && found.focus());
found.addEventListener("keydown", ({ key }) => key === "Enter" && the("take").click());
found.onclick = () => the("take").click();
