/** Errors and news, in words, on the page. The latest error is shown; when it is settled, what stood before comes again. */

import { $ } from "./dom.js";

export const SHEET = "sheet"; // images don't come
export const OTHER = "other";
export const NEWS = "news"; // no error

const MOST = 3; // times in a row that a call is repeated when the service is back: it may be what makes it go away

const standing = new Map(); // which -> {error, retry, button, due}, the latest last
let timer = 0;
let repeated = 0; // times in a row

/**
 * Say what went wrong. Where the service says when to come again, it is tried then.
 *
 * @param {Error & {code?: string, requestId?: string, retryAfter?: number}} error
 * @param {{which?: string, retry?: (() => void) | null, button?: string}} how SHEET, OTHER or NEWS, each of which replaces
 *   its like alone; what tries it again, and what its button says
 */
export function notice(error, { which = OTHER, retry = null, button = "Try again" } = {}) {
  standing.delete(which);
  const due = retry && error.retryAfter ? performance.now() + 1000 * error.retryAfter : Infinity;
  standing.set(which, { error, retry, button, due });
  show();
}

/** Take back what was said of these; of all without any. */
export function hideNotice(...which) {
  repeated = 0;
  hide(which.length ? which : [...standing.keys()]);
}

function hide(which) {
  for (const each of which) standing.delete(each);
  show();
}

function show() {
  clearTimeout(timer);
  const all = [...standing.values()];
  $("notice").hidden = !all.length;
  if (!all.length) return;
  const { error, button } = standing.get(seen());
  const due = Math.min(...all.map((each) => each.due));
  const wait = Math.ceil((due - performance.now()) / 1000);
  if (wait <= 0) return tryAgain();
  const facts = [error.code, error.requestId && `request ${error.requestId}`, due < Infinity && `again in ${wait} s`];
  if ($("notice-text").textContent !== error.message) $("notice-text").textContent = error.message; // is said aloud once
  $("notice-more").textContent = facts.filter(Boolean).join(" · ");
  $("notice").classList.toggle("news", seen() === NEWS);
  $("notice-retry").textContent = button;
  $("notice-retry").hidden = !all.some(({ retry }) => retry);
  if (due < Infinity) timer = setTimeout(show, 1000);
}

function seen() {
  return [...standing.keys()].sort((a, b) => (b === NEWS) - (a === NEWS)).at(-1);
}

/** What failed because the service was away, and can be tried again; after some times in a row only a click does. */
export function tryLost() {
  if (repeated < MOST) repeated += tryAgain(({ error }) => error.away);
}

/** All that failed and can be tried again, or those that fit, in the order in which it failed. Returns whether any did. */
function tryAgain(fits = () => true) {
  const all = [...standing.entries()].filter(([, each]) => each.retry && fits(each));
  hide(all.map(([which]) => which));
  for (const [, { retry }] of all) retry();
  return all.length > 0;
}

$("notice-retry").addEventListener("click", () => {
  repeated = 0;
  tryAgain();
});
$("notice-close").addEventListener("click", () => hideNotice(seen()));
