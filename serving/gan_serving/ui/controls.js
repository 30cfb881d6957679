/** The controls on the left: they show the state, and say what is to change. */

import { $, announce, el } from "./dom.js";
import { COUNTS, SEED_LIMIT, randomSeed, withCount } from "./state.js";

const UNCUT = 3.1; // the slider's last place: no truncation
const REACH = 0.75; // of a latent's usual length: how far a direction's slider goes

export class Controls {
  /**
   * @param {(patch: object, push?: boolean) => void} change
   * @param {{current: () => object, prepare: () => void, back: () => void}} page the state, what a slider will soon need,
   *   and what leads from neighbours back to free seeds
   */
  constructor(change, page) {
    this.change = change;
    this.page = page;
    this.model = null;
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("seed").addEventListener("change", () => this.#seed());
    $("seed").addEventListener("keydown", (event) => event.key === "Enter" && this.#seed());
    $("hold").addEventListener("click", () => this.toggleHold());
    $("reroll").addEventListener("click", () => this.reroll());
    $("n").addEventListener("change", () => change(withCount(page.current(), Number($("n").value)), true));
    $("chips").addEventListener("click", (event) => this.#chip(event));
    $("classes-all").addEventListener("click", () => change({ labels: this.model.class_names.map((_, id) => id) }, true));
    $("classes-none").addEventListener("click", () => change({ labels: [] }, true));
    $("truncation").addEventListener("input", () => {
      const value = Number($("truncation").value);
      change({ truncation: value >= UNCUT ? null : value });
    });
    $("directions").addEventListener("input", (event) => this.#direction(event.target));
    $("directions").addEventListener("pointerover", () => page.prepare(), { once: true });
    $("directions").addEventListener("focusin", () => page.prepare());
    $("directions-reset").addEventListener("click", () => {
      change({ offsets: [] }, true);
      $("directions").querySelector("input").focus(); // the button is gone
    });
    $("alike").addEventListener("input", () => change({ alike: Number($("alike").value) }));
    $("back").addEventListener("click", () => {
      page.back();
      $("seed").focus(); // the button is gone
    });
  }

  /** Draw other images, but for the locked ones. */
  reroll() {
    if (this.page.current().hold) {
      announce("The seed is kept. Press L away from the images, or the lock beside the seed, to let it go.");
      return;
    }
    this.change({ seed: randomSeed() }, true);
  }

  toggleHold() {
    const hold = !this.page.current().hold;
    this.change({ hold });
    announce(hold ? "The seed is kept." : "The seed is free.");
  }

  /** For another model: its classes and directions. */
  setModel(model) {
    this.model = model;
    const names = model.class_names;
    $("classes").hidden = !names;
    $("chips").replaceChildren(
      ...(names ?? []).map((name, id) => {
        const chip = el("button", { type: "button", className: "chip" }, name);
        chip.dataset.label = id;
        return chip;
      }),
    );
    const normal = model.latent.distribution === "normal";
    $("truncation").disabled = !normal;
    const directions = model.directions ?? [];
    const length = Math.sqrt(model.latent.dim / (normal ? 1 : 3));
    const reach = Math.max(1, Math.round(REACH * length));
    $("directions-hint").textContent = directions.length
      ? "Ways of changing the latent to which the generator's first layer answers most."
      : "This generator has none: no first layer was found to take them from when it was exported.";
    $("directions").replaceChildren(
      ...directions.map((_, i) => {
        const value = el("span", { className: "value" });
        const range = el("input", { type: "range", min: -reach, max: reach, step: reach / 40, ariaLabel: `Direction ${i + 1}` });
        range.dataset.direction = i;
        return el("label", { className: "slider" }, el("span", {}, String(i + 1)), value, range);
      }),
    );
  }

  /** Show the state. */
  render(state) {
    if (document.activeElement !== $("seed") || isNumber($("seed").value)) $("seed").value = state.seed;
    this.#seedProblem("");
    $("seed-hint").textContent = this.#seedHint(state);
    $("hold").setAttribute("aria-pressed", String(state.hold));
    $("reroll").setAttribute("aria-disabled", String(state.hold));
    const counts = [...new Set([...COUNTS.filter((n) => n <= (this.model?.max_n ?? 0)), state.n])].sort((a, b) => a - b);
    $("n").replaceChildren(...counts.map((n) => el("option", { value: n, selected: n === state.n }, String(n))));
    for (const chip of $("chips").children) {
      chip.setAttribute("aria-pressed", String(state.labels.includes(Number(chip.dataset.label))));
    }
    $("classes-hint").textContent =
      state.labels.length === 0 ? "None chosen: each seed draws its own." : state.labels.length > 1 ? "Gone through in turn." : "";
    this.#truncation(state);
    for (const range of $("directions").querySelectorAll("input")) {
      const offset = state.offsets[range.dataset.direction] ?? 0;
      if (Number(range.value) !== offset) range.value = offset;
      range.closest("label").querySelector(".value").textContent = signed(offset);
    }
    $("directions-reset").hidden = !state.offsets.some(Boolean);
    $("centre").hidden = !state.centre;
    if (state.centre) {
      $("alike").value = state.alike;
      $("alike-value").textContent = `${Math.round(state.alike * 100)} %`;
      const steps = state.centre.length - 1;
      $("centre-text").textContent =
        `The first image, of seed ${state.centre[0].seed}${steps ? ` and ${steps} ${steps > 1 ? "steps" : "step"} from it` : ""}, and others like it.`;
    }
  }

  #truncation(state) {
    const range = $("truncation");
    const normal = this.model?.latent.distribution !== "uniform";
    range.value = state.truncation ?? UNCUT;
    const text = state.truncation === null ? "off" : `±${state.truncation}`;
    $("truncation-value").textContent = text;
    range.setAttribute("aria-valuetext", text);
    $("truncation-hint").textContent = normal ? "Smaller: more typical, less varied." : "Uniform latents have no tails to cut.";
  }

  #seedHint(state) {
    const locked = Object.keys(state.locks).length;
    const kept = locked ? ` ${locked} locked.` : "";
    if (state.n === 1) return kept.trim();
    const last = state.seed + state.n - 1;
    if (state.centre) return `Image i is mixed with the latent of seed + i, up to ${last}.${kept}`;
    return `Image i has seed + i, up to ${last}.${kept}`;
  }

  #seed() {
    const text = $("seed").value.trim();
    const seed = isNumber(text) ? Number(text) : NaN;
    const last = SEED_LIMIT - this.page.current().n;
    if (!(seed <= last)) {
      this.#seedProblem(`${text ? `“${text.slice(0, 30)}”` : "Nothing"} is no seed. Use a whole number from 0 to ${last}.`);
      return;
    }
    this.#seedProblem("");
    if (seed !== this.page.current().seed) this.change({ seed }, true);
  }

  #seedProblem(text) {
    $("seed").setAttribute("aria-invalid", String(Boolean(text)));
    $("seed-hint").classList.toggle("wrong", Boolean(text));
    if (text) {
      $("seed-hint").textContent = text;
      announce(text);
    }
  }

  #chip(event) {
    const chip = event.target.closest(".chip");
    if (!chip) return;
    const label = Number(chip.dataset.label);
    const { labels } = this.page.current();
    const kept = labels.includes(label) ? labels.filter((each) => each !== label) : [...labels, label];
    this.change({ labels: kept.sort((a, b) => a - b) }, true);
  }

  #direction(range) {
    const offsets = this.model.directions.map((_, i) => this.page.current().offsets[i] ?? 0);
    offsets[range.dataset.direction] = Number(Number(range.value).toFixed(3));
    this.change({ offsets: offsets.some(Boolean) ? offsets : [] });
  }
}

function isNumber(text) {
  return /^\d{1,16}$/.test(text.trim());
}

function signed(value) {
  return value === 0 ? "0" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(2);
}
