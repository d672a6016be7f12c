/** Photos go to the server one a request, a few at a time. */
import { Refused, request } from "./server.js";
import { contentOf, facts, photos, settle, tell } from "./store.js";

const LANES = 4;
const [MOST_NAME, MOST_PRODUCT] = [250, 1000]; // characters of names that the server is told, at the end and the start

/** What is under way: photos that wait, requests that run, and when the last photos were done. */
export const work = { waiting: [], running: 0, isPaused: false, times: [] };

/** Label those of some photos that wait for it. */
export function enqueue(some) {
  work.waiting.push(...some.filter((photo) => photo.state === "waiting"));
  while (work.running < LANES && work.waiting.length && !work.isPaused) {
    work.running++;
    label(work.waiting.shift()).finally(() => {
      work.running--;
      enqueue([]);
      tell();
    });
  }
}

export function pause(isPaused) {
  Object.assign(work, { isPaused, times: [] });
  enqueue([]);
  tell();
}

/** Try again what failed. */
export function retry() {
  const failed = [...photos.values()].filter((photo) => photo.state === "failed");
  failed.forEach((photo) => Object.assign(photo, { state: "waiting", error: undefined }));
  enqueue(failed);
  tell();
}

async function label(photo) {
  const [given, preview] = await ask(photo).catch((error) => {
    const sentence = error instanceof Refused ? error.message : "The photo can’t be read any more; drop it again.";
    return [{ state: "failed", error: sentence }, null];
  });
  if (photos.get(photo.name) !== photo) return; // forgotten meanwhile
  Object.assign(photo, given, { preview: preview !== null });
  work.times = [...work.times.slice(-99), performance.now()];
  await settle(photo, preview);
}

/** Return what the server says of a photo, and a small picture of it. */
async function ask(photo) {
  const limit = facts.model?.limits?.max_mb ?? Infinity;
  if (photo.size > limit * 1e6) throw new Refused(`The photo is larger than the ${limit} MB that the server takes; send a smaller one.`);
  const content = await contentOf(photo);
  const name = encodeURIComponent([...photo.name.toWellFormed()].slice(-MOST_NAME).join(""));
  const product = facts.model?.names && photo.product ? `&product=${encodeURIComponent(photo.product.toWellFormed().slice(0, MOST_PRODUCT))}` : "";
  const { model, photos: [told] } = await request(`v1/predict?top=5&name=${name}${product}`, { body: content, type: "application/octet-stream" });
  if (told.error) throw new Refused(told.error.detail);
  const { labels, attributes, sure, name_used, review, sha256, width, height } = told;
  return [{ state: "labelled", labels, attributes, sure, name_used, review, sha256, width, height, model: model.id }, await thumbnail(content)];
}

const path = new URL("thumbnails.js", import.meta.url).href;
const policy = globalThis.trustedTypes?.createPolicy("fashion", { createScriptURL: () => path });
const worker = new Worker(policy ? policy.createScriptURL("") : path);
const asked = []; // the worker answers in turn
worker.onmessage = ({ data }) => asked.shift()(data);

function thumbnail(content) {
  worker.postMessage(new Blob([content]));
  return new Promise((resolve) => asked.push(resolve));
}
