/**
 * What the service is doing now, from /metrics, which adds up its workers. Asked once a second while the page is seen;
 * of a service that is away it is asked more and more seldom whether it is ready.
 */

import { call } from "./api.js";
import { $, announce, el, figure } from "./dom.js";

const EVERY = 1000; // milliseconds
const SELDOMEST = 16; // times as long, where the service is away
const KEPT = 60; // samples of images/s

export class Live {
  /**
   * @param {(live: Live) => void} onSample
   * @param {() => void} onBack called when the service was away and is ready again
   */
  constructor(onSample, onBack) {
    Object.assign(this, { onSample, onBack });
    this.away = false;
    this.misses = 0; // how often in a row it was away
    this.series = []; // [{name, labels, value}]
    this.rates = []; // images/s, the newest last
    this.previous = null;
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.#run());
    addEventListener("online", () => this.#run());
    this.#run();
  }

  /** Somebody has found the service away, as this CallError says. */
  lose(error) {
    if (this.away) return;
    this.misses += 1;
    Object.assign(this, { away: true, series: [], previous: null });
    this.#say(error.code === "unreachable" ? "not reachable" : "not ready", "down");
    this.#next();
  }

  /** The sum of a metric over all series whose labels fit. */
  sum(name, fits = {}) {
    return this.select(name, fits).reduce((sum, { value }) => sum + value, 0);
  }

  select(name, fits = {}) {
    return this.series.filter((one) => one.name === name && Object.entries(fits).every(([label, value]) => one.labels[label] === value));
  }

  /** A quantile of a histogram, 0 to 1, within its bucket by proportion, as Prometheus does; null without a sample. */
  quantile(name, q, fits = {}) {
    const counts = new Map();
    for (const { labels, value } of this.select(`${name}_bucket`, fits)) {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    const bounds = [...counts.keys()].sort((a, b) => a - b);
    const all = counts.get(Infinity) ?? 0;
    if (!all) return null;
    let [low, below] = [0, 0];
    for (const bound of bounds) {
      const count = counts.get(bound);
      if (count >= q * all) return bound === Infinity ? low : low + ((bound - low) * (q * all - below)) / (count - below || 1);
      [low, below] = [bound, count];
    }
    return low;
  }

  #run() {
    clearTimeout(this.timer);
    if (document.hidden) {
      this.previous = null; // a rate over the time in which nobody looked says nothing of now
      return;
    }
    (this.away ? this.#probe() : this.#ask()).finally(() => this.#next());
  }

  #next() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const times = this.away ? Math.min(2 ** (this.misses - 1), SELDOMEST) : 1;
    this.timer = setTimeout(() => this.#run(), times * EVERY);
  }

  async #probe() {
    try {
      await call("readyz", "text");
    } catch (error) {
      // A proxy may also say 504, or when to come again: none of it comes from a service that is ready.
      if (error.away || error.status >= 500) {
        this.misses += 1;
        return;
      }
    }
    if (!this.away) return; // another answer has said so
    this.away = false;
    announce("The service is back.");
    this.onBack();
  }

  async #ask() {
    try {
      const text = await call("metrics", "text");
      if (this.away) return; // found so meanwhile: only /readyz says that it is back
      this.series = parsed(text);
    } catch (error) {
      if (error.away) {
        announce("The service can't be reached. The page goes on by itself when it is back.");
        return this.lose(error);
      }
      Object.assign(this, { series: [], previous: null });
      return this.#say("no live figures", "unknown");
    }
    this.misses = 0;
    const now = performance.now();
    const made = this.sum("gan_images_total", { outcome: "generated" });
    if (this.previous) {
      const rate = Math.max(0, (made - this.previous.made) / ((now - this.previous.at) / 1000));
      this.rates = [...this.rates, rate].slice(-KEPT);
    }
    this.previous = { made, at: now };
    this.#say(`${figure(this.rate)} images/s · ${figure(this.sum("gan_queue_images"))} waiting`, "up");
    this.onSample(this);
  }

  get rate() {
    return this.rates.at(-1) ?? 0;
  }

  #say(text, kind) {
    $("live").replaceChildren(el("span", { className: `lamp ${kind}`, ariaHidden: "true" }), text);
  }
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Prometheus' text format. */
export function parsed(text) {
  return text.split("\n").flatMap((line) => {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) return [];
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, "$1")]));
    return [{ name: match[1], labels, value: Number(match[3].replace("Inf", "Infinity")) }];
  });
}
