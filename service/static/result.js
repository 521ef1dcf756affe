// The answer about one radiograph.
import { $, element, percent, unbroken } from "/static/dom.js";

const round = (proportion) => Math.round(100 * proportion);

// analysis: of /analyse. model: of /metadata.
export function showResult({ prediction, radiograph, model_input, map, similar, problems }, model) {
  showProbabilities(prediction, model);
  $("plain").src = radiograph;
  $("centre").value = 128;
  $("width").value = 255;
  drawWindow();
  $("seen").src = model_input;
  $("seen-size").textContent = `: ${model.input_size}\u00a0×\u00a0${model.input_size} pixels`;
  $("heat").src = map?.image ?? "";
  $("explained").textContent = map?.label ?? "";
  $("slider").hidden = $("heat").hidden = !map;
  $("no-map").textContent = map ? "" : `No class activation map: ${detail(problems, "no-maps")}`;
  showSimilar(similar, detail(problems, "no-cases"));
  $("answer").hidden = false;
}

function detail(problems, name) {
  return problems.find(({ type }) => type.endsWith(`:${name}`))?.detail ?? "";
}

function showProbabilities(answer, model) {
  const { threshold, positive } = answer.operating_point;
  $("decision").textContent = `Decision: ${answer.decision}`;
  $("rule").textContent = threshold == null ? "The most probable class is reported."
    : unbroken(`Classified as ${positive} at a probability of ${percent(threshold)} or more.`);
  $("bars").replaceChildren(...answer.predictions.map(({ label, confidence }) => element("li", null, {},
    element("span", label),
    element("progress", null, { value: confidence, max: 1, ariaLabel: label }),
    element("span", percent(confidence), { className: "value" }))));
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

function showSimilar(similar, reason) {
  const cosine = similar?.metric === "cosine";
  $("cases").replaceChildren(...(similar?.cases ?? []).map(({ label, row, split, thumbnail, value }) => element("li", null, {},
    enlargeable(thumbnail, `${label}, image ${row} of the ${split} split`),
    element("p", label),
    element("p", `${cosine ? "cosine similarity" : "distance"} ${value.toFixed(3)}`, { className: "small" }))));
  $("similar-note").textContent = !similar ? `No similar images: ${reason}`
    : cosine ? "By the classifier's embedding: a cosine similarity of 1 means identical embeddings up to their length."
      : "By the classifier's embedding: a distance of 0 means identical embeddings.";
}

// The image of a case as the data set has it, which may be larger than its place in the list.
function enlargeable(src, alt) {
  const image = element("img", null, { src, alt });
  const size = () => `${image.naturalWidth}\u00a0×\u00a0${image.naturalHeight} pixels`;
  const enlarge = () => enlarged(`${alt}: ${size()}`, element("img", null, { src, alt, className: "case" }));
  return element("button", null, { type: "button", title: "Enlarge", onclick: enlarge }, image);
}

function enlarged(title, node) {
  $("large-title").textContent = title;
  $("large").append(node);
  $("large").showModal();
}

// Maps grey levels linearly, as a DICOM window does (PS3.3, C.11.2.1.2).
function drawWindow() {
  const [centre, width] = [Number($("centre").value), Number($("width").value)];
  for (const part of $("levels").querySelectorAll("[type=linear]")) {
    part.setAttribute("slope", 255 / width);
    part.setAttribute("intercept", 0.5 - centre / width);
  }
  $("plain").style.filter = width === 255 && centre === 128 ? "" : "url(#levels)";
}

$("enlarge").addEventListener("click", () => enlarged("The radiograph, cropped to its centre square", $("stack")));
$("large").addEventListener("close", () => {
  $("place").append($("stack"));
  $("large").querySelector(".case")?.remove();
});
for (const id of ["centre", "width"]) $(id).addEventListener("input", drawWindow);
$("alpha").addEventListener("input", ({ target }) => { $("heat").style.opacity = target.value / 100; });
$("heat").style.opacity = $("alpha").value / 100;
