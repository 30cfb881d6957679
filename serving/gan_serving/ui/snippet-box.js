/** The box that shows the call, in the language that was chosen, and copies it. */

import { $, announce, copy, tabs } from "./dom.js";
import { columnsOf, drawn, fromSeeds, seedsOf, way } from "./requests.js";
import { abridged, snippets } from "./snippets.js";

const COPIED = 1500; // milliseconds for which the button says so

export class Call {
  constructor() {
    this.kind = "curl";
    this.subject = null;
    this.select = tabs(document.querySelector(".call [role=tablist]"), $("call-text"), (kind) => {
      this.kind = kind;
      this.#render();
    });
    this.select("curl");
    $("call-copy").addEventListener("click", () => this.#copy());
  }

  /** Show the call of what is looked at on the sheet: the path, the image, or all; once its latents are there. */
  of({ recipes, state }, latents) {
    const { path, open } = state;
    const some = path ? path.map((place) => recipes[place]) : open !== null ? [recipes[open]] : recipes;
    if (!fromSeeds(some, state) && !latents.has(seedsOf(some), state.truncation)) return;
    const names = latents.model.class_names;
    const body = path ? way(some, state, latents, { loop: true }) : drawn(some, state, latents);
    const title = path ? "The call for this path" : open !== null ? `The call for image ${open + 1}` : "The call for this sheet";
    this.show({ body, path: Boolean(path), columns: some.length > 1 && !path ? columnsOf(state) : undefined, names }, title);
  }

  /** Show the call of a subject, as `snippets` takes it. */
  show(subject, title) {
    this.subject = subject;
    $("call-title").textContent = title;
    this.#render();
  }

  #render() {
    if (!this.subject) return;
    const text = snippets(this.subject)[this.kind];
    const short = abridged(text);
    $("call-text").textContent = short;
    const parts = [];
    if (short !== text) parts.push("Shown with … for numbers that are left out; all of them are copied.");
    if (this.subject.body.latents) parts.push("No seed alone gives this picture: the call carries the latents themselves.");
    $("call-hint").textContent = parts.join(" ");
  }

  async #copy() {
    const button = $("call-copy");
    try {
      await copy(snippets(this.subject)[this.kind]);
      button.textContent = "Copied";
      announce("Copied.");
    } catch (error) {
      button.textContent = "Not copied";
      announce(error.message);
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, COPIED);
  }
}
