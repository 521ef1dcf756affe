// Lists the endpoints of /openapi.json. Swagger UI and ReDoc, as FastAPI offers them, load scripts from public servers.
"use strict";

function element(tag, text, ...children) {
  const node = document.createElement(tag);
  node.textContent = text ?? "";
  node.append(...children);
  return node;
}

// The type of a schema in words, with the fields of an object as a list.
function described(schema, all) {
  if (schema.$ref) return described(all[schema.$ref.split("/").pop()], all);
  const kinds = (schema.anyOf ?? [schema]).map(({ $ref, type, format, items }) =>
    $ref ? $ref.split("/").pop() : type === "array" ? `array of ${items.$ref?.split("/").pop() ?? items.format ?? items.type}`
      : [type, format].filter(Boolean).join(", "));
  const node = element("span", [kinds.join(" or "), schema.description].filter(Boolean).join(": "));
  for (const option of [schema, schema.items, ...(schema.anyOf ?? [])]) {
    const inner = option?.$ref ? all[option.$ref.split("/").pop()] : option;
    if (!inner?.properties) continue;
    node.append(element("ul", "", ...Object.entries(inner.properties).map(([name, value]) =>
      element("li", "", element("code", name), " ", described(value, all)))));
  }
  return node;
}

function endpoint(path, method, operation, all) {
  const section = element("section", "", element("h2", `${method.toUpperCase()} ${path}`),
    element("p", operation.description ?? operation.summary));
  const inputs = (operation.parameters ?? []).map(({ name, in: where, schema }) =>
    element("li", "", element("code", name), ` (${where}) `, described(schema, all)));
  for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    inputs.push(element("li", `${type} `, described(schema, all)));
  }
  if (inputs.length) section.append(element("h3", "Request"), element("ul", "", ...inputs));
  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const item = element("li", `${status} ${description}`);
    for (const [type, { schema }] of Object.entries(content ?? {})) {
      if (status === "200") item.append(`, ${type} `, schema ? described(schema, all) : "");
    }
    return item;
  });
  section.append(element("h3", "Answers"), element("ul", "", ...answers));
  return section;
}

fetch("/openapi.json").then((response) => response.json()).then(({ paths, components }) => {
  document.getElementById("endpoints").replaceChildren(...Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => endpoint(path, method, operation, components.schemas))));
}).catch((error) => { document.getElementById("problem").textContent = `The description cannot be read: ${error.message}`; });
