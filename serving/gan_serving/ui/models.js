/** The service's models: what it says of one, and the list to choose from. */

import { json } from "./api.js";
import { $, el } from "./dom.js";

/** A model as /models/{name} describes it, and `max_n`: how many images a request may be for. */
export async function described(name) {
  const address = encodeURIComponent(name);
  const [found, { parameters }] = await Promise.all([json(`models/${address}`), json(`v2/models/${address}/config`)]);
  return { ...found, max_n: Number(parameters.max_n.string_value) };
}

/** List the models; returns that of the name, or without one the default. Undefined if there is none, which is listed too. */
export async function offered(name) {
  const { models } = await json("models");
  const chosen = name ? models.find((each) => each.name === name) : (models.find((each) => each.default) ?? models[0]);
  $("model").replaceChildren(
    ...(chosen ? [] : [el("option", { value: "", selected: true }, name)]),
    ...models.map((each) => el("option", { value: each.name, selected: each === chosen }, each.name)),
  );
  return chosen;
}
