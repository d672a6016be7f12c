/** What the person decides: kept at once, undone as often as wanted, sent to a server that reviews. */
import { notice } from "./make.js";
import { request } from "./server.js";
import { facts, forgetSent, keepDecisions, outbox, photos, remote, tell } from "./store.js";
import { choose, isBlind, view } from "./view.js";

const MOST_REVIEWED = 1000; // photos of the review queue at a time
let [isSending, latest] = [false, 0];

/** Return the time, never the same twice: what is decided at once is undone at once. */
const now = () => new Date((latest = Math.max(Date.now(), latest + 1))).toISOString();

/** Decide on all that is chosen; `verdict` returns `{kind, label}` of a photo, or nothing to let it be. */
function decide(verdict) {
  const at = now();
  const changed = [...view.selected].filter((photo) => {
    const decision = photo.state === "labelled" && verdict(photo);
    if (decision) photo.decision = { ...decision, at, before: photo.decision };
    return decision;
  });
  const next = view.list[view.list.indexOf(view.cursor) + 1];
  if (changed.length === 1 && next) choose(next);
  if (changed.length) keep(changed, ({ decision: { kind, label } }) => ({ kind, label, at }));
}

async function keep(changed, told) {
  tell(true);
  const reviewed = facts.model?.review ? changed.filter((photo) => photo.review) : [];
  await keepDecisions(changed, reviewed.map((photo) => ({ sha256: photo.sha256, ...told(photo) })));
  send();
}

/** Give a label; without one each photo its likeliest. */
export function take(label) {
  if (!label && [...view.selected].some(isBlind)) notice("A blind photo has no label to accept: type the name of its class.", true);
  decide((photo) => {
    if (!label && (isBlind(photo) || !photo.labels)) return null;
    const first = photo.labels?.[0].label;
    return { kind: (label ?? first) === first ? "accepted" : "corrected", label: label ?? first };
  });
}

export const noClass = () => decide(() => ({ kind: "no_class", label: null }));
export const leaveOut = () => decide(() => ({ kind: "left_out", label: null }));

export function undo() {
  const decided = [...photos.values(), ...remote.values()].filter((photo) => photo.decision);
  const last = decided.map((photo) => photo.decision.at).reduce((a, b) => (a > b ? a : b), "");
  const changed = decided.filter((photo) => photo.decision.at === last);
  if (!changed.length) return notice("There is nothing to undo.", true);
  for (const photo of changed) photo.decision = photo.decision.before;
  Object.assign(view, { cursor: changed[0], selected: new Set(changed) });
  return keep(changed, () => ({ kind: "undone", label: null, at: now() }));
}

/** Send a server that reviews the decisions that it doesn't have yet, once the person's name is known. */
export async function send() {
  if (isSending || !facts.model?.review) return;
  isSending = true;
  try {
    for (let [keys, decisions] = await outbox(); keys.length; [keys, decisions] = await outbox()) {
      if (!facts.person) return notice("Type your name above: the server keeps decisions with it.", true);
      await request("v1/review/decisions", { body: JSON.stringify({ person: facts.person, decisions }), type: "application/json" });
      await forgetSent(keys);
    }
  } catch (error) {
    notice(`The server didn’t take the decisions: ${error.message}`);
  } finally {
    isSending = false;
  }
}

/** Fetch what the server wants reviewed and this page doesn't show already. */
export async function fetchReview() {
  const own = new Set([...photos.values()].map((photo) => photo.sha256));
  for (let after = ""; remote.size < MOST_REVIEWED && after !== null; ) {
    const told = await request(`v1/review?limit=100${after && `&after=${encodeURIComponent(after)}`}`);
    for (const { kind, ...photo } of told.photos.filter(({ sha256 }) => !own.has(sha256))) {
      remote.set(photo.sha256, { ...photo, review: kind, sure: kind === "blind", state: "labelled", remote: true });
    }
    after = told.next;
  }
  tell();
}
