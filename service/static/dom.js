// Small functions that the parts of the page share. Text is set by textContent alone, so that nothing from a file or an
// answer becomes markup.

export const $ = (id) => document.getElementById(id);
export const percent = (p) => (p > 0.999 ? "over 99.9 %" : p < 0.001 ? "under 0.1 %" : `${(100 * p).toFixed(1)} %`);
export const unbroken = (text) => text.replaceAll(" %", "\u00a0%");

export function element(tag, text, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.textContent = text ?? "";
  node.append(...children);
  return node;
}

// A text in which long hashes are shown by their first digits; a click, or Enter, shows them whole.
export function shortened(whole) {
  const short = whole.replace(/[0-9a-f]{16,}/g, (hash) => `${hash.slice(0, 12)}…`);
  if (short === whole) return whole;
  return element("details", null, { title: whole }, element("summary", short), element("span", whole));
}
