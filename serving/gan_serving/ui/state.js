/**
 * What the page shows, as plain data, and its form in the address: the whole state stands behind '#', so that a link
 * shows the same picture. The fragment is never sent to a server. The API key is no part of it.
 */

export const SEED_LIMIT = 2 ** 53;
export const COUNTS = [1, 4, 9, 16, 25, 36, 64, 100, 144, 256];
export const MAX_N = 1024;
export const NO_TRUNCATION = null;
export const MAX_CHAIN = 64; // "more like this" of "more like this" ... so many times

export const DEFAULTS = Object.freeze({
  model: "", // name; "": the service's default
  n: 64, // images
  seed: 0, // of the first image
  labels: [], // class ids, gone through in turn; none: each seed draws its own
  truncation: NO_TRUNCATION,
  offsets: [], // how far along each principal direction, in units of the latent
  locks: {}, // place of an image -> the seed that it keeps
  hold: false, // whether the seed is kept when others are drawn
  centre: null, // [{seed}, {seed, alike}, ...]: the latent that a sheet of neighbours is around
  alike: 0.85, // of these neighbours, 0 (nothing in common) to 0.99
  open: null, // place of the image that is looked at
  path: null, // [place, place] of the images between which a way is shown
  steps: 48, // frames of that way
});

/** A seed that nobody chose. 48 bits: with any number of images it stays below 2**53. */
export function randomSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high & 0xffff) * 2 ** 32 + low;
}

export function isSeed(value) {
  return Number.isInteger(value) && value >= 0 && value < SEED_LIMIT;
}

/** The state as it stands behind '#': what is as usual is left out, model and seed never. */
export function toFragment(state) {
  const parts = new URLSearchParams();
  if (state.model) parts.set("model", state.model);
  parts.set("seed", state.seed);
  if (state.n !== DEFAULTS.n) parts.set("n", state.n);
  if (state.labels.length) parts.set("label", state.labels.join(","));
  if (state.truncation !== null) parts.set("truncation", state.truncation);
  const moved = state.offsets.flatMap((offset, i) => (offset ? [`${i + 1}:${offset}`] : []));
  if (moved.length) parts.set("directions", moved.join(","));
  const locks = Object.entries(state.locks).map(([place, seed]) => `${place}:${seed}`);
  if (locks.length) parts.set("lock", locks.join(","));
  if (state.hold) parts.set("hold", "1");
  if (state.centre) {
    parts.set("like", state.centre.map(({ seed, alike }, i) => (i ? `${alike}:${seed}` : seed)).join(","));
    parts.set("alike", state.alike);
  }
  if (state.path) {
    parts.set("path", state.path.join(","));
    if (state.steps !== DEFAULTS.steps) parts.set("steps", state.steps);
  } else if (state.open !== null) {
    parts.set("image", state.open);
    if (!state.centre && state.alike !== DEFAULTS.alike) parts.set("alike", state.alike);
  }
  return parts.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** The state that a fragment tells; what can't be read is as usual. */
export function fromFragment(fragment) {
  const parts = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = structuredClone(DEFAULTS);
  const number = (name, low, high, integer = true) => {
    const text = parts.get(name);
    const value = text === null || text.trim() === "" ? NaN : Number(text);
    return value >= low && value <= high && (!integer || Number.isInteger(value)) ? value : null;
  };
  state.model = parts.get("model") ?? "";
  state.n = number("n", 1, MAX_N) ?? DEFAULTS.n;
  state.seed = number("seed", 0, SEED_LIMIT - state.n) ?? randomSeed();
  state.labels = list(parts.get("label")).map(Number).filter((label) => Number.isInteger(label) && label >= 0);
  state.truncation = number("truncation", 0.001, 10, false);
  for (const [i, offset] of pairs(parts.get("directions"))) {
    if (i >= 1 && i <= 8 && Number.isFinite(offset)) state.offsets[i - 1] = offset;
  }
  state.offsets = Array.from(state.offsets, (offset) => offset ?? 0);
  for (const [place, seed] of pairs(parts.get("lock"))) {
    if (Number.isInteger(place) && place >= 0 && place < state.n && isSeed(seed)) state.locks[place] = seed;
  }
  state.hold = parts.get("hold") === "1";
  state.centre = chainOf(parts.get("like"));
  state.alike = number("alike", 0, 0.999, false) ?? DEFAULTS.alike;
  state.steps = number("steps", 2, 240) ?? DEFAULTS.steps;
  const path = list(parts.get("path")).map(Number);
  if (path.length === 2 && path[0] !== path[1] && path.every((place) => Number.isInteger(place) && place >= 0 && place < state.n)) {
    state.path = path;
  } else {
    state.open = number("image", 0, state.n - 1);
  }
  return state;
}

function chainOf(text) {
  const chain = list(text).map((part, i) => {
    if (i === 0) return { seed: Number(part) };
    const [alike, seed] = part.split(":").map(Number);
    return { seed, alike };
  });
  const good = chain.every(({ seed, alike }, i) => isSeed(seed) && (i === 0 || (alike >= 0 && alike < 1)));
  return chain.length && good ? chain.slice(0, MAX_CHAIN) : null;
}

function list(text) {
  return (text ?? "").split(",").filter((part) => part.trim() !== "");
}

function pairs(text) {
  return list(text).map((part) => part.split(":").map((each) => (each === "" ? NaN : Number(each)))).filter((pair) => pair.length === 2);
}
