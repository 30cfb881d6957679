/** What a person does with the images of the sheet: look closer, lock, more like one, the way from one to another. */

import { CallError } from "./api.js";
import { likeThis } from "./detail.js";
import { $, announce } from "./dom.js";
import { labelOf, seedsOf } from "./requests.js";
import { MAX_CHAIN, countFor } from "./state.js";

export class Acts {
  /**
   * @param {{now: () => {state, shown, latents}, sheet: () => object, change, follow, guard, notice}} page the state, what
   *   the sheet shows and the latents as they are now; the sheet; what changes the state, marks the sheet anew, and does
   *   what may fail
   */
  constructor(page) {
    this.page = page;
    this.from = null; // place at which a path is to begin
    this.labelsBefore = []; // the classes that were chosen before neighbours were shown
  }

  /** For another model: nothing of what was begun holds. */
  forget() {
    this.from = null;
    this.labelsBefore = [];
  }

  open(place) {
    if (this.from !== null) return this.path(place);
    this.page.change({ open: place, path: null }, true);
    $("panel").focus();
  }

  close() {
    const { state } = this.page.now();
    const place = state.path?.[1] ?? state.open;
    this.from = null;
    this.page.change({ open: null, path: null }, true);
    if (place !== null) this.page.sheet().focus(place);
  }

  lock(place) {
    const { state, shown } = this.page.now();
    const { [place]: locked, ...others } = state.locks;
    const seed = shown.recipes[place].chain.at(-1).seed;
    if (locked === undefined && state.centre && place === 0) return announce("The first image stays anyway: the others are like it.");
    this.page.change({ locks: locked === undefined ? { ...state.locks, [place]: seed } : others });
    announce(`Image ${place + 1} ${locked === undefined ? "is locked: it stays when others are drawn" : "is free"}.`);
  }

  like(place, open = null) {
    const { guard, change, notice, now, sheet } = this.page;
    const { shown, latents } = now();
    const recipe = shown.recipes[place];
    if (recipe.chain.length >= MAX_CHAIN) return notice(new CallError(`After ${MAX_CHAIN} steps from one image to the next, begin anew from a seed.`));
    guard(async () => {
      await latents.fetch(seedsOf([recipe]), shown.state.truncation);
      const { state } = now();
      if (!state.centre) this.labelsBefore = state.labels;
      const n = Math.min(latents.model.max_n, open === null ? state.n : countFor(state.n, open));
      change(likeThis(recipe, labelOf(recipe, shown.state, latents), open, n), true);
      sheet().focus(open ?? 0);
    });
  }

  /** From neighbours to free seeds, with the classes that were chosen before. */
  back() {
    this.page.change({ centre: null, labels: this.labelsBefore, locks: {}, open: null, path: null }, true);
  }

  pathFrom(place) {
    this.from = place;
    this.page.change({ open: null, path: null });
    this.page.sheet().focus(place);
    const text = `Now choose the image to which the path goes from image ${place + 1}. Escape gives it up.`;
    $("pointed").textContent = text;
    announce(text);
  }

  /** The first time a path begins at an image, the second time it ends there. */
  path(place) {
    const begun = this.from;
    if (begun === null || begun >= this.page.now().state.n) return this.pathFrom(place);
    this.from = null;
    if (begun !== place) this.way(begun, place);
    else this.page.follow();
  }

  way(a, b) {
    this.page.change({ path: [a, b], open: null }, true);
    $("panel").focus();
  }
}
