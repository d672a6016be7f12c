/** The CSV: the columns of `fashion predict`, and what was decided. */
import { facts } from "./store.js";

const DECIDED = ["final_label", "decision", "decided_at", "model"];

/** Return photos as CSV; for Excel with a mark of UTF-8, separators and decimals as the locale has them. */
export function csvOf(photos, excel = false, locale = navigator.language) {
  const decimal = excel ? Intl.NumberFormat(locale).format(0.5)[1] : ".";
  const separator = decimal === "," ? ";" : ",";
  const places = Math.min(5, facts.model?.classes?.length ?? 5);
  const [hasVerdict, hasNames] = [typeof facts.model?.threshold === "number" || photos.some((photo) => photo.sure != null), photos.some((photo) => photo.product)];
  const likeliest = Array.from({ length: places }, (_, i) => [`label_${i + 1}`, `probability_${i + 1}`]).flat();
  const attributes = Object.keys(facts.model?.attributes ?? {});
  const others = (facts.model?.attribute_columns ?? []).flat();
  const pair = (each) => (each ? [mark(each.label), each.probability.toFixed(6).replace(".", decimal)] : ["", ""]);
  const rows = photos.map((photo) => {
    const { labels = [], decision, error = photo.state === "waiting" ? "not labelled yet" : "" } = photo;
    const cells = Array.from({ length: places }, (_, i) => labels[i]).flatMap(pair);
    const values = attributes.flatMap((name) => pair(photo.attributes?.[name]));
    const [sure, used] = [photo.sure, photo.name_used].map((is) => (labels.length ? (is ? "yes" : "no") : ""));
    const final = decision ? decision.label : photo.sure && labels[0]?.label;
    const verdict = [mark(final || ""), decision?.kind ?? "", decision?.at ?? "", mark(photo.model ?? "")];
    return [mark(photo.name), ...cells, ...(hasVerdict ? [sure] : []), ...(hasNames ? [used] : []), ...values, mark(error), ...verdict];
  });
  const lines = [["photo", ...likeliest, ...(hasVerdict ? ["sure"] : []), ...(hasNames ? ["name_used"] : []), ...others, "error", ...DECIDED], ...rows];
  const quoted = (cell) => (/[",;\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return (excel ? "\ufeff" : "") + lines.map((cells) => `${cells.map(quoted).join(separator)}\r\n`).join("");
}

/** Return a cell such that no spreadsheet computes it. */
const mark = (cell) => (/^[=+\-@\t\r']/.test(cell) ? `'${cell}` : cell);

/** Have the browser save a text as a file. */
export function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
