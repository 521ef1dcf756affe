// The list of several files: a row for each, sorted by any column, and saved as CSV.
import { $, element, percent } from "/static/dom.js";

const NAMES = new Intl.Collator(undefined, { numeric: true });
let items = []; // { file, answer: of /analyse, error: a sentence }, in the order of the files
let sorted = { key: null, descending: false };
let model = null; // of /metadata
let shown = null;
let open = () => {};

// The class whose probability has a column: the second of two, or else the one that is decided for.
const ofTwo = () => (model.classes.length === 2 ? model.classes[1] : null);

function probability({ predictions, decision }) {
  return predictions.find(({ label }) => label === (ofTwo() ?? decision))?.confidence;
}

const VALUES = {
  name: ({ file }) => file.name,
  decision: ({ answer }) => answer?.prediction.decision,
  probability: ({ answer }) => answer && probability(answer.prediction),
  typicality: ({ answer }) => answer?.prediction.typicality,
};

// show: called with an item when its row is chosen.
export function startList(all, metadata, show) {
  [items, model, open, shown, sorted] = [all, metadata, show, null, { key: null, descending: false }];
  $("files").hidden = items.length < 2;
  $("save").disabled = true;
  document.querySelector('[data-key="probability"]').textContent = ofTwo() ? `Probability of ${ofTwo()}` : "Probability";
  draw();
}

export function updateList(chosen, finished) {
  shown = chosen;
  $("save").disabled = !finished;
  draw();
}

function ordered() {
  const value = VALUES[sorted.key];
  if (!value) return items;
  const compare = (a, b) => (typeof a === "string" ? NAMES.compare(a, b) : a - b) * (sorted.descending ? -1 : 1);
  // Those without the value, such as files that could not be read, stay at the end.
  return [...items].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x == null || y == null ? (x == null) - (y == null) : compare(x, y);
  });
}

function draw() {
  for (const button of document.querySelectorAll("#files thead button")) {
    const current = button.dataset.key === sorted.key;
    button.closest("th").ariaSort = !current ? null : sorted.descending ? "descending" : "ascending";
  }
  const focused = items.find(({ row }) => row?.contains(document.activeElement));
  $("rows").replaceChildren(...ordered().map((item) => (item.row = row(item))));
  focused?.row.querySelector("button")?.focus();
}

function row(item) {
  const { answer, error, file } = item;
  const name = answer ? element("button", file.name, { type: "button", onclick: () => open(item) }) : file.name;
  if (item === shown) name.ariaCurrent = "true";
  const cells = [element("th", null, { scope: "row", role: "rowheader" }, name)];
  if (!answer) {
    cells.push(element("td", error ?? "waiting", { colSpan: 3, role: "cell", className: error ? "error" : "" }));
  } else {
    const { decision, typicality, unlike } = answer.prediction;
    const p = VALUES.probability(item); // unknown for a decision that is not among the most probable classes
    cells.push(
      element("td", decision, { role: "cell" }, ...(unlike ? [element("span", "unlike the training images", { className: "mark" })] : [])),
      element("td", p == null ? "" : percent(p), { role: "cell", className: "value" }),
      element("td", typicality.toFixed(3), { role: "cell", className: "value" }));
  }
  return element("tr", null, { role: "row" }, ...cells);
}

// RFC 4180. A name that a spreadsheet would take for a formula gets an apostrophe before it.
function field(value) {
  const text = String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function toCsv() {
  const head = ["file", "decision", ...model.classes.map((name) => `p_${name}`), "typicality", "unlike", "unlike_reason",
    "model_sha256", "problem"];
  const lines = ordered().map(({ file, answer, error }) => {
    if (!answer) return [file.name, ...Array(head.length - 2).fill(""), error];
    const { decision, predictions, typicality, unlike, unlike_reason: reason, model_sha256: sha256 } = answer.prediction;
    const of = (name) => predictions.find(({ label }) => label === name)?.confidence;
    return [file.name, decision, ...model.classes.map(of), typicality, unlike, reason, sha256, ""];
  });
  return [head, ...lines].map((line) => `${line.map(field).join(",")}\r\n`).join("");
}

$("save").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  element("a", null, { href: url, download: "cxr.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});
$("files").querySelector("thead").addEventListener("click", ({ target }) => {
  const { key } = target.dataset;
  if (!key) return;
  sorted = { key, descending: sorted.key === key && !sorted.descending };
  draw();
});
