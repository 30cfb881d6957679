/** The sheet as a file, made by the service. */

import { call } from "./api.js";
import { save } from "./dom.js";
import { columnsOf, drawn, fromSeeds, seedsOf, toJson, walk } from "./requests.js";

/** @param {"png" | "gif" | "npy"} format gif: an animation from image to image */
export async function saveSheet(format, { recipes, state }, latents) {
  if (!fromSeeds(recipes, state)) await latents.fetch(seedsOf(recipes), state.truncation);
  const body = format === "gif" ? walk(recipes, state, latents) : drawn(recipes, state, latents);
  const columns = format === "png" ? columnsOf(state) : undefined;
  const file = await call(format === "gif" ? "interpolate" : "generate", "blob", { body: toJson({ ...body, columns, format }) });
  save(file, `${state.model}-${state.seed}.${format}`);
}
