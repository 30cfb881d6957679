/** The panel beside the sheet: an image that is looked at, or the way between two. */

import { showDetail } from "./detail.js";
import { $ } from "./dom.js";
import { showPath } from "./path.js";
import { labelOf } from "./requests.js";

export class Panel {
  /**
   * @param {{change, guard, act}} page what changes the state, does what may fail, and is done with images
   * @param {() => void} onFrames is told when the frames of a way are there
   */
  constructor(page, onFrames) {
    this.page = page;
    this.onFrames = onFrames;
    this.key = "";
    this.stop = () => {};
  }

  /** Show what `shown`, which the sheet shows, has open. */
  show(shown, latents, model) {
    const { open, path } = shown.state;
    const key = keyOf(shown, latents);
    if (!key) return this.hide(); // also what another model left, whose key is empty too
    if (key === this.key) return;
    this.stop();
    this.stop = () => {};
    this.key = key;
    Object.assign($("panel"), { hidden: false, inert: false });
    const focused = $("panel-body").contains(document.activeElement) ? document.activeElement.id : "";
    const view = { ...this.page, state: { ...shown.state }, images: shown.images, latents, model };
    if (path) {
      $("panel-title").textContent = `From image ${path[0] + 1} to image ${path[1] + 1}`;
      this.stop = showPath($("panel-body"), { ...view, recipes: path.map((place) => shown.recipes[place]), ready: this.onFrames });
    } else {
      $("panel-title").textContent = `Image ${open + 1}`;
      showDetail($("panel-body"), { ...view, place: open, recipe: shown.recipes[open] });
    }
    if (focused) $(focused)?.focus(); // on what has taken its place
  }

  /** What has changed is in the panel already. */
  keep(shown, latents) {
    this.key = keyOf(shown, latents);
  }

  /** What stands there is another model's, until it is shown anew. */
  stale() {
    this.key = "";
    $("panel").inert = true;
  }

  hide() {
    this.stop();
    this.stop = () => {};
    this.key = "";
    $("panel").hidden = true;
    $("panel-body").replaceChildren();
  }
}

/** All that decides what the panel shows; "" for nothing. */
function keyOf({ key, state, recipes }, latents) {
  const { open, path, steps, alike } = state;
  if (open === null && path === null) return "";
  const label = open === null ? null : labelOf(recipes[open], state, latents);
  return JSON.stringify([key, open, path, path && steps, alike, label]);
}
