/** The address follows the state. */

import { toFragment } from "./state.js";

const WAIT = 150; // milliseconds: browsers refuse addresses that change too often
let timer = 0;

/** Write the state behind '#'; with `push`, as a new entry of the history. */
export function writeAddress(state, push) {
  clearTimeout(timer);
  timer = 0;
  const address = `#${toFragment(state)}`;
  if (address !== location.hash) history[push ? "pushState" : "replaceState"](null, "", address);
}

/** The same in a moment. */
export function writeAddressSoon(current) {
  clearTimeout(timer);
  timer = setTimeout(() => writeAddress(current(), false), WAIT);
}

/** Whether it has yet to be written. */
export function isAddressDue() {
  return Boolean(timer);
}
