/** From what is dropped or chosen to photos: files, folders, zips, under the names they have there. */
import { parse } from "./vendor/papaparse.js";
import { enqueue } from "./labelling.js";
import { count, many, notice, shown } from "./make.js";
import { addPhotos, facts, membersOf, opening, photos } from "./store.js";

const PHOTO = /\.(jpe?g|jfif|jpe|mpo|png|webp|avif|gif|bmp|tiff?|jp2|hei[cf])(\?.*)?$/i;
const NO_PHOTO = /\.(svg|pdf|csv|txt|html?|json|xlsx?|mp4|mov)$/i;
const [UNREAD, CLASH] = ["can’t be read", "left out: other photos have these names; drop them within their folders"];
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
  const name = new TextDecoder().decode(nameBytes);
  // Of old programs: other letters, but each its own.
  return name.includes("\ufffd") ? new TextDecoder("windows-1252").decode(nameBytes) : name;
}

/** What products are called, by their photos: by the name here, or by that of the file alone. */
const products = new Map();
const productOf = (name) => products.get(name) ?? products.get(name.split("/").at(-1));

/** Read a CSV with the columns photo and name; return whether it is one. */
async function readNames({ name, file }) {
  const { data, meta } = /\.csv$/i.test(name) && file ? parse(await file.text(), { header: true, skipEmptyLines: true }) : {};
  if (!["photo", "name"].every((column) => meta?.fields?.includes(column))) return false;
  for (const row of data) products.set(row.photo, row.name);
  return true;
}

let reading = 0;
export const isReading = () => reading > 0;

async function take(lists) {
  reading++;
  const found = (await Promise.all((await Promise.all(lists)).flat().map(opened))).flat();
  const areNames = await Promise.all(found.map(readNames));
  await opening.promise;
  const [fresh, left] = [new Map(), {}];
  for (const each of found.filter(({ name }, i) => !SYSTEM.test(name) && !areNames[i])) {
    const why = whyNot(each, fresh);
    if (why) (left[why] ??= []).push(each.name);
    else fresh.set(each.name, { ...each, product: productOf(each.name) });
  }
  const all = [...fresh.values()];
  for (let i = 0; i < all.length; i += TOGETHER) enqueue(await addPhotos(all.slice(i, i + TOGETHER)));
  reading--;
  const told = Object.entries(left).map(([why, names]) => `${many(names.length, "file")} ${why} (${shown(names[0], 80)}).`);
  const named = all.filter(({ product }) => product).length;
  if (areNames.some(Boolean)) told.push(facts.model?.names ? `${count(named)} of ${many(all.length, "photo")} with a name.` : "This model reads no names.");
  if (told.length) notice(told.join(" "), !left[UNREAD] && !left[CLASH]);
}

/** Return why a file isn't added; nothing if it is. */
function whyNot({ name, file, size }, fresh) {
  if (NO_PHOTO.test(name) || (!PHOTO.test(name) && name.includes("/"))) return "left out: no photos";
  if (!file) return UNREAD;
  const same = photos.get(name) ?? fresh.get(name);
  if (!same || same.state === "failed") return "";
  return same.size === size ? "here already" : CLASH;
}
