/** The panel of one image: what it is made of, its neighbours in latent space, and what can be done with it. */

import { call, images } from "./api.js";
import { el, paint, save } from "./dom.js";
import { isSeedAlone } from "./latents.js";
import { drawn, labelOf, neighboursOf, noiseStart, seedsOf, toJson } from "./requests.js";

const WAIT = 120; // milliseconds that the likeness slider has to rest

/**
 * Fill the panel.
 *
 * @param {HTMLElement} root
 * @param {{state, place, recipe, images, latents, model, change, act, guard}} view the state that the sheet shows, the
 *   image's place and recipe; what changes the state, what the page does, and what shows errors in words
 */
export function showDetail(root, view) {
  const { state, place, recipe, latents, model, change, act } = view;
  const label = labelOf(recipe, state, latents);
  const picture = el("canvas", { className: "large", role: "img", ariaLabel: act.describe(place) });
  paint(picture, view.images, place);
  const locked = place in state.locks;
  const lockable = recipe.chain.length === 1 || place !== 0 || locked;
  root.replaceChildren(
    picture,
    el("dl", { className: "facts" }, ...facts(recipe, label, view)),
    el(
      "div",
      { className: "actions" },
      el("button", { type: "button", className: "main", id: "like", onclick: () => act.like(place) }, "More like this"),
      el("button", { type: "button", id: "path-from", onclick: () => act.pathFrom(place) }, "Path to …"),
      lockable &&
        el("button", { type: "button", id: "lock", ariaPressed: String(locked), onclick: () => act.lock(place) }, locked ? "Unlock" : "Lock"),
    ),
    el("h3", {}, "Neighbours"),
    neighbours(view, label),
    el("h3", {}, "Download"),
    el(
      "div",
      { className: "downloads", role: "group", ariaLabel: "Download the image" },
      ...["png", "npy"].map((format) => el("button", { type: "button", className: "plain", onclick: () => download(view, format) }, format === "png" ? "PNG" : "npy")),
      el("button", { type: "button", className: "plain", title: "The latent, for --latents", onclick: () => downloadLatent(view) }, "latent"),
    ),
  );
  if (model.class_names && label === null) {
    view.guard(async () => {
      await latents.fetch(seedsOf([recipe]), state.truncation);
      if (root.contains(picture)) change({});
    });
  }
}

function facts(recipe, label, { state, model }) {
  const rows = [];
  const [first, ...mixed] = recipe.chain;
  rows.push([mixed.length ? "Begins at seed" : "Seed", String(first.seed)]);
  for (const { seed, alike } of mixed) rows.push([`${Math.round(alike * 100)} % alike`, `with seed ${seed}`]);
  if (model.class_names) rows.push(["Class", label === null ? "…" : (model.class_names[label] ?? String(label))]);
  if (state.truncation !== null) rows.push(["Truncation", `±${state.truncation}`]);
  const moved = state.offsets.flatMap((offset, i) => (offset ? [`${i + 1}: ${offset}`] : []));
  if (moved.length) rows.push(["Directions", moved.join(", ")]);
  return rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

function neighbours(view, label) {
  const { state, recipe, change } = view;
  const strip = el("div", { className: "strip", role: "group", ariaLabel: "Neighbours of the image" });
  const said = el("span", { className: "value" }, `${Math.round(state.alike * 100)} %`);
  let timer = 0;
  const range = el("input", {
    type: "range", id: "neighbour-alike", min: 0, max: 0.99, step: 0.01, value: state.alike, disabled: Boolean(state.centre),
    oninput: () => {
      said.textContent = `${Math.round(range.value * 100)} %`;
      clearTimeout(timer);
      timer = setTimeout(() => {
        change({ alike: Number(range.value) }, false, { keepPanel: true });
        fill(Number(range.value));
      }, WAIT);
    },
  });
  let latest = 0;
  const fill = (alike) => view.guard(async () => {
    latest += 1;
    const mine = latest;
    const found = neighboursOf(recipe, { ...state, alike }, label ?? recipe.label).slice(0, view.model.max_n);
    if (!found.length) return;
    await view.latents.fetch(seedsOf([recipe, ...found]), state.truncation);
    const all = found.map((each) => ({ ...each, label: labelOf({ ...each, label: recipe.label }, state, view.latents) }));
    const drawnImages = await images("generate", toJson({ ...drawn(all, state, view.latents), format: "npy" }));
    if (mine !== latest || !strip.isConnected) return;
    strip.replaceChildren(
      ...all.map((each, i) => {
        const canvas = el("canvas", { ariaHidden: "true" });
        paint(canvas, drawnImages, i);
        const name = `Neighbour ${i + 1}; show it among others like the image`;
        return el("button", { type: "button", className: "tile", ariaLabel: name, title: name, onclick: () => view.act.like(view.place, i + 1) }, canvas);
      }),
    );
  });
  fill(state.alike);
  return el("div", {}, el("label", { className: "slider" }, el("span", {}, "Likeness"), said, range), strip);
}

/** The change that puts an image and others like it on a sheet of n; `open` is the place that is looked at there. */
export function likeThis(recipe, label, open, n) {
  return { centre: recipe.chain, seed: noiseStart(recipe), labels: label === null ? [] : [label], locks: {}, n, open, path: null };
}

async function bodyOf({ state, recipe, latents }) {
  if (!isSeedAlone(recipe, state.offsets)) await latents.fetch(seedsOf([recipe]), state.truncation);
  return drawn([recipe], state, latents);
}

function download(view, format) {
  view.guard(async () => {
    const picture = await call("generate", "blob", { body: toJson({ ...(await bodyOf(view)), format }) });
    save(picture, `${view.model.name}-${view.recipe.chain.map(({ seed }) => seed).join("-")}.${format}`);
  });
}

function downloadLatent(view) {
  view.guard(async () => {
    const { state, recipe, latents } = view;
    await latents.fetch(seedsOf([recipe]), state.truncation);
    const rows = [latents.latentOf(recipe, state.truncation, state.offsets)];
    save(new Blob([JSON.stringify(rows)], { type: "application/json" }), "latents.json");
  });
}
