/** From what is dropped or chosen to photos: files, folders, zips, under the names they have there. */
import { enqueue } from "./labelling.js";
import { many, notice, shown } from "./make.js";
import { addPhotos, membersOf, opening, photos } from "./store.js";

const PHOTO = /\.(jpe?g|jfif|jpe|mpo|png|webp|avif|gif|bmp|tiff?|jp2|hei[cf])(\?.*)?$/i;
const NO_PHOTO = /\.(svg|pdf|csv|txt|html?|json|xlsx?|mp4|mov)$/i;
const SYSTEM = /(^|\/)(\.|(__macosx|@eadir|\$recycle\.bin)\/|(thumbs\.db|desktop\.ini)$)/i;
const TOGETHER = 50; // photos kept at a time

/** Add what was dropped; called while the event is handled. */
export function fromDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return take(items.map((item) => walk(item.webkitGetAsEntry?.() ?? item.getAsFile())));
}

/** Add what was chosen in a dialog of the browser. */
export const fromFiles = (files) => take([...files].map((file) => [{ name: file.webkitRelativePath || file.name, file }]));

async function walk(entry) {
  if (entry instanceof File) return [{ name: entry.name, file: entry }];
  const name = entry.fullPath.slice(1);
  if (entry.isFile) return [{ name, file: await new Promise((done) => entry.file(done, () => done(null))) }];
  const [reader, found] = [entry.createReader(), []];
  for (let some = [null]; some.length; found.push(...(await Promise.all(some.map(walk))).flat())) {
    some = await new Promise((done) => reader.readEntries(done, () => done([])));
  }
  return found;
}

async function opened({ name, file }) {
  if (!file || !/^[^/]*\.zip$/i.test(name)) return [{ name, file, size: file?.size }];
  try {
    const members = [...(await membersOf(file)).entries()].filter(([, member]) => !member.name.endsWith("/"));
    return members.map(([entry, member]) => ({ name: `${name}/${nameOf(member)}`, file, entry, size: member.size }));
  } catch {
    return [{ name, file: null }];
  }
}

function nameOf({ nameBytes }) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(nameBytes);
  } catch {
    return new TextDecoder("windows-1252").decode(nameBytes); // of old programs: other letters, but each its own
  }
}

let reading = 0;
export const isReading = () => reading > 0;

async function take(lists) {
  reading++;
  const found = (await Promise.all((await Promise.all(lists)).flat().map(opened))).flat();
  await opening.promise;
  const [fresh, left] = [new Map(), {}];
  for (const each of found.filter(({ name }) => !SYSTEM.test(name))) {
    const why = whyNot(each, fresh);
    if (why) (left[why] ??= []).push(each.name);
    else fresh.set(each.name, each);
  }
  const all = [...fresh.values()];
  for (let i = 0; i < all.length; i += TOGETHER) enqueue(await addPhotos(all.slice(i, i + TOGETHER)));
  reading--;
  const told = Object.entries(left).map(([why, names]) => `${many(names.length, "file")} ${REASONS[why]} (${shown(names[0], 80)}).`);
  if (told.length) notice(told.join(" "), !left.unread && !left.clash);
}

/** Return why a file isn't added; nothing if it is. */
function whyNot({ name, file, size }, fresh) {
  if (NO_PHOTO.test(name) || (!PHOTO.test(name) && name.includes("/"))) return "other";
  if (!file) return "unread";
  const same = photos.get(name) ?? fresh.get(name);
  if (!same || same.state === "failed") return "";
  return same.size === size ? "again" : "clash";
}

const REASONS = {
  unread: "can’t be read",
  clash: "left out: other photos have these names; drop them within their folders",
  again: "here already",
  other: "left out: no photos",
};
