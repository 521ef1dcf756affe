// The page: uploads one radiograph and shows the answers of the service. Text is set by textContent alone, so that
// nothing from a file or an answer becomes markup.
"use strict";

const $ = (id) => document.getElementById(id);
const percent = (p) => (p > 0.999 ? "over 99.9 %" : p < 0.001 ? "under 0.1 %" : `${(100 * p).toFixed(1)} %`);
const round = (proportion) => Math.round(100 * proportion);
const unbroken = (text) => text.replaceAll(" %", "\u00a0%");
let model = null;
let latest = 0; // number of the last upload; answers to earlier ones are not shown
let urls = []; // object URLs of the images on the page

function element(tag, text, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  node.textContent = text ?? "";
  return node;
}

async function request(path, file) {
  const headers = $("key").value ? { "X-API-Key": $("key").value } : {};
  const body = file && new FormData();
  if (file) body.append("file", file, "image"); // the file's own name may identify the patient
  const response = await fetch(path, { method: file ? "POST" : "GET", headers, body: body || undefined });
  if (response.ok) return response;
  const type = response.headers.get("Content-Type") ?? "";
  const problem = type.includes("json") ? await response.json() : {};
  if (response.status === 401) {
    $("access").hidden = false;
    $("access").open = true;
  }
  const wait = response.headers.get("Retry-After");
  throw new Error((problem.detail ?? problem.title ?? `The server answered with status ${response.status}.`)
    + (wait ? ` Try again in ${wait} s.` : ""));
}

async function showImage(image, path, file, upload) {
  const blob = await (await request(path, file)).blob();
  if (upload !== latest) return;
  const url = URL.createObjectURL(blob);
  urls.push(url);
  image.src = url;
  await image.decode();
}

function showProbabilities(answer) {
  const { threshold, positive } = answer.operating_point;
  $("decision").textContent = `Decision: ${answer.decision}`;
  $("rule").textContent = threshold == null ? "The most probable class is reported."
    : unbroken(`Classified as ${positive} at a probability of ${percent(threshold)} or more.`);
  $("bars").replaceChildren(...answer.predictions.map(({ label, confidence }) => {
    const row = element("li");
    const bar = element("progress", null, { value: confidence, max: 1, ariaLabel: label });
    row.append(element("span", label), bar, element("span", percent(confidence), { className: "value" }));
    return row;
  }));
  const two = model.classes.length === 2;
  $("unlike").hidden = !answer.unlike;
  $("unlike-reason").textContent = !answer.unlike ? "" : unbroken(
    `Reason: ${answer.unlike_reason}. The probabilities below need not hold for it. (Typicality `
    + `${answer.typicality.toFixed(3)}; that of ${round(model.typicality_limit)} % of the val images is below `
    + `${model.typicality_limit}.)`);
  const bin = answer.observed;
  $("observed").textContent = answer.unlike
    ? "Observed frequency not shown: test has hardly any images like this one."
    : !bin ? "" : unbroken(
    `Observed frequency of ${two ? model.classes[1] : "the most probable class"} in the ${bin.images} test radiographs `
    + `with the most similar probability (mean ${percent(bin.probability)}): ${round(bin.observed)} % `
    + `(95 % interval ${round(bin.low)} to ${round(bin.high)} %).`);
  const classes = Object.entries(model.prevalence ?? {}).slice(two ? 1 : 0);
  $("prevalence").textContent = !classes.length ? "" : unbroken("Assumes a prevalence of "
    + classes.map(([name, proportion]) => `${+(100 * proportion).toFixed(1)} % for ${name}`).join(", ") + ".");
}

async function showOverlay(file, answer, upload) {
  // The slider blends the two, which gives the map of every alpha between them.
  await showImage($("plain"), "/explain?alpha=0", file, upload);
  await showImage($("heat"), "/explain?alpha=1", file, upload);
  if (upload !== latest) return;
  $("explained").textContent = answer.decision;
  $("slider").hidden = $("heat").hidden = false;
}

async function showSimilar(file, upload) {
  const { cases, metric } = await (await request("/similar", file)).json();
  if (upload !== latest) return;
  $("cases").replaceChildren(...cases.map(({ label, row, split, thumbnail, value }) => {
    const item = element("li");
    const alt = `${label}, image ${row} of the ${split} split`;
    const text = `${metric === "cosine" ? "cosine similarity" : "distance"} ${value.toFixed(3)}`;
    item.append(element("img", null, { src: thumbnail, alt }), element("p", label),
      element("p", text, { className: "small" }));
    return item;
  }));
  $("similar-note").textContent = metric === "cosine"
    ? "By the classifier's embedding: a cosine similarity of 1 means identical embeddings up to their length."
    : "By the classifier's embedding: a distance of 0 means identical embeddings.";
  $("similar").hidden = false;
}

async function classify([file, ...others]) {
  const upload = ++latest;
  const names = others.map(({ name }) => name).join(", ");
  $("chosen").textContent = `File: ${file.name}`
    + (others.length ? `. One file is classified at a time; not classified: ${names}.` : "");
  for (const id of ["answer", "similar", "heat", "slider"]) $(id).hidden = true;
  for (const id of ["problem", "no-map"]) $(id).textContent = "";
  $("status").textContent = "Classifying …";
  urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  try {
    if (!model) await showModel();
    const answer = await (await request("/predict", file)).json();
    if (upload !== latest) return;
    showProbabilities(answer);
    $("answer").hidden = false;
    const [overlay, similar] = await Promise.allSettled([
      showOverlay(file, answer, upload), showSimilar(file, upload)]);
    if (upload !== latest) return;
    if (overlay.reason) $("no-map").textContent = `No class activation map: ${overlay.reason.message}`;
    if (similar.reason) {
      $("cases").replaceChildren();
      $("similar-note").textContent = `No similar images: ${similar.reason.message}`;
      $("similar").hidden = false;
    }
    $("status").textContent = "";
    $("answer-title").focus();
  } catch (error) {
    if (upload !== latest) return;
    $("status").textContent = "";
    $("problem").textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
  }
}

function version(whole) {
  // Long hashes are shown by their first digits; a click, or Enter, shows them whole.
  const short = whole.replace(/[0-9a-f]{16,}/g, (hash) => `${hash.slice(0, 12)}…`);
  const item = element("dd");
  if (short === whole) item.textContent = whole;
  else {
    const details = element("details", null, { title: whole });
    details.append(element("summary", short), element("span", whole));
    item.append(details);
  }
  return item;
}

async function showModel() {
  const about = await (await request("/metadata")).json();
  model = about;
  $("model-state").textContent = "";
  const rows = [["Model", about.model_name], ["Classes", about.classes.join(", ")],
    ["Version", version(about.model_version)]];
  for (const [name, value] of Object.entries(about.metrics_summary ?? {})) {
    rows.push([`Test ${name.replaceAll("_", " ").replace("auc", "AUC").replace("f1", "F1")}`,
      `${value.value.toFixed(3)} (95 % interval ${value.low.toFixed(3)} to ${value.high.toFixed(3)})`]);
  }
  $("model").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), value instanceof Node ? value : element("dd", value)]));
  $("limits").replaceChildren(...about.limits.map((limit) => element("li", limit)));
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) classify(target.files);
  target.value = ""; // so that the same file can be chosen again
});
$("alpha").addEventListener("input", ({ target }) => { $("heat").style.opacity = target.value / 100; });
$("heat").style.opacity = $("alpha").value / 100;
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault()); // or the browser would leave the page
}
for (const kind of ["dragenter", "dragover"]) $("drop").addEventListener(kind, () => $("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
window.addEventListener("drop", ({ dataTransfer }) => {
  if (dataTransfer.files.length) classify(dataTransfer.files);
});
showModel().catch((error) => { $("model-state").textContent = error.message; });
