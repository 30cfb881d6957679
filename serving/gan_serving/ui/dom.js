/** Small tools for the page. */

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A new element: properties, then children (nodes or text; null and false are left out). */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in made && name !== "list" && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Tell screen readers, in words. */
export function announce(text) {
  $("status").textContent = text;
}

/** Draw pixels, uint8 of (height, width, channels) from `offset` on, into a canvas of that size. */
export function paint(canvas, images, index) {
  const { width, height, channels, data } = images;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const out = picture.data;
  let from = index * width * height * channels;
  for (let to = 0; to < out.length; to += 4) {
    out[to] = data[from];
    out[to + 1] = data[channels === 1 ? from : from + 1];
    out[to + 2] = data[channels === 1 ? from : from + 2];
    out[to + 3] = 255;
    from += channels;
  }
  context.putImageData(picture, 0, 0);
}

/** Hand a blob to the person as a file. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Put text on the clipboard; also on pages without TLS, where browsers have no clipboard interface. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = el("textarea", { value: text, className: "hidden-text", ariaLabel: "to be copied" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("this browser lets no page copy; select the text instead");
}

/** A tab list: arrows move, one tab is in the tab order (WAI-ARIA practices). Returns a function that selects one. */
export function tabs(list, panel, onSelect) {
  const all = [...list.querySelectorAll("[role=tab]")];
  function select(kind, { focus = false } = {}) {
    for (const tab of all) {
      const chosen = tab.dataset.kind === kind;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) {
        panel.setAttribute("aria-labelledby", tab.id);
        if (focus) tab.focus();
      }
    }
    onSelect(kind);
  }
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) select(tab.dataset.kind);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = all.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
    select(all[(at + step + all.length) % all.length].dataset.kind, { focus: true });
    event.preventDefault();
  });
  return select;
}

/** A number with thin spaces between thousands, and few digits when it is small. */
export function figure(value, digits = 0) {
  if (value === null || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: value !== 0 && Math.abs(value) < 10 ? Math.max(digits, 1) : digits });
}
