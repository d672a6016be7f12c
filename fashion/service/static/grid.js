/** The grid: of thousands of photos only those in sight have elements. */
import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from "./vendor/virtual-core.js";
import { make, many, percent, shown, the } from "./make.js";
import { request } from "./server.js";
import { previewOf } from "./store.js";
import { KINDS, choose, groupOf, isBlind, isToCheck, view } from "./view.js";

const NARROWEST = 150; // a card, in pixels; but two stand side by side on a telephone
const [WORDS, GAP, HEADING] = [58, 12, 50]; // below the picture, between cards, and above a label's

const grid = the("grid");
const body = grid.firstElementChild;
const cards = new Map(); // the elements in sight, by their photos
let rows = []; // {heading, photos}
let [columns, width, made] = [2, 0, 0]; // the width is told by the observer: to ask for it takes a layout

const cardHeight = () => (width - GAP * (columns - 1)) / columns + WORDS;
const rowHeight = ({ heading }) => cardHeight() + (heading ? HEADING : 0);
const virtualizer = new Virtualizer({
  ...{ count: 0, overscan: 2, paddingStart: GAP, gap: GAP, getScrollElement: () => grid },
  ...{ scrollToFn: elementScroll, observeElementRect, observeElementOffset, onChange: draw },
  estimateSize: (i) => rowHeight(rows[i] ?? {}),
});
virtualizer._didMount();
new ResizeObserver(([{ contentRect }]) => layOut((width = contentRect.width))).observe(grid);

/** Put what is shown into rows, by label below a heading each, and draw those in sight. */
export function layOut() {
  columns = Math.max(2, Math.floor((width + GAP) / (NARROWEST + GAP)));
  const groups = Map.groupBy(view.list, (photo) => (view.order === "label" ? groupOf(photo) : ""));
  rows = [...groups].flatMap(([group, all]) => Array.from({ length: Math.ceil(all.length / columns) }, (_, i) => ({
    heading: group && !i ? `${shown(group, 80).replace(/[()]/g, "")}: ${many(all.length, "photo")}` : "",
    photos: all.slice(i * columns, (i + 1) * columns),
  })));
  grid.setAttribute("aria-rowcount", rows.length);
  grid.setAttribute("aria-colcount", columns);
  virtualizer.setOptions({ ...virtualizer.options, count: rows.length });
  virtualizer._willUpdate();
  virtualizer.measure(); // which has it drawn
}

/** Draw the rows in sight as they are now. */
export function draw() {
  const items = virtualizer.getVirtualItems().filter(({ index }) => rows[index]);
  body.style.height = `${virtualizer.getTotalSize()}px`;
  body.replaceChildren(...items.map(({ index, start }) => {
    const { heading, photos } = rows[index];
    const above = heading ? [make("div", { role: "rowheader", "aria-colspan": columns, className: "heading" }, heading)] : [];
    const row = make("div", { role: "row", "aria-rowindex": index + 1 }, ...above, ...photos.map(fillCard));
    row.style.cssText = `height: ${rowHeight(rows[index])}px; transform: translateY(${start}px);
      grid-template: ${heading ? `${HEADING - GAP}px` : ""} 1fr / repeat(${columns}, minmax(0, 1fr))`;
    return row;
  }));
  for (const [photo, card] of cards) {
    if (card.isConnected) continue;
    URL.revokeObjectURL(card.querySelector("img")?.src);
    cards.delete(photo);
  }
  grid.setAttribute("aria-activedescendant", cards.get(view.cursor ?? view.list[0])?.id ?? "");
}

function newCard(photo) {
  const card = the("card").content.firstElementChild.cloneNode(true);
  card.id = `card-${made++}`;
  card.onclick = ({ shiftKey, ctrlKey, metaKey }) => {
    choose(photo, shiftKey ? "range" : ctrlKey || metaKey || view.isSeveral ? "toggle" : "only");
    grid.dispatchEvent(new Event("pick"));
  };
  cards.set(photo, card);
  return card;
}

function fillCard(photo, column) {
  const card = cards.get(photo) ?? newCard(photo);
  const [text, kind] = badgeOf(photo);
  card.setAttribute("aria-selected", view.selected.has(photo));
  card.setAttribute("aria-colindex", column + 1);
  // While none is chosen an arrow would choose the first.
  card.className = `card ${kind} ${photo.state} ${photo !== (view.cursor ?? view.list[0]) ? "" : view.cursor ? "cursor" : "first"}`;
  const [picture, label, chance, name, badge] = card.querySelectorAll(".photo, b, .chance, bdi, .badge");
  label.textContent = shown(groupOf(photo), 80).replace(/^\(|\)$/g, "");
  chance.textContent = photo.labels && !photo.decision && !isBlind(photo) ? percent(photo.labels[0].probability) : "";
  name.textContent = shown(photo.name.split("/").at(-1), 80);
  Object.assign(badge, { textContent: text, className: `badge ${kind}`, hidden: !text });
  fillPicture(photo, picture);
  return card;
}

function badgeOf(photo) {
  if (photo.decision) return [`✓ ${KINDS[photo.decision.kind] ?? photo.decision.kind}`, "good"];
  if (photo.state === "failed") return ["! unreadable", "bad"];
  if (isBlind(photo)) return ["? blind", "check"];
  return isToCheck(photo) && photo.sure === false ? ["? check", "check"] : ["", ""];
}

/** Show a small picture of a photo, from this browser or from the server's review folder. */
export async function fillPicture(photo, place) {
  const key = `${photo.number ?? photo.sha256} ${photo.state} ${photo.preview}`;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (photo.remote) photo.blob ??= request(`v1/review/photos/${photo.sha256}`, { as: "blob" }).catch(() => null);
  const blob = await (photo.remote ? photo.blob : photo.preview && previewOf(photo));
  if (place.dataset.key !== key || !place.isConnected) return; // another one's place meanwhile
  URL.revokeObjectURL(place.firstElementChild?.src);
  const without = photo.preview === undefined && !photo.remote ? "" : "No picture";
  place.replaceChildren(blob ? make("img", { alt: "", draggable: false, src: URL.createObjectURL(blob) }) : without);
}

const rowOf = (photo) => rows.findIndex(({ photos }) => photos.includes(photo));

/** Scroll to the photo that keys go to. */
export function reveal() {
  const row = rowOf(view.cursor);
  const { start, end } = virtualizer.getVirtualItems().find(({ index }) => index === row) ?? { start: -1 };
  const isInSight = start >= virtualizer.scrollOffset && end <= virtualizer.scrollOffset + virtualizer.scrollRect?.height;
  if (row >= 0 && !isInSight) virtualizer.scrollToIndex(row, { align: "auto" }); // else no layout is forced
}

/** Go some photos across or rows down; `how` is as `choose` takes it. */
export function move(across, down, how) {
  const within = (place, list) => list[Math.max(0, Math.min(list.length - 1, place))];
  const from = rowOf(view.cursor);
  let target = within(view.list.indexOf(view.cursor) + across, view.list);
  if (down && from >= 0) target = within(rows[from].photos.indexOf(view.cursor), within(from + down, rows).photos);
  if (target) choose(target, how);
}

/** Return how many rows are in sight. */
export const sight = () => Math.max(1, Math.floor(grid.clientHeight / (cardHeight() + GAP)));
