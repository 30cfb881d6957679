/**
 * What the page shows, as plain data, and its form in the address: the whole state stands behind '#', so that a link
 * shows the same picture. The fragment is never sent to a server. The API key is no part of it.
 */

export const SEED_LIMIT = 2 ** 53;
export const COUNTS = [1, 4, 9, 16, 25, 36, 64, 100, 144, 256];
export const MAX_N = 1024;
export const NO_TRUNCATION = null;
export const MAX_CHAIN = 64; // "more like this" of "more like this" ... so many times
const MAX_DIRECTIONS = 8;
const MAX_OFFSET = 1000; // along a direction; far outside of what a generator was trained on
const LONG = 30; // characters of a part that is left out, when it is told
const PARTS = new Set(["model", "seed", "n", "label", "truncation", "directions", "lock", "hold", "like", "alike", "image", "path", "steps"]);

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

/**
 * The state that a fragment tells; what can't be read is as usual.
 *
 * @returns {{state: object, left: string[]}} and what of the fragment was left out, with what is allowed there
 */
export function fromFragment(fragment) {
  const parts = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = structuredClone(DEFAULTS);
  const left = [...new Set(parts.keys())].filter((name) => !PARTS.has(name)).map((name) => `${cut(name)} (no part of a link)`);
  const leave = (name, part, rule) => left.push(`${name}=${cut(part)} (${rule})`);
  const number = (name, low, high, integer = true) => {
    const text = parts.get(name);
    if (text === null) return null;
    const value = text.trim() === "" ? NaN : Number(text);
    if (value >= low && value <= high && (!integer || Number.isInteger(value))) return value;
    leave(name, text, high === Infinity ? `from ${low}` : `${low} to ${high}`);
    return null;
  };
  /** Read the parts of a list; those for which `read` gives null are left out. */
  const each = (name, rule, read) => {
    const all = list(parts.get(name));
    const wrong = all.filter((part) => read(part) === null);
    if (wrong.length) leave(name, wrong.join(","), rule);
  };
  const isPlace = (place) => Number.isInteger(place) && place >= 0 && place < state.n;
  state.model = parts.get("model") ?? "";
  state.n = number("n", 1, Infinity) ?? DEFAULTS.n; // how many there can be depends on the service
  state.seed = number("seed", 0, SEED_LIMIT - Math.min(state.n, MAX_N)) ?? randomSeed();
  each("label", "ids of classes", (part) => (isSeed(Number(part)) ? state.labels.push(Number(part)) : null));
  state.truncation = number("truncation", 0.001, 10, false);
  each("directions", `number:offset, 1 to ${MAX_DIRECTIONS}, and -${MAX_OFFSET} to ${MAX_OFFSET}`, (part) => {
    const [i, offset] = pair(part);
    if (!(Number.isInteger(i) && i >= 1 && i <= MAX_DIRECTIONS && Math.abs(offset) <= MAX_OFFSET)) return null;
    return (state.offsets[i - 1] = offset);
  });
  state.offsets = Array.from(state.offsets, (offset) => offset ?? 0);
  each("lock", `place:seed, places 0 to ${state.n - 1}`, (part) => {
    const [place, seed] = pair(part);
    return isPlace(place) && isSeed(seed) ? (state.locks[place] = seed) : null;
  });
  state.hold = parts.get("hold") === "1";
  state.centre = chainOf(parts.get("like"));
  if (parts.has("like") && !state.centre) leave("like", parts.get("like"), "seed,likeness:seed, likeness below 1");
  state.alike = number("alike", 0, 0.999, false) ?? DEFAULTS.alike;
  state.steps = number("steps", 2, 240) ?? DEFAULTS.steps;
  const path = list(parts.get("path")).map(Number);
  if (path.length === 2 && path[0] !== path[1] && path.every(isPlace)) state.path = path;
  else if (parts.has("path")) leave("path", parts.get("path"), `two places, 0 to ${state.n - 1}`);
  if (!state.path) state.open = number("image", 0, state.n - 1);
  return { state, left };
}

/** The number of images of a sheet of n, or the next of those to choose from at which it has that place too. */
export function countFor(n, place) {
  return place < n ? n : (COUNTS.find((count) => count > place) ?? place + 1);
}

/** What makes it a sheet of n images. */
export function withCount({ seed, locks, open, path }, n) {
  return {
    n,
    seed: Math.min(seed, SEED_LIMIT - n),
    locks: Object.fromEntries(Object.entries(locks).filter(([place]) => place < n)),
    open: open !== null && open < n ? open : null,
    path: path?.every((place) => place < n) ? path : null,
  };
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

function pair(text) {
  const both = text.split(":").map((each) => (each.trim() === "" ? NaN : Number(each)));
  return both.length === 2 ? both : [];
}

function cut(text) {
  return text.length > LONG ? `${text.slice(0, LONG)}…` : text;
}
