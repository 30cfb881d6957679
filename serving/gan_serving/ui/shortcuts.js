/** Keys that work wherever nothing is being typed. */

import { $ } from "./dom.js";

/** @param {{close: () => void, r: () => void, l: () => void}} acts what Escape, R and L do */
export function wireShortcuts({ close, ...acts }) {
  const all = { ...acts, "/": () => $("seed").select(), "?": () => $("help").showModal() };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") close();
    const act = all[event.key.toLowerCase()];
    if (!act || event.target.closest("input:not([type=range]), select, textarea")) return;
    event.preventDefault();
    act();
  });
}
