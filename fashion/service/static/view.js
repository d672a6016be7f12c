/** Which photos are shown, in which order, and which of them is meant. */
import { photos, remote } from "./store.js";

/** `list` is what is shown; `cursor` the photo in the panel, decided on with all of `selected`. */
export const view = { filter: "all", label: "", order: "unsure", list: [], cursor: null, anchor: null, selected: new Set() };

export const isBlind = (photo) => photo.review === "blind" && !photo.decision;
const isOpen = (photo) => photo.state === "labelled" && !photo.decision;
/** Return whether a person should look; without a precision nothing is sure. */
export const isToCheck = (photo) => isOpen(photo) && (!photo.sure || photo.review === "blind");

export const FILTERS = {
  all: ["All", () => true],
  check: ["To check", isToCheck],
  sure: ["Sure", (photo) => isOpen(photo) && !isToCheck(photo)],
  decided: ["Decided", (photo) => Boolean(photo.decision)],
  failed: ["Unreadable", (photo) => photo.state === "failed"],
  waiting: ["Waiting", (photo) => photo.state === "waiting"],
  review: ["Review queue", isOpen],
};
export const KINDS = { no_class: "No class fits", left_out: "Left out" };

/** Return what a photo counts as: a label or, in brackets, why it has none. */
export function groupOf(photo) {
  if (photo.decision) return photo.decision.label ?? `(${KINDS[photo.decision.kind]})`;
  if (photo.state !== "labelled") return photo.state === "failed" ? "(Unreadable)" : "(Waiting)";
  return isBlind(photo) ? "(Blind)" : photo.labels[0].label;
}

/** Return how sure the model is; of a blind photo a number that says nothing. */
function confidence(photo) {
  if (!isBlind(photo) && photo.labels) return photo.labels[0].probability;
  return parseInt(photo.sha256?.slice(0, 6) ?? "0", 16) / 0x1000000;
}

function stage(photo) {
  if (photo.state !== "labelled") return photo.state === "failed" ? 6 : 8;
  return photo.decision ? 4 : isToCheck(photo) ? 0 : 2;
}

const groupKey = (group) => `${group.startsWith("(") ? 1 : 0}${group.toLowerCase()}`;
const nameKeys = new WeakMap();

function nameKey(photo) {
  if (!nameKeys.has(photo)) nameKeys.set(photo, photo.name.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0")));
  return nameKeys.get(photo);
}

const ORDERS = {
  unsure: (photo) => stage(photo) + confidence(photo),
  label: (photo) => `${groupKey(groupOf(photo))}\0${confidence(photo).toFixed(6)}`,
  name: nameKey,
};
const compare = ([a], [b]) => (a < b ? -1 : a > b ? 1 : 0);
const sortBy = (all, key) => all.map((each) => [key(each), each]).sort(compare).map(([, each]) => each);

/** Return the page's own photos that a filter lets pass, or those that the server wants reviewed. */
export const photosOf = (filter) => [...(filter === "review" ? remote : photos).values()].filter(FILTERS[filter][1]);

/** Return how many photos each filter has, and each label. */
export function tally() {
  const filters = Object.fromEntries(Object.keys(FILTERS).map((filter) => [filter, photosOf(filter).length]));
  const labels = new Map();
  for (const photo of photosOf("all")) {
    if (photo.state === "labelled") labels.set(groupOf(photo), (labels.get(groupOf(photo)) ?? 0) + 1);
  }
  return { filters, labels: sortBy([...labels], ([label]) => groupKey(label)) };
}

/** List anew what is shown; return whether that is another list. A cursor whose photo is gone goes to the next. */
export function rebuild() {
  const before = view.list;
  const fitting = photosOf(view.filter).filter((photo) => !view.label || groupOf(photo) === view.label);
  view.list = sortBy(fitting, ORDERS[view.order]);
  const there = new Set(view.list);
  view.selected = view.selected.intersection(there);
  if (view.cursor && !there.has(view.cursor)) {
    const place = Math.max(0, before.indexOf(view.cursor));
    const isThere = (photo) => there.has(photo);
    view.cursor = before.slice(place).find(isThere) ?? before.slice(0, place).findLast(isThere) ?? null;
  }
  if (!there.has(view.anchor)) view.anchor = null;
  if (view.cursor && !view.selected.size) view.selected.add(view.cursor);
  return before.length !== view.list.length || before.some((photo, i) => photo !== view.list[i]);
}

/** Go to a photo. `how` is "only", to "toggle" it, or to select the "range" up to it. */
export function choose(photo, how = "only") {
  if (how === "range" && view.cursor) {
    view.anchor ??= view.cursor;
    const [from, to] = [view.anchor, photo].map((each) => view.list.indexOf(each)).sort((a, b) => a - b);
    view.selected = new Set(view.list.slice(from, to + 1));
  } else {
    view.anchor = null;
    if (how !== "toggle") view.selected = new Set([photo]);
    else if (!view.selected.delete(photo)) view.selected.add(photo);
  }
  view.cursor = photo;
}

/** Return the labels that keys 1 to 5 stand for: those of the cursor's photo, unless it is blind. */
export const candidates = () => (view.cursor?.labels && !isBlind(view.cursor) ? view.cursor.labels.slice(0, 5) : []);
