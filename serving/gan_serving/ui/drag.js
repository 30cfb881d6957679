/** Dragging from one image to another. With a finger, after it has rested on the first one, so that pages scroll. */

const FAR = 6; // pixels from which on a press is a drag
const REST = 300; // milliseconds that a finger has to rest
const SVG = "http://www.w3.org/2000/svg";

/** Calls `onDrop(from, to)`, with places of two images. */
export function draggable(sheet, onDrop) {
  const { root } = sheet;
  let from = null;
  let start = null;
  let dragging = false;
  let timer = 0;
  let line = null;
  let target = null;

  function begin() {
    dragging = true;
    root.classList.add("dragging");
    line = document.createElementNS(SVG, "svg");
    line.setAttribute("class", "drag-line");
    line.setAttribute("aria-hidden", "true");
    line.append(document.createElementNS(SVG, "line"), document.createElementNS(SVG, "circle"));
    document.body.append(line);
  }

  function end() {
    clearTimeout(timer);
    if (target !== null) sheet.tiles[target]?.classList.remove("target");
    line?.remove();
    root.classList.remove("dragging");
    from = start = line = target = null;
    dragging = false;
  }

  root.addEventListener("pointerdown", (event) => {
    const place = sheet.placeOf(event.target);
    if (place === null || event.button !== 0 || !event.isPrimary) return;
    from = place;
    start = { x: event.clientX, y: event.clientY };
    if (event.pointerType === "touch") timer = setTimeout(begin, REST);
  });
  addEventListener("pointermove", (event) => {
    if (from === null || !event.isPrimary) return;
    const far = Math.hypot(event.clientX - start.x, event.clientY - start.y) > FAR;
    if (!dragging && far) {
      if (event.pointerType === "touch") return end();
      begin();
    }
    if (!dragging) return;
    const box = sheet.tiles[from].getBoundingClientRect();
    const [segment, dot] = line.children;
    const centre = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    set(segment, { x1: centre.x, y1: centre.y, x2: event.clientX, y2: event.clientY });
    set(dot, { cx: event.clientX, cy: event.clientY, r: 5 });
    const over = sheet.placeOf(document.elementFromPoint(event.clientX, event.clientY));
    if (over === target) return;
    if (target !== null) sheet.tiles[target]?.classList.remove("target");
    target = over === from ? null : over;
    if (target !== null) sheet.tiles[target].classList.add("target");
  });
  addEventListener("pointerup", () => {
    const [a, b] = [from, target];
    const dragged = dragging;
    end();
    if (!dragged) return;
    // The press ends in a click, which would open an image.
    addEventListener("click", swallow, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", swallow, { capture: true }), 50);
    if (b !== null) onDrop(a, b);
  });
  addEventListener("pointercancel", end);
  addEventListener("keydown", (event) => event.key === "Escape" && end());
  root.addEventListener("touchmove", (event) => dragging && event.preventDefault(), { passive: false });
  root.addEventListener("contextmenu", (event) => dragging && event.preventDefault());
  root.addEventListener("dragstart", (event) => event.preventDefault());
}

function swallow(event) {
  event.stopPropagation();
  event.preventDefault();
}

function set(shape, values) {
  for (const [name, value] of Object.entries(values)) shape.setAttribute(name, value);
}
