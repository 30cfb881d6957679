/** From the state to the requests that draw it: of the sheet, of one image of it, of the way between two. */

import { isSeedAlone, rowsToJson } from "./latents.js";
import { MAX_CHAIN, SEED_LIMIT } from "./state.js";

export const NEIGHBOURS = 8; // beside the image that is looked at
const WALK = 16; // images of the sheet's animation, at most
const WALK_STEPS = 8; // frames from one to the next
const FPS = 25; // frames per second of a path

/** What each image of the sheet is made of: its chain of seeds, and its class if that was chosen. */
export function recipesOf(state) {
  return Array.from({ length: state.n }, (_, place) => {
    const seed = state.locks[place] ?? state.seed + place;
    return { chain: chainAt(state, place, seed), label: labelAt(state, place) };
  });
}

function chainAt(state, place, seed) {
  if (!state.centre) return [{ seed }];
  // The first one is what the others are like, unless it is locked to be another neighbour.
  return place === 0 && !(0 in state.locks) ? state.centre : [...state.centre, { seed, alike: state.alike }];
}

function labelAt(state, place) {
  return state.labels.length ? state.labels[place % state.labels.length] : null;
}

/** The class of an image, chosen or drawn from its first seed; null without classes, or while it isn't known. */
export function labelOf(recipe, state, latents) {
  return recipe.label ?? latents.labelOf(recipe.chain[0].seed, state.truncation);
}

/** All seeds that recipes need. */
export function seedsOf(recipes) {
  return recipes.flatMap(({ chain }) => chain.map(({ seed }) => seed));
}

/** Whether the service can draw them from seeds alone. */
export function fromSeeds(recipes, state) {
  return recipes.every((recipe) => isSeedAlone(recipe, state.offsets));
}

/** The first of the seeds that make others like a recipe. */
export function noiseStart({ chain }) {
  const last = chain.at(-1).seed;
  return last + 2048 > SEED_LIMIT ? 0 : last;
}

/** Recipes like one; those that a sheet of neighbours begins with. */
export function neighboursOf(recipe, state, label) {
  if (recipe.chain.length >= MAX_CHAIN) return [];
  const start = noiseStart(recipe);
  return Array.from({ length: NEIGHBOURS }, (_, i) => ({
    chain: [...recipe.chain, { seed: start + 1 + i, alike: state.alike }],
    label,
  }));
}

/**
 * The fields of a request that draws recipes. Their latents must have been fetched, unless seeds alone are enough.
 *
 * @returns {object} model, seed or seeds or latents (rows of numbers), label, truncation; as few as say it
 */
export function drawn(recipes, state, latents, { always = false } = {}) {
  const body = { model: state.model };
  const seeds = recipes.map(({ chain }) => chain[0].seed);
  const bySeed = fromSeeds(recipes, state);
  if (bySeed) {
    const inARow = !always && seeds.every((seed, i) => seed === seeds[0] + i);
    if (inARow) Object.assign(body, seeds.length > 1 ? { n: seeds.length, seed: seeds[0] } : { seed: seeds[0] });
    else body.seeds = seeds;
    if (state.truncation !== null) body.truncation = state.truncation;
  } else {
    body.latents = recipes.map((recipe) => latents.latentOf(recipe, state.truncation, state.offsets));
  }
  const labels = recipes.map((recipe) => (bySeed ? recipe.label : labelOf(recipe, state, latents)));
  if (labels.some((label) => label !== null)) body.label = labels.every((label) => label === labels[0]) ? labels[0] : labels;
  return body;
}

/** The way between two images, there and back when it is an animation that repeats. */
export function way(recipes, state, latents, { loop }) {
  return { ...drawn(recipes, state, latents, { always: true }), steps: state.steps, loop, ...(loop ? { fps: FPS } : {}) };
}

/** An animation from image to image of the sheet, with as many frames as a request may have. */
export function walk(recipes, state, latents) {
  const most = latents.model.max_n;
  const steps = stepsWithin(WALK_STEPS, most);
  const some = recipes.slice(0, Math.min(WALK, Math.max(2, Math.floor(most / steps))));
  return { ...drawn(some, state, latents, { always: true }), steps, loop: true };
}

/** So many steps from one image to another that a request for `most` frames leads there and back. */
export function stepsWithin(steps, most) {
  return Math.min(steps, Math.max(2, Math.floor(most / 2)));
}

/** Columns of a sheet whose classes are gone through in turn: each has one class. Undefined where any number will do. */
export function columnsOf({ labels, n }) {
  const classes = labels.length;
  if (classes < 2 || classes > 12) return undefined;
  return Math.min(n, classes * Math.max(1, Math.round(Math.sqrt(n) / classes)));
}

/** An image in words. */
export function inWords(place, recipe, state, latents, model) {
  const label = labelOf(recipe, state, latents);
  const seeds = recipe.chain.map(({ seed }) => seed);
  const what = seeds.length === 1 ? `seed ${seeds[0]}` : place === 0 ? "what the others are like" : `with seed ${seeds.at(-1)}`;
  return `Image ${place + 1}, ${what}${label === null ? "" : `, class ${model.class_names?.[label] ?? label}`}`;
}

/** A request as JSON: numbers of latents as short as they can be read back exactly. */
export function toJson(body) {
  const { latents, ...rest } = body;
  const fields = Object.entries(rest).filter(([, value]) => value !== undefined).map(([name, value]) => `${JSON.stringify(name)}: ${spaced(value)}`);
  if (latents) fields.push(`"latents": ${rowsToJson(latents)}`);
  return `{${fields.join(", ")}}`;
}

function spaced(value) {
  return Array.isArray(value) ? `[${value.join(", ")}]` : JSON.stringify(value);
}
