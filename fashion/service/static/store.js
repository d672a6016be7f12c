/** The photos, as this browser keeps them: a reload or a restart of the server loses nothing. */
import { openDB } from "./vendor/idb.js";
import { unzipRaw } from "./vendor/unzipit.js";
import { notice } from "./make.js";

/** The photos that were dropped, by their names. */
export const photos = new Map();
/** Photos that the server wants reviewed, by their SHA-256; the server keeps these. */
export const remote = new Map();
/** What else is kept: what the server said of its model, the person's name, settings. */
export const facts = JSON.parse(localStorage.getItem("fashion") ?? "{}");
/** Dispatches "change" when something above is another; `isOwn` if the person did it. */
export const news = new EventTarget();
export const tell = (isOwn = false) => news.dispatchEvent(Object.assign(new Event("change"), { isOwn }));

const WORK = ["photos", "sources", "previews"];
/** Kept once `open` is through. */
export const opening = Promise.withResolvers();
let [database, number] = [null, 0]; // the number is the next photo's, in the order in which they came

export async function open() {
  const upgrade = (db) => {
    db.createObjectStore("photos", { keyPath: "name" });
    db.createObjectStore("previews");
    for (const kind of ["sources", "outbox"]) db.createObjectStore(kind, { autoIncrement: true });
  };
  database = await openDB("fashion", 1, { upgrade });
  const kept = await database.getAll("photos");
  for (const photo of kept.sort((a, b) => a.number - b.number)) photos.set(photo.name, photo);
  number = kept.length ? kept.at(-1).number + 1 : 0;
  opening.resolve();
}

/** Write to some stores, all or nothing, even if the page is left at once; return whether the browser had room for it. */
async function write(stores, work) {
  const transaction = database.transaction(stores, "readwrite");
  try {
    await Promise.all([Promise.resolve(work((name) => transaction.objectStore(name))).then(() => transaction.commit()), transaction.done]);
    return true;
  } catch (error) {
    if (![error.name, transaction.error?.name].includes("QuotaExceededError")) throw error;
    notice("This browser has no room for more photos. Export what is labelled, start anew, and drop the others.");
    return false;
  }
}

export const remember = (given) => localStorage.setItem("fashion", JSON.stringify(Object.assign(facts, given)));

/** Keep photos to be labelled: `[{name, size, file, entry, product}]`, `entry` being the place in a zip. */
export async function addPhotos(found) {
  const fresh = found.map(({ file, ...photo }) => ({ ...photo, number: number++, state: "waiting" }));
  const isKept = await write(WORK, async (store) => {
    for (const [i, photo] of fresh.entries()) {
      const { file } = found[i];
      if (!keys.has(file)) keys.set(file, store("sources").add(file));
      photo.source = await keys.get(file);
      store("photos").put(photo);
    }
  });
  if (!isKept) return [];
  for (const photo of fresh) photos.set(photo.name, photo);
  tell();
  return fresh;
}

const keys = new WeakMap(); // of files: each is kept once, though a zip holds many photos
const zips = new WeakMap(); // of files what is in them
const opened = new Map(); // the same, of sources

/** Return the members of a zip, in its own order. */
export function membersOf(file) {
  if (!zips.has(file)) zips.set(file, unzipRaw(file).then(({ entries }) => entries));
  return zips.get(file);
}

export async function contentOf({ source, entry }) {
  if (entry === undefined) return (await database.get("sources", source)).arrayBuffer();
  if (!opened.has(source)) opened.set(source, database.get("sources", source).then(membersOf));
  return (await opened.get(source))[entry].arrayBuffer();
}

export const previewOf = (photo) => database.get("previews", photo.name);

/** Keep what became of a photo, and forget its content once no photo needs it. */
export function settle(photo, preview) {
  return write(WORK, (store) => {
    store("photos").put(photo);
    if (preview) store("previews").put(preview, photo.name);
    if (!isNeeded(photo)) store("sources").delete(photo.source);
  });
}

const isNeeded = ({ state, entry, source }) => state !== "labelled"
  || (entry !== undefined && [...photos.values()].some((other) => other.source === source && other.state !== "labelled"));

/** Keep photos with other decisions, and what the server is to be told of them. */
export function keepDecisions(changed, letters) {
  return write(["photos", "outbox"], (store) => {
    for (const photo of changed) if (!photo.remote) store("photos").put(photo);
    for (const letter of letters) store("outbox").add(letter);
  });
}

/** Return up to so many letters that the server doesn't have yet: their keys, and they. */
export const outbox = (most = 100) => Promise.all([database.getAllKeys("outbox", null, most), database.getAll("outbox", null, most)]);
export const forgetSent = (sent) => write(["outbox"], (store) => sent.forEach((key) => store("outbox").delete(key)));

/** Forget all photos and decisions on them; who works here and the settings stay. */
export async function forget() {
  await write(WORK, (store) => WORK.forEach((kind) => store(kind).clear()));
  photos.clear();
}
