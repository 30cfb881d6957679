/** The page: holds the state, keeps the address like it, and has the sheet, the panel and the call follow. */

import { About } from "./about.js";
import { Acts } from "./acts.js";
import { CallError, images, json } from "./api.js";
import { Controls } from "./controls.js";
import { showDetail } from "./detail.js";
import { $, announce, el } from "./dom.js";
import { draggable } from "./drag.js";
import { askForKey, wireDialogs } from "./dialogs.js";
import { saveSheet } from "./downloads.js";
import { Latents } from "./latents.js";
import { Live } from "./live.js";
import { OTHER, SHEET, hideNotice, notice } from "./notice.js";
import { showPath } from "./path.js";
import { columnsOf, drawn, fromSeeds, inWords, labelOf, recipesOf, seedsOf, toJson, way } from "./requests.js";
import { Sheet } from "./sheet.js";
import { wireShortcuts } from "./shortcuts.js";
import { Call } from "./snippet-box.js";
import { fromFragment, toFragment } from "./state.js";

const ADDRESS_WAIT = 150; // milliseconds: browsers refuse addresses that change too often
const SLOW = 250; // milliseconds after which the page says that it is drawing

let state = fromFragment(location.hash);
let shown = null; // what the sheet shows: {key, state, recipes, images}
let latents = null;
let model = null;
let panelKey = "";
let closePanel = () => {};
let addressTimer = 0;
let changed = 0; // when the state was last changed, of performance.now

const acts = new Acts({ now: () => ({ state, shown, latents }), sheet: () => sheet, change, follow, guard, notice });
const act = {
  open: (place) => acts.open(place),
  lock: (place) => acts.lock(place),
  path: (place) => acts.path(place),
  like: (place, open) => acts.like(place, open),
  pathFrom: (place) => acts.pathFrom(place),
  describe: (place) => inWords(place, shown.recipes[place], shown.state, latents, model),
};
const sheet = new Sheet($("sheet"), act);
const controls = new Controls(change, { current: () => state, prepare, back: () => acts.back() });
const about = new About(guard);
const theCall = new Call();
new Live((live) => about.sample(live));

/** Change the state: the address, the controls and the pictures follow. With `push`, the Back button leads back. */
function change(patch, push = false, { keepPanel = false } = {}) {
  changed = performance.now();
  if (push && addressTimer) writeAddress(false); // what a slider did last belongs to the entry before
  Object.assign(state, patch);
  clearTimeout(addressTimer);
  if (push) writeAddress(true);
  else addressTimer = setTimeout(writeAddress, ADDRESS_WAIT, false);
  if (keepPanel && shown) {
    shown.state = { ...shown.state, alike: state.alike };
    panelKey = keyOfPanel();
  }
  refresh();
}

function writeAddress(push) {
  clearTimeout(addressTimer);
  addressTimer = 0;
  const address = `#${toFragment(state)}`;
  if (address !== location.hash) history[push ? "pushState" : "replaceState"](null, "", address);
}

function refresh() {
  controls.render(state);
  document.body.classList.toggle("with-panel", state.open !== null || state.path !== null);
  const current = keyOfSheet(state) === shown?.key;
  $("sheet").dataset.drawn = current;
  if (!current) draw();
  else follow();
}

/** All that decides what the sheet shows. */
function keyOfSheet({ model: name, seed, n, labels, truncation, offsets, locks, centre, alike }) {
  return JSON.stringify([name, seed, n, labels, truncation, offsets, locks, centre, centre && alike]);
}

let drawing = false;
let again = false;

/** Draw the sheet. While one request is under way others wait, and of these the latest alone is sent. */
async function draw() {
  again = true;
  if (drawing || !model) return;
  drawing = true;
  const slow = setTimeout(() => $("sheet").setAttribute("aria-busy", "true"), SLOW);
  while (again && model) {
    again = false;
    await guard(drawOnce, { which: SHEET, retry: draw });
  }
  if (!shown) showNothing();
  clearTimeout(slow);
  $("sheet").removeAttribute("aria-busy");
  drawing = false;
}

async function drawOnce() {
  if (state.model !== model.name) return; // another one is on its way, and is drawn when it is there
  const asked = structuredClone(state);
  const [began, of] = [changed, latents];
  const recipes = recipesOf(asked);
  if (!fromSeeds(recipes, asked)) await of.fetch(seedsOf(recipes), asked.truncation);
  const got = await images("generate", toJson({ ...drawn(recipes, asked, of), format: "npy" }));
  if (of !== latents) return;
  const first = shown === null;
  shown = { key: keyOfSheet(asked), state: asked, recipes, images: got };
  $("sheet").inert = false;
  document.body.classList.remove("empty");
  sheet.show(got, { columns: columnsOf(asked) });
  performance.measure("gan-redraw", { start: began });
  if (first) performance.mark("gan-first-picture");
  hideNotice(SHEET, OTHER);
  if (keyOfSheet(state) === shown.key) follow();
  if (model.class_names && !asked.labels.length && !of.has(seedsOf(recipes), asked.truncation)) {
    await of.fetch(seedsOf(recipes), asked.truncation);
    if (of === latents) follow();
  }
}

/** What follows the sheet: its title, marks, panel and call. */
function follow() {
  if (!shown || keyOfSheet(state) !== shown.key) return;
  Object.assign(shown.state, { open: state.open, path: state.path, steps: state.steps, alike: state.alike, hold: state.hold });
  const { n } = shown.images;
  $("sheet").dataset.drawn = true;
  $("sheet-title").textContent = state.centre ? `${n} alike` : `${n} ${n === 1 ? "image" : "images"}`;
  $("sheet-gif").disabled = n < 2;
  sheet.mark({ locks: state.locks, open: state.open, path: state.path, from: acts.from });
  announce(`${n} ${n === 1 ? "image" : "images"} drawn by ${model.name}.`);
  panel();
  showCall();
}

function keyOfPanel() {
  const { open, path, steps, alike } = state;
  const label = open === null ? null : labelOf(shown.recipes[open], shown.state, latents);
  return JSON.stringify([shown.key, open, path, path && steps, alike, label]);
}

function panel() {
  const empty = state.open === null && state.path === null;
  const key = empty ? "" : keyOfPanel();
  if (key === panelKey) return;
  panelKey = key;
  closePanel();
  closePanel = () => {};
  $("panel").hidden = empty;
  if (empty) return $("panel-body").replaceChildren();
  const view = { state: { ...shown.state }, images: shown.images, latents, model, change, guard, act };
  if (state.path) {
    $("panel-title").textContent = `From image ${state.path[0] + 1} to image ${state.path[1] + 1}`;
    closePanel = showPath($("panel-body"), { ...view, recipes: state.path.map((place) => shown.recipes[place]), ready: showCall });
  } else {
    $("panel-title").textContent = `Image ${state.open + 1}`;
    showDetail($("panel-body"), { ...view, place: state.open, recipe: shown.recipes[state.open] });
  }
}

/** The call that gives what is looked at: the path, the image, or the sheet. */
function showCall() {
  const { recipes, state: now } = shown;
  const some = now.path ? now.path.map((place) => recipes[place]) : now.open !== null ? [recipes[now.open]] : recipes;
  if (!fromSeeds(some, now) && !latents.has(seedsOf(some), now.truncation)) return;
  const body = now.path ? way(some, now, latents, { loop: true }) : drawn(some, now, latents);
  const title = now.path ? "The call for this path" : now.open !== null ? `The call for image ${now.open + 1}` : "The call for this sheet";
  theCall.show({ body, path: Boolean(now.path), columns: some.length > 1 && !now.path ? columnsOf(now) : undefined }, title);
}

function describe(place) {
  return inWords(place, shown.recipes[place], shown.state, latents, model);
}

/** Latents that a slider will need: when it moves, nothing but the images has to come. */
function prepare() {
  if (shown) guard(() => latents.fetch(seedsOf(shown.recipes), shown.state.truncation));
}

/** Do what may fail: it is then told in words, with what tries it again. */
async function guard(work, { which = OTHER, retry = () => guard(work, { which }) } = {}) {
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) askForKey(error.message);
    else notice(error, { which, retry });
    if (!(error instanceof CallError)) throw error;
  }
}

function begin() {
  guard(start, { which: SHEET });
}

async function start() {
  hideNotice();
  $("sheet").dataset.drawn = false;
  const { models } = await json("models");
  const chosen = state.model ? models.find(({ name }) => name === state.model) : (models.find((each) => each.default) ?? models[0]);
  $("model").replaceChildren(
    ...(chosen ? [] : [el("option", { value: "", selected: true }, state.model)]),
    ...models.map(({ name }) => el("option", { value: name, selected: name === chosen?.name }, name)),
  );
  if (!chosen) forget();
  if (!chosen) throw new CallError(state.model ? `This service has no model “${state.model}”. Choose another one above.` : "This service has no model.");
  await use(chosen.name);
}

/** Show nothing: what stands there is not what the address says. */
function forget() {
  model = latents = shown = null;
  $("about").hidden = true;
  showNothing();
  change({ open: null, path: null });
}

function showNothing() {
  closePanel();
  panelKey = "";
  $("panel").hidden = true;
  sheet.clear();
  $("sheet-title").textContent = "No images";
  document.body.classList.add("empty");
}

async function use(name, push = false) {
  const found = await json(`models/${encodeURIComponent(name)}`);
  model = found;
  latents = new Latents(found);
  state.model = name;
  shown = null;
  $("about").hidden = false;
  $("sheet").inert = true; // what stands there is still the other model's
  document.title = `${name} – Ganworks`;
  controls.setModel(found);
  about.setModel(found);
  writeAddress(push);
  refresh();
}

function chooseModel() {
  const name = $("model").value;
  if (!name) return;
  $("sheet").dataset.drawn = false;
  writeAddress(false);
  Object.assign(state, { model: name, labels: [], offsets: [], truncation: null, open: null, path: null });
  guard(() => use(name, true), { which: SHEET });
}

$("model").addEventListener("change", chooseModel);
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind '#' is the state
  sheet.focus();
});
for (const format of ["png", "gif", "npy"]) $(`sheet-${format}`).addEventListener("click", () => guard(() => saveSheet(format, shown, latents)));
$("panel-close").addEventListener("click", () => acts.close());
draggable(sheet, (a, b) => acts.way(a, b));
wireDialogs({ onKey: begin });
addEventListener("popstate", () => {
  const before = state.model;
  state = fromFragment(location.hash);
  if (!state.model) state.model = before;
  if (state.model !== before || !model) begin();
  else refresh();
});
wireShortcuts({
  close: () => {
    if (acts.from !== null || state.open !== null || state.path) acts.close();
  },
  r: () => controls.reroll(),
  l: () => controls.toggleHold(),
});
controls.render(state);
begin();
