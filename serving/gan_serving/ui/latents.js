/**
 * From what an image is made of to its latent, in float32 as the service has it.
 *
 * An image's recipe is a chain of seeds: the latent of the first, mixed with that of the second, and so on, and then
 * moved along the principal directions. Mixing keeps normal latents normal: a z + sqrt(1 - a^2) e has variance 1 where
 * z and e have, so it stays on the sphere that the generator was trained on. Uniform latents are clipped to [-1, 1].
 */

import { json } from "./api.js";

const CACHED = 8192; // latents that are remembered

/** Latents of one model, fetched once for each seed and truncation. */
export class Latents {
  constructor(model) {
    this.model = model; // as /models/{name} describes it, and max_n
    this.rows = new Map();
  }

  /** Have the latents of these seeds at hand. */
  async fetch(seeds, truncation, signal) {
    const keys = seeds.map((seed) => keyOf(seed, truncation));
    const missing = [...new Set(seeds)].filter((seed) => !this.rows.has(keyOf(seed, truncation)));
    this.#use(keys);
    if (!missing.length) return;
    const most = this.model.max_n;
    const parts = Array.from({ length: Math.ceil(missing.length / most) }, (_, i) => missing.slice(i * most, (i + 1) * most));
    const found = await Promise.all(parts.map((some) => this.#ask(some, truncation, signal)));
    for (const [seed, row] of found.flat()) this.rows.set(keyOf(seed, truncation), row);
    this.#use(keys);
    const old = [...this.rows.keys()].slice(0, Math.max(0, this.rows.size - Math.max(CACHED, missing.length)));
    for (const key of old) this.rows.delete(key);
  }

  /** Put rows last, so that others are forgotten before them. */
  #use(keys) {
    for (const key of keys) {
      const row = this.rows.get(key);
      if (this.rows.delete(key)) this.rows.set(key, row);
    }
  }

  async #ask(seeds, truncation, signal) {
    const body = { model: this.model.name, seeds };
    if (truncation !== null) body.truncation = truncation;
    const { latents, labels } = await json("latents", { body, signal });
    return seeds.map((seed, i) => [seed, { latent: latents[i], label: labels?.[i] ?? null }]);
  }

  /** Whether they are. */
  has(seeds, truncation) {
    return seeds.every((seed) => this.rows.has(keyOf(seed, truncation)));
  }

  /** The class that a seed draws; null if it was not fetched, or there are no classes. */
  labelOf(seed, truncation) {
    return this.rows.get(keyOf(seed, truncation))?.label ?? null;
  }

  /** The latent of a recipe whose seeds were fetched, as float32 numbers. */
  latentOf({ chain }, truncation, offsets) {
    const uniform = this.model.latent.distribution === "uniform";
    const within = uniform ? (value) => Math.min(1, Math.max(-1, value)) : (value) => value;
    let mixed = null;
    for (const { seed, alike } of chain) {
      const { latent } = this.rows.get(keyOf(seed, truncation));
      const other = mixed && Math.sqrt(1 - alike * alike);
      mixed = mixed ? mixed.map((value, i) => within(alike * value + other * latent[i])) : latent;
    }
    const moves = (this.model.directions ?? []).map((direction, i) => [direction, offsets[i] ?? 0]).filter(([, by]) => by);
    return mixed.map((value, i) => Math.fround(within(moves.reduce((sum, [direction, by]) => sum + by * direction[i], value))));
  }
}

function keyOf(seed, truncation) {
  return `${seed}/${truncation}`;
}

/** Whether a recipe is a seed and nothing else, so that the service can draw it from that. */
export function isSeedAlone({ chain }, offsets) {
  return chain.length === 1 && !offsets.some(Boolean);
}

/** Rows of float32 numbers as JSON, each with the fewest digits that are read back as the same number. */
export function rowsToJson(rows) {
  return `[${rows.map((row) => `[${row.map(shortest).join(",")}]`).join(",")}]`;
}

function shortest(value) {
  if (Number.isInteger(value)) return String(value);
  for (let digits = 6; digits < 10; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(value);
}
