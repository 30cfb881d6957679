/** The page: holds the state, keeps the address like it, and has the sheet, the panel and the call follow. */

import { About } from "./about.js";
import { Acts } from "./acts.js";
import { isAddressDue, writeAddress, writeAddressSoon } from "./address.js";
import { CallError, SWAPPED, expectArtifact, images } from "./api.js";
import { Controls } from "./controls.js";
import { $, announce } from "./dom.js";
import { draggable } from "./drag.js";
import { wantKey, wireDialogs } from "./dialogs.js";
import { saveSheet } from "./downloads.js";
import { fitted } from "./fit.js";
import { Latents } from "./latents.js";
import { Live } from "./live.js";
import { described, offered } from "./models.js";
import { NEWS, OTHER, SHEET, hideNotice, notice, tryLost } from "./notice.js";
import { Panel } from "./panel.js";
import { columnsOf, drawn, fromSeeds, inWords, recipesOf, seedsOf, toJson } from "./requests.js";
import { Sheet } from "./sheet.js";
import { wireShortcuts } from "./shortcuts.js";
import { Call } from "./snippet-box.js";
import { fromFragment, withCount } from "./state.js";

const LAG = 500; // milliseconds until it is asked again whether all workers have the same artifact
const SLOW = 250; // milliseconds after which the page says that it is drawing

let { state, left } = fromFragment(location.hash); // and what of the address was left out, until it is told
let shown = null; // what the sheet shows: {key, state, recipes, images}
let latents = null;
let model = null;
let told = ""; // the sheet that the news are about, as keyOfSheet has it
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
const panel = new Panel({ change, guard, act }, showCall);
const controls = new Controls(change, { current: () => state, prepare, back: () => acts.back() });
const about = new About(guard);
const theCall = new Call();
const live = new Live(
  () => {
    about.sample(live);
    look(live.sum("gan_reloads_total"));
  },
  () => {
    tryLost();
    if (model) guard(renew); // who comes back may have another artifact
  },
);

/** Change the state: the address, the controls and the pictures follow. With `push`, the Back button leads back. */
function change(patch, push = false, { keepPanel = false } = {}) {
  changed = performance.now();
  if (push && isAddressDue()) writeAddress(state, false); // what a slider did last belongs to the entry before
  Object.assign(state, patch);
  Object.assign(state, withCount(state, state.n)); // an older sheet, which is still there, may have more places
  if (push) writeAddress(state, true);
  else writeAddressSoon(() => state);
  if (keepPanel && shown) {
    shown.state = { ...shown.state, alike: state.alike };
    panel.keep(shown, latents);
  }
  refresh();
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
  if (!model && !beginning) begin();
  if (drawing || !model) return;
  drawing = true;
  const slow = setTimeout(() => $("sheet").setAttribute("aria-busy", "true"), SLOW);
  try {
    while (again && model) {
      again = false;
      await guard(drawOnce, { which: SHEET, retry: draw });
    }
  } finally {
    if (!shown) showNothing();
    clearTimeout(slow);
    $("sheet").removeAttribute("aria-busy");
    drawing = false;
  }
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
  if (shown.key !== told) hideNotice(NEWS);
  sheet.mark({ locks: state.locks, open: state.open, path: state.path, from: acts.from });
  announce(`${n} ${n === 1 ? "image" : "images"} drawn by ${model.name}.`);
  panel.show(shown, latents, model);
  showCall();
}

/** The call that gives what is looked at. */
function showCall() {
  theCall.of(shown, latents);
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
    if (error.code === SWAPPED) return swapped();
    if (error.code === "invalid_request" && model && (await renew().catch(() => false))) return;
    if (error.away) live.lose(error);
    if (error.status === 401) wantKey(error.message, which);
    else notice(error, { which, retry });
    if (!(error instanceof CallError)) throw error;
  }
}

let beginning = 0;

async function begin() {
  beginning += 1;
  try {
    await guard(start, { which: SHEET });
  } finally {
    beginning -= 1;
  }
}

async function start() {
  hideNotice();
  $("sheet").dataset.drawn = false;
  const chosen = await offered(state.model);
  if (!chosen) forget();
  if (!chosen) throw new CallError(state.model ? `This service has no model “${state.model}”. Choose another one above.` : "This service has no model.");
  state.model ||= chosen.name;
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
  panel.hide();
  sheet.clear();
  $("sheet-title").textContent = "No images";
  document.body.classList.add("empty");
}

async function use(name, push = false) {
  const found = await described(name);
  if (state.model === name) select(found, { push }); // else another one was chosen meanwhile
}

function select(found, { push = false, news = "" } = {}) {
  const { name } = found;
  model = found;
  expectArtifact(found);
  latents = new Latents(found);
  state.model = name;
  shown = null;
  $("about").hidden = false;
  $("sheet").inert = true; // what stands there is still the other model's
  document.title = `${name} – Ganworks`;
  controls.setModel(found);
  about.setModel(found);
  panel.stale();
  acts.forget();
  fit(news);
  writeAddress(state, push);
  refresh();
}

let reloads = null;

/** Look for another artifact when the service has loaded something, whether or not something is drawn. */
function look(now) {
  if (now !== reloads && reloads !== null && model) guard(renew);
  reloads = now;
}

/** Select the model anew if its name has another artifact now. Returns whether it has. */
async function renew() {
  const found = await described(model.name);
  if (found.name !== state.model || found.artifact === model.artifact) return false;
  select(found, { news: `${found.name} is another artifact now: the images are drawn anew.` });
  return true;
}

let renewing = null;

/** An answer was another artifact's. */
function swapped() {
  const work = async () => {
    if (await renew()) return;
    await new Promise((done) => setTimeout(done, LAG));
    draw();
  };
  renewing ??= guard(work, { which: SHEET }).finally(() => {
    renewing = null;
  });
  return renewing;
}

/** Leave out what the model can't draw, and say what was left out. */
function fit(news = "") {
  const { patch, left: more } = fitted(state, model);
  Object.assign(state, patch);
  left.push(...more);
  const without = left.length && `Left out${news ? "" : " of the link"}: ${left.join("; ")}.`;
  if (news || without) tell([news, without].filter(Boolean).join(" "));
  left = [];
}

function tell(message) {
  told = keyOfSheet(state);
  notice({ message }, { which: NEWS });
}

function chooseModel() {
  const name = $("model").value;
  if (!name) return;
  $("sheet").dataset.drawn = false;
  writeAddress(state, false);
  Object.assign(state, { model: name, labels: [], offsets: [], truncation: null, open: null, path: null });
  guard(() => use(name, true), { which: SHEET });
}

$("model").addEventListener("change", chooseModel);
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind '#' is the state
  sheet.focus();
});
for (const format of ["png", "gif", "npy"]) $(`sheet-${format}`).addEventListener("click", () => shown && guard(() => saveSheet(format, shown, latents)));
$("panel-close").addEventListener("click", () => acts.close());
draggable(sheet, (a, b) => acts.way(a, b));
wireDialogs({ onKey: begin });
addEventListener("popstate", () => {
  const before = state.model;
  ({ state, left } = fromFragment(location.hash));
  if (!state.model) state.model = before;
  if (state.model !== before || !model) return begin();
  if (state.model === model.name) fit(); // else the model is on its way
  writeAddress(state, false);
  refresh();
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
