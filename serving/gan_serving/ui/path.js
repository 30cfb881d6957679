/** The panel of a way between two images: its frames, played there and back. */

import { call, images } from "./api.js";
import { el, paint, save } from "./dom.js";
import { fromSeeds, seedsOf, stepsWithin, toJson, way } from "./requests.js";

const FRAME_MS = 1000 / 30;
const STEPS = [12, 24, 48, 96, 192];

/**
 * Fill the panel.
 *
 * @param {HTMLElement} root
 * @param {{state, recipes: object[], latents, model, change, act, guard, ready}} view the recipes of both ends; `ready`
 *   is called when the frames are there
 * @returns {() => void} what ends the playing
 */
export function showPath(root, view) {
  const { state, change } = view;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const [a, b] = state.path;
  const picture = el("canvas", { className: "large", role: "img", ariaLabel: `The way from image ${a + 1} to image ${b + 1}` });
  const frame = el("input", { type: "range", id: "frame", min: 0, max: state.steps, step: 1, value: 0, ariaLabel: "Frame", oninput: () => pause(Number(frame.value)) });
  const button = el("button", { type: "button", id: "play", className: "main", onclick: () => (playing ? pause() : play()) }, "Play");
  const choices = [...new Set([...STEPS, state.steps].map((count) => stepsWithin(count, view.model.max_n)))].sort((x, y) => x - y);
  const steps = el(
    "select",
    { id: "steps", onchange: () => change({ steps: Number(steps.value) }) },
    ...choices.map((count) => el("option", { value: count, selected: count === state.steps }, String(count))),
  );
  let frames = null;
  let playing = 0; // of requestAnimationFrame
  let began = 0;
  let ended = false;

  function show(at) {
    if (!frames) return;
    paint(picture, frames, at);
    frame.value = at;
    frame.setAttribute("aria-valuetext", `frame ${at} of ${frames.n - 1}`);
  }
  function play() {
    if (!frames) return;
    button.textContent = "Pause";
    began = performance.now() - Number(frame.value) * FRAME_MS;
    const step = (now) => {
      if (ended) return;
      const last = frames.n - 1;
      const turn = Math.floor(Math.max(0, now - began) / FRAME_MS) % (2 * last);
      show(turn <= last ? turn : 2 * last - turn);
      playing = requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
  }
  function pause(at = Number(frame.value)) {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "Play";
    show(at);
  }

  root.replaceChildren(
    picture,
    el("div", { className: "player" }, button, frame),
    el("label", { className: "row" }, el("span", {}, "Frames"), steps),
    el("h3", {}, "Download"),
    el(
      "div",
      { className: "downloads", role: "group", ariaLabel: "Download the path" },
      ...[["gif", "GIF"], ["webp", "WebP"], ["png", "PNG"], ["npy", "npy"]].map(([format, name]) =>
        el("button", { type: "button", className: "plain", onclick: () => download(view, format) }, name),
      ),
    ),
  );
  view.guard(async () => {
    frames = await framesOf(view);
    if (ended) return;
    show(0);
    view.ready();
    if (!calm && frames.n > 1) play();
  });
  return () => {
    ended = true;
    cancelAnimationFrame(playing);
  };
}

async function prepared({ state, recipes, latents }) {
  if (!fromSeeds(recipes, state)) await latents.fetch(seedsOf(recipes), state.truncation);
}

async function framesOf(view) {
  await prepared(view);
  return images("interpolate", toJson({ ...way(view.recipes, view.state, view.latents, { loop: false }), format: "npy" }));
}

function download(view, format) {
  view.guard(async () => {
    await prepared(view);
    const loop = format === "gif" || format === "webp"; // there and back, so that it repeats without a jump
    const body = toJson({ ...way(view.recipes, view.state, view.latents, { loop }), format });
    save(await call("interpolate", "blob", { body }), `path.${format}`);
  });
}
