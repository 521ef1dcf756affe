// The page: one film in, what the service answers out. Text is set by textContent alone, so that nothing from a
// file or an answer becomes markup.
"use strict";

const $ = (id) => document.getElementById(id);
const percent = (p) => (p > 0.999 ? "over 99.9 %" : p < 0.001 ? "under 0.1 %" : `${(100 * p).toFixed(1)} %`);
let model = null;
let film = 0; // an answer to an earlier film than the last one is not shown
let shown = []; // object URLs of the pictures on the page

function element(tag, text, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.textContent = text ?? "";
  return made;
}

async function ask(path, file) {
  const headers = $("key").value ? { "X-API-Key": $("key").value } : {};
  const body = file && new FormData();
  if (file) body.append("file", file, "film"); // the file's own name may tell who the patient is
  const answer = await fetch(path, { method: file ? "POST" : "GET", headers, body: body || undefined });
  if (answer.ok) return answer;
  const type = answer.headers.get("Content-Type") ?? "";
  const problem = type.includes("json") ? await answer.json() : {};
  if (answer.status === 401) {
    $("access").hidden = false;
    $("access").open = true;
  }
  const wait = answer.headers.get("Retry-After");
  throw new Error((problem.detail ?? problem.title ?? `The server answered ${answer.status}.`)
    + (wait ? ` Try again in ${wait} s.` : ""));
}

async function picture(image, path, file, mine) {
  const blob = await (await ask(path, file)).blob();
  if (mine !== film) return;
  const url = URL.createObjectURL(blob);
  shown.push(url);
  image.src = url;
  await image.decode();
}

function showProbabilities(answer) {
  const { threshold, positive } = answer.operating_point;
  $("verdict").textContent = `Decision: ${answer.decision}`;
  $("rule").textContent = threshold == null ? "The most probable class is decided for."
    : `A film is called ${positive} from a probability of ${percent(threshold)} on.`;
  $("bars").replaceChildren(...answer.predictions.map(({ label, confidence }) => {
    const row = element("li");
    const bar = element("progress", null, { value: confidence, max: 1, ariaLabel: label });
    row.append(element("span", label), bar, element("span", percent(confidence), { className: "value" }));
    return row;
  }));
  const seen = answer.observed;
  const hundred = (share) => Math.round(100 * share);
  $("honest").textContent = !seen ? "" :
    `Of 100 films like this, about ${hundred(seen.found)} show ${model.classes[1]}; with 95 % confidence it is `
    + `${hundred(seen.low)} to ${hundred(seen.high)}. That is what ${seen.films} test films turned out to be whose `
    + `probability of ${model.classes[1]} was most like this one (${percent(seen.probability)} on average).`;
  $("refers").textContent = !model.prevalence ? "" : "This refers to a place where "
    + Object.entries(model.prevalence).map(([name, share]) => `${+(100 * share).toFixed(1)} % of films are ${name}`).join(" and ")
    + ".";
}

async function showOverlay(file, answer, mine) {
  await picture($("plain"), "/explain?opacity=0", file, mine);
  await picture($("heat"), "/explain?opacity=1", file, mine);
  if (mine !== film) return;
  $("explained").textContent = answer.decision;
  $("slider").hidden = $("heat").hidden = false;
}

async function showSimilar(file, mine) {
  const { cases, metric } = await (await ask("/similar", file)).json();
  if (mine !== film) return;
  $("cases").replaceChildren(...cases.map((each) => {
    const item = element("li");
    const alt = `${each.label}, film ${each.row} of ${each.split}`;
    const value = `${metric === "cosine" ? "cosine" : "distance"} ${each.value.toFixed(3)}`;
    item.append(element("img", null, { src: each.thumbnail, alt }), element("p", each.label),
      element("p", value, { className: "small" }));
    return item;
  }));
  $("similar-note").textContent = metric === "cosine"
    ? "A cosine of 1 means alike in all that the classifier looks at."
    : "A distance of 0 means alike in all that is compared.";
  $("similar").hidden = false;
}

async function classify(file) {
  const mine = ++film;
  for (const id of ["answer", "similar", "heat", "slider"]) $(id).hidden = true;
  for (const id of ["problem", "unseen"]) $(id).textContent = "";
  $("status").textContent = "Reading the film …";
  shown.splice(0).forEach((url) => URL.revokeObjectURL(url));
  try {
    if (!model) await showModel();
    const answer = await (await ask("/predict", file)).json();
    if (mine !== film) return;
    showProbabilities(answer);
    $("answer").hidden = false;
    const [overlay, similar] = await Promise.allSettled([
      showOverlay(file, answer, mine), showSimilar(file, mine)]);
    if (mine !== film) return;
    if (overlay.reason) $("unseen").textContent = `No overlay: ${overlay.reason.message}`;
    if (similar.reason) {
      $("cases").replaceChildren();
      $("similar-note").textContent = `No similar films: ${similar.reason.message}`;
      $("similar").hidden = false;
    }
    $("status").textContent = "";
    $("answer-title").focus();
  } catch (error) {
    if (mine !== film) return;
    $("status").textContent = "";
    $("problem").textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
  }
}

async function showModel() {
  const about = await (await ask("/metadata")).json();
  model = about;
  $("model-state").textContent = "";
  const rows = [["Model", `${about.model_name}, ${about.model_version}`], ["Classes", about.classes.join(", ")]];
  for (const [name, value] of Object.entries(about.metrics_summary ?? {})) {
    rows.push([`Test ${name.replaceAll("_", " ").replace("auc", "AUC")}`,
      `${value.value.toFixed(3)} (95 % interval ${value.low.toFixed(3)} to ${value.high.toFixed(3)})`]);
  }
  $("model").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("limits").replaceChildren(...about.limits.map((limit) => element("li", limit)));
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) classify(target.files[0]);
  target.value = ""; // so that the same film can be picked again
});
$("opacity").addEventListener("input", ({ target }) => { $("heat").style.opacity = target.value / 100; });
$("heat").style.opacity = $("opacity").value / 100;
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault()); // or the browser would leave the page
}
for (const kind of ["dragenter", "dragover"]) $("drop").addEventListener(kind, () => $("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
window.addEventListener("drop", ({ dataTransfer }) => {
  if (dataTransfer.files.length) classify(dataTransfer.files[0]);
});
showModel().catch((error) => { $("model-state").textContent = error.message; });
