/** The pages about the model: its card, its certificate, and what is measured of it. */

import { call } from "./api.js";
import { $, el, figure, tabs } from "./dom.js";
import { rendered } from "./markdown.js";

export class About {
  constructor(guard) {
    this.guard = guard;
    this.model = null;
    this.live = null;
    this.page = "card";
    this.select = tabs(document.querySelector(".about [role=tablist]"), $("about-page"), (kind) => {
      this.page = kind;
      this.#show();
    });
    this.select("card");
  }

  setModel(model) {
    if (this.model?.artifact !== model.artifact) $("about-page").replaceChildren(); // if the new card doesn't come, none is there
    this.model = model;
    this.#show();
  }

  /** New live figures. */
  sample(live) {
    this.live = live;
    if (this.page === "metrics") this.#show();
  }

  #show() {
    if (!this.model) return;
    const { page, model } = this;
    if (page === "card") this.guard(() => this.#card(model));
    else $("about-page").replaceChildren(...(page === "certificate" ? certificate(model) : metrics(model, this.live)));
  }

  async #card(model) {
    const text = await call(`models/${encodeURIComponent(model.name)}/card`, "text");
    if (this.page !== "card" || this.model !== model) return;
    $("about-page").replaceChildren(...rendered(text, (name, alt) => this.#picture(model, name, alt)));
  }

  /** A file beside the card, which is fetched as the API key wants it and then shown from memory. */
  #picture(model, name, alt) {
    if (!/^\w[\w.-]*\.png$/.test(name)) return null;
    const isPreview = name === "preview.png";
    const picture = el("img", {
      alt: isPreview ? `Preview of ${model.name}: fixed seeds, a row for each class` : alt,
      className: isPreview ? "preview" : "picture",
    });
    this.guard(async () => {
      try {
        const blob = await call(`models/${encodeURIComponent(model.name)}/pictures/${name}`, "blob");
        picture.src = URL.createObjectURL(blob);
        picture.onload = () => URL.revokeObjectURL(picture.src);
      } catch (error) {
        if (error.status !== 404) throw error;
        picture.replaceWith(alt); // the card came without it
      }
    });
    return picture;
  }
}

function table(head, rows) {
  const row = (cells, tag) => el("tr", {}, ...cells.map((cell) => el(tag, {}, cell instanceof Node ? cell : String(cell))));
  return el("div", { className: "scroll" }, el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, ...rows.map((cells) => row(cells, "td")))));
}

function exact(value) {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : Number(value.toPrecision(4));
}

function certificate(model) {
  const { certificate: paper } = model;
  return [
    el("p", {}, `Compared with ${paper.reference}.`),
    ...paper.results.flatMap((result) => {
      const errors = result.against_float32;
      return [
        el("h3", {}, `${result.variant}, ${result.provider}`),
        el(
          "p",
          {},
          `${figure(result.compared)} images compared. ` +
            (errors ? `Largest error of a pixel on [-1, 1]: ${errors.max_abs.toExponential(2)}; in the mean ${errors.mean_abs.toExponential(2)}.` : ""),
        ),
        table(
          ["Gate", "Result", "Measured", "Limit", "What"],
          result.gates.map((gate) => [
            gate.code,
            el("span", { className: gate.passed ? "good" : "wrong" }, gate.passed ? "passed" : gate.allowed ? "let through" : "failed"),
            exact(gate.measured),
            exact(gate.limit),
            `${gate.what} (${gate.unit})`,
          ]),
        ),
      ];
    }),
  ];
}

function metrics(model, live) {
  const of = { model: model.name };
  const variant = model.variants.find(({ name }) => name === model.engine.variant) ?? model.variants[0];
  const rows = [["Engine", `${model.engine.variant}, ${model.engine.provider}, ${model.engine.threads} threads`]];
  for (const [batch, rate] of Object.entries(variant.images_per_second)) {
    rows.push([`Measured at export, batch ${batch}`, `${figure(rate)} images/s`]);
  }
  for (const [name, value] of Object.entries(model.provenance.training)) {
    if (typeof value !== "object") rows.push([`Training: ${name.replaceAll("_", " ")}`, String(value)]);
  }
  rows.push(["Loaded", model.loaded_at]);
  const parts = [table(["Model", "Value"], rows)];
  if (!live?.series.length) return [el("p", { className: "quiet" }, "No live figures: /metrics gave none."), ...parts];
  const seconds = (value) => (value === null ? "–" : `${figure(value * 1000, 1)} ms`);
  const now = [
    ["Images/s, all models", figure(live.rate)],
    ["Waiting, this model", figure(live.sum("gan_queue_images", of))],
    ...["generated", "failed", "dropped"].map((outcome) => [`Images ${outcome}, this model`, figure(live.sum("gan_images_total", { ...of, outcome }))]),
    ["Images in a run, mean", figure(live.sum("gan_batch_images_sum", of) / live.sum("gan_batch_images_count", of), 1)],
    ["A run, median and 95th percentile", `${seconds(live.quantile("gan_run_seconds", 0.5, of))}, ${seconds(live.quantile("gan_run_seconds", 0.95, of))}`],
    ["Wait in the queue, 95th percentile", seconds(live.quantile("gan_queue_wait_seconds", 0.95, of))],
    ["Requests refused", figure(live.sum("gan_rejections_total"))],
  ];
  return [spark(live.rates), table(["Now", "Value"], now), ...parts];
}

const SVG = "http://www.w3.org/2000/svg";

/** Images/s of the last minute, as a line. */
function spark(rates) {
  const [width, height] = [600, 60];
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, i) => `${(width * (60 - rates.length + i)) / 59},${height - 3 - ((height - 6) * rate) / most}`);
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "spark");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Images per second in the last minute, ${figure(most)} at most`);
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  return el("figure", {}, svg, el("figcaption", { className: "quiet" }, `Images/s in the last minute, at most ${figure(Math.max(0, ...rates))}`));
}
