/** Errors, in words, on the page. */

import { $ } from "./dom.js";

let again = null; // what tries it again
let timer = 0;

/**
 * Say what went wrong. Where the service says when to come again, it is tried then.
 *
 * @param {Error & {code?: string, requestId?: string, retryAfter?: number}} error
 * @param {(() => void) | null} retry
 */
export function notice(error, retry = null) {
  clearTimeout(timer);
  again = retry;
  $("notice-text").textContent = error.message;
  const facts = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean);
  $("notice-more").textContent = facts.join(" · ");
  $("notice-retry").hidden = !retry;
  $("notice").hidden = false;
  if (retry && error.retryAfter) countDown(error.retryAfter, facts);
}

function countDown(seconds, facts) {
  $("notice-more").textContent = [...facts, `again in ${seconds} s`].join(" · ");
  timer = setTimeout(() => (seconds > 1 ? countDown(seconds - 1, facts) : tryAgain()), 1000);
}

export function hideNotice() {
  clearTimeout(timer);
  $("notice").hidden = true;
}

function tryAgain() {
  hideNotice();
  again?.();
}

$("notice-retry").addEventListener("click", tryAgain);
$("notice-close").addEventListener("click", hideNotice);
