// The page: uploads radiographs, one after the other, and shows the answers of the service.
import { $, element, shortened } from "/static/dom.js";
import { startList, updateList } from "/static/list.js";
import { showResult } from "/static/result.js";

const ATTEMPTS = 5; // to have a file classified by a service at capacity
let model = null;
let latest = 0; // number of the last upload; answers to earlier ones are not shown

class Failure extends Error {
  // wait: seconds after which there will be room, 0 if that is not the reason.
  constructor(message, status, wait) {
    super(message + (wait ? ` Try again in ${wait} s.` : ""));
    this.status = status;
    this.wait = wait;
  }
}

async function request(path, file) {
  const headers = $("key").value ? { "X-API-Key": $("key").value } : {};
  const body = file && new FormData();
  if (file) body.append("file", file, "image"); // the file's own name may identify the patient
  const response = await fetch(path, { method: file ? "POST" : "GET", headers, body: body || undefined })
    .catch(() => { throw new Failure("The server cannot be reached."); });
  if (response.ok) return response;
  const type = response.headers.get("Content-Type") ?? "";
  const problem = type.includes("json") ? await response.json() : {};
  if (response.status === 401) {
    $("access").hidden = false;
    $("access").open = true;
  }
  const message = problem.detail ?? problem.title ?? `The server answered with status ${response.status}.`;
  throw new Failure(message, response.status, Number(response.headers.get("Retry-After")));
}

async function analyse(file, upload) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await (await request("/analyse", file)).json();
    } catch (error) {
      if (!error.wait || attempt === ATTEMPTS || upload !== latest) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 1000 * error.wait); });
    }
  }
}

async function classify(files) {
  const upload = ++latest;
  const items = [...files].map((file) => ({ file }));
  const several = items.length > 1;
  let shown = null;
  const show = (item) => {
    shown = item;
    $("chosen").textContent = several ? "" : `File: ${item.file.name}`;
    $("answer-title").textContent = several ? `Result: ${item.file.name}` : "Result";
    showResult(item.answer, model);
  };
  $("answer").hidden = $("files").hidden = true;
  $("problem").textContent = "";
  $("chosen").textContent = several ? "" : `File: ${items[0].file.name}`;
  $("status").textContent = "Classifying …";
  try {
    if (!model) await showModel();
    if (upload !== latest) return;
    startList(items, model, (item) => {
      show(item);
      updateList(item, !$("save").disabled);
      $("answer-title").focus();
    });
    if (several) $("files-title").focus();
    for (const [number, item] of items.entries()) {
      if (several) $("status").textContent = `Classifying file ${number + 1} of ${items.length} …`;
      try {
        const answer = await analyse(item.file, upload);
        if (upload !== latest) return;
        item.answer = answer;
        if (!shown) show(item);
      } catch (error) {
        if (upload !== latest) return;
        // The other files would have the same problem.
        if (!several || !error.status || error.status === 401) throw error;
        item.error = error.message;
      }
      updateList(shown, number === items.length - 1);
    }
    const failed = items.filter(({ error }) => error).length;
    $("status").textContent = !several ? "" : `${items.length - failed} of ${items.length} files classified.`;
    if (!several) $("answer-title").focus();
  } catch (error) {
    if (upload !== latest) return;
    for (const item of items) if (!item.answer) item.error ??= "not classified";
    if (several && model) updateList(shown, true);
    $("status").textContent = "";
    $("problem").textContent = error.message;
  }
}

async function showModel() {
  const about = await (await request("/metadata")).json();
  model = about;
  $("model-state").textContent = "";
  const rows = [["Model", about.model_name], ["Classes", about.classes.join(", ")],
    ["Version", shortened(about.model_version)]];
  for (const [name, value] of Object.entries(about.metrics_summary ?? {})) {
    if (name === "accuracy_at_one_half" && about.operating_point.threshold === 0.5) continue; // is the accuracy
    rows.push([`Test ${name.replaceAll("_", " ").replace("auc", "AUC").replace("f1", "F1")}`,
      `${value.value.toFixed(3)} (95 % interval ${value.low.toFixed(3)} to ${value.high.toFixed(3)})`]);
  }
  $("model").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", null, {}, value)]));
  $("limits").replaceChildren(...about.limits.map((limit) => element("li", limit)));
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) classify(target.files);
  target.value = ""; // so that the same file can be chosen again
});
$("form").addEventListener("submit", (event) => event.preventDefault());
$("card").addEventListener("click", async (event) => {
  if (!$("key").value) return;
  event.preventDefault(); // a link cannot send the key
  try {
    window.open(URL.createObjectURL(await (await request("/card")).blob()));
  } catch (error) {
    $("problem").textContent = error.message;
  }
});
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault()); // or the browser would leave the page
}
for (const kind of ["dragenter", "dragover"]) $("drop").addEventListener(kind, () => $("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
window.addEventListener("drop", ({ dataTransfer }) => {
  if (dataTransfer.files.length) classify(dataTransfer.files);
});
showModel().catch((error) => { $("model-state").textContent = error.message; });
