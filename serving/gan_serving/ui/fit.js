/** What of a state a model can draw: a link may be of another artifact, or of another service. */

import { stepsWithin } from "./requests.js";
import { DEFAULTS, MAX_N, withCount } from "./state.js";

/**
 * @param {object} state
 * @param {object} model as /models/{name} describes it, and `max_n`
 * @returns {{patch: object, left: string[]}} what makes the state fit, and what is thereby left out, with what is allowed
 */
export function fitted(state, model) {
  const { name, class_names: names, latent, directions, max_n: limit } = model;
  const left = [];
  const most = Math.min(MAX_N, limit);
  const patch = withCount(state, Math.min(state.n, most));
  if (patch.n !== state.n && state.n !== DEFAULTS.n) left.push(`n=${state.n} (1 to ${most})`);
  const wrong = state.labels.filter((label) => !(label < (names?.length ?? 0)));
  patch.labels = state.labels.filter((label) => !wrong.includes(label));
  if (wrong.length) left.push(`label=${wrong.join(",")} (${name} has ${names ? `0 to ${names.length - 1}` : "no classes"})`);
  const cuts = latent.distribution === "normal";
  patch.truncation = cuts ? state.truncation : null;
  if (!cuts && state.truncation !== null) left.push(`truncation=${state.truncation} (${name} has uniform latents, without tails)`);
  const known = directions?.length ?? 0;
  patch.offsets = state.offsets.slice(0, known);
  const beyond = state.offsets.flatMap((offset, i) => (offset && i >= known ? [`${i + 1}:${offset}`] : []));
  if (beyond.length) left.push(`directions=${beyond.join(",")} (${name} has ${known ? `1 to ${known}` : "none"})`);
  patch.steps = stepsWithin(state.steps, limit);
  if (patch.steps !== state.steps && state.steps !== DEFAULTS.steps) left.push(`steps=${state.steps} (2 to ${patch.steps})`);
  return { patch, left };
}
