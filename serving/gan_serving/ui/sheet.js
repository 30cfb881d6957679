/** The sheet of images: a button for each, which arrow keys move among. */

import { $, el, paint } from "./dom.js";

const GAP = 4; // pixels between images
const SMALLEST = 44; // pixels of an image that a finger can hit
const LARGEST = 720; // pixels of the sheet's width or height, where there is room

export class Sheet {
  /** @param {object} on what is done with the place of an image: open, lock, path, like; and `describe`, in words */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    this.tiles = [];
    this.images = null;
    this.columns = 1;
    this.current = 0;
    root.addEventListener("click", (event) => this.#withTile(event, (place) => on.open(place)));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", (event) => this.#withTile(event, (place) => this.#move(place, false)));
    root.addEventListener("pointerover", (event) => this.#withTile(event, (place) => this.point(place)));
    root.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => requestAnimationFrame(() => this.images && root.clientWidth !== this.room && this.#arrange())).observe(root);
  }

  /** Draw images, one for each recipe. */
  show(images, { columns }) {
    const before = this.images;
    this.images = images;
    this.wished = columns;
    if (this.tiles.length !== images.n) this.#fill(images.n);
    this.tiles.forEach((tile, place) => paint(tile.firstChild, images, place));
    if (!before || before.n !== images.n || before.width !== images.width || before.height !== images.height) this.#arrange();
    else if (this.arranged !== columns) this.#arrange();
  }

  /** Say what each image is, and which are locked, looked at, or the ends of a path. */
  mark({ locks, open, path, from }) {
    this.tiles.forEach((tile, place) => {
      const ends = path ?? (from === null ? [] : [from]);
      tile.classList.toggle("locked", place in locks);
      tile.classList.toggle("open", place === open);
      tile.classList.toggle("end", ends.includes(place));
      tile.setAttribute("aria-label", this.on.describe(place) + (place in locks ? ", locked" : ""));
      tile.setAttribute("aria-pressed", String(place === open || ends.includes(place)));
    });
    this.point(null);
  }

  /** Show nothing. */
  clear() {
    this.images = null;
    this.tiles = [];
    this.root.replaceChildren();
    $("pointed").textContent = "";
  }

  focus(place = this.current) {
    this.#move(Math.min(place, this.tiles.length - 1), true);
  }

  /** Say under the sheet which image the pointer or the focus is on. */
  point(place) {
    const at = place ?? (this.root.contains(document.activeElement) ? this.current : null);
    $("pointed").textContent = at === null ? "" : this.on.describe(at);
  }

  placeOf(target) {
    const tile = target instanceof Element ? target.closest(".tile") : null;
    return tile && this.root.contains(tile) ? Number(tile.dataset.place) : null;
  }

  #fill(n) {
    const focused = this.root.contains(document.activeElement);
    this.tiles = Array.from({ length: n }, (_, place) => {
      const tile = el("button", { type: "button", className: "tile", tabIndex: -1 }, el("canvas", { ariaHidden: "true" }));
      tile.dataset.place = place;
      return tile;
    });
    this.root.replaceChildren(...this.tiles);
    this.#move(Math.min(this.current, n - 1), focused);
  }

  /** Columns and a whole number of screen pixels for each of the image's, so that all pixels are alike. */
  #arrange() {
    const { n, width, height } = this.images;
    this.arranged = this.wished;
    const room = this.root.clientWidth;
    this.room = room;
    const fits = (columns, scale) => columns * (width * scale + GAP) - GAP <= room;
    let columns = Math.min(n, this.wished ?? Math.ceil(Math.sqrt(n)));
    const side = Math.min(LARGEST, room, Math.max(360, innerHeight - 180));
    const each = n === 1 ? Math.min(side, 448) : Math.min(112, side / columns - GAP);
    let scale = Math.max(1, Math.floor(each / width), Math.ceil(SMALLEST / width));
    while (scale > 1 && !fits(columns, scale) && width * (scale - 1) >= SMALLEST) scale -= 1;
    while (columns > 1 && !fits(columns, scale)) columns -= 1;
    if (!fits(1, scale)) scale = Math.min(scale, room / width);
    this.columns = columns;
    this.root.style.setProperty("--columns", columns);
    this.root.style.setProperty("--tile-width", `${width * scale}px`);
    this.root.style.setProperty("--tile-height", `${height * scale}px`);
  }

  #move(place, focus) {
    this.current = Math.max(0, place);
    this.tiles.forEach((tile, i) => {
      tile.tabIndex = i === this.current ? 0 : -1;
    });
    if (focus) this.tiles[this.current]?.focus();
    this.point(this.root.contains(document.activeElement) ? this.current : null);
  }

  #key(event) {
    const place = this.placeOf(event.target);
    if (place === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.tiles.length - 1;
    const moves = {
      ArrowRight: place + 1, ArrowLeft: place - 1, ArrowDown: place + this.columns, ArrowUp: place - this.columns,
      Home: 0, End: last,
    };
    const acts = { l: this.on.lock, p: this.on.path, m: this.on.like };
    if (event.key in moves) {
      const to = moves[event.key];
      if (to >= 0 && to <= last) this.#move(to, true);
    } else if (event.key.toLowerCase() in acts) {
      acts[event.key.toLowerCase()](place);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #withTile(event, act) {
    const place = this.placeOf(event.target);
    if (place !== null) act(place);
  }
}
