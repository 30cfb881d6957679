/** The call that gives what is shown, as a person would write it: with curl, in Python, on the command line. */

import { SERVICE, apiKey } from "./api.js";
import { rowsToJson } from "./latents.js";
import { toJson } from "./requests.js";

const SHOWN = 600; // characters of a long list of numbers

/**
 * @param {{body: object, path: boolean, columns?: number, names?: string[]}} subject a request of /generate, or of
 *   /interpolate; and the names of the model's classes
 * @returns {{curl: string, python: string, cli: string}}
 */
export function snippets(subject) {
  return { curl: curl(subject), python: python(subject), cli: cli(subject) };
}

/** The same text for the page: lists of numbers are cut, which copying doesn't do. */
export function abridged(text) {
  return text
    .split("\n")
    .map((line) => (line.length > SHOWN ? `${line.slice(0, SHOWN - 200)} … ${line.slice(-80)}` : line))
    .join("\n");
}

function count({ seeds, latents, n }) {
  return seeds?.length ?? latents?.length ?? n ?? 1;
}

function fileOf({ body, path }, suffix) {
  if (path) return `path.${suffix}`;
  return `${count(body) > 1 ? "sheet" : "image"}.${suffix}`;
}

function curl(subject) {
  const { body, path, columns } = subject;
  const asked = { ...body, format: path ? "gif" : "png", ...(columns ? { columns } : {}) };
  const lines = [
    `curl -sS --fail-with-body -X POST ${quoted(`${SERVICE}/${path ? "interpolate" : "generate"}`)}`,
    ...(apiKey() ? [`  -H "Authorization: Bearer $GAN_API_KEY"`] : []),
    `  -H 'Content-Type: application/json'`,
    `  -o ${fileOf(subject, asked.format)}`,
  ];
  const data = quoted(toJson(asked));
  // One argument of a program has 128 KiB at most on Linux.
  if (data.length < 100_000) return [...lines, `  -d ${data}`].join(" \\\n");
  return `${[...lines, "  -d @-"].join(" \\\n")} <<'END'\n${toJson(asked)}\nEND`;
}

function python({ body, path, columns }) {
  const { model, latents, n, seed, seeds, label, truncation, steps, loop, fps } = body;
  const arguments_ = [];
  const named = (name, value) => value !== undefined && arguments_.push(`${name}=${literal(value)}`);
  if (n !== undefined) arguments_.push(String(n));
  if (path && seeds) arguments_.push(literal(seeds));
  else if (seeds) named("seeds", seeds);
  if (latents) arguments_.push("latents=latents");
  if (!path) named("seed", seed);
  if (Array.isArray(label)) arguments_.push(`label=${inTurn(label)}`);
  else named("label", label);
  named("truncation", truncation);
  named("steps", steps);
  named("loop", loop);
  named("fps", fps);
  named("model", model);
  const what = path ? "path" : "images";
  const result = path
    ? `    path.save("path.gif")`
    : count(body) > 1
      ? `    images.grid(${columns ?? ""}).save("sheet.png")`
      : `    images[0].save("image.png")`;
  return [
    "from gan_client import GanClient",
    "",
    ...(latents ? [`latents = ${rowsToJson(latents)}`, ""] : []),
    `with GanClient(${JSON.stringify(SERVICE)}) as client:${apiKey() ? "  # the key is in GAN_API_KEY" : ""}`,
    `    ${what} = client.${path ? "interpolate" : "generate"}(${arguments_.join(", ")})`,
    result,
  ].join("\n");
}

function cli({ body, path, columns, names }) {
  const { model, latents, n, seed, seeds, label, truncation, steps, loop, fps } = body;
  const options = [`--url ${quoted(SERVICE)}`, `--model ${model}`];
  const option = (name, value) => value !== undefined && options.push(`--${name} ${value}`);
  option("n", n);
  option("seed", seed);
  option("seeds", seeds?.join(","));
  if (latents) options.push("--latents latents.json");
  const class_ = (id) => (names?.includes(String(id)) && names[id] !== String(id) ? `+${id}` : id); // no class of that name
  if (Array.isArray(label)) option("labels", (path ? label : shortestTurn(label)).map(class_).join(","));
  else if (label !== undefined) option("label", class_(label));
  option("truncation", truncation);
  option("steps", steps);
  if (loop) options.push("--loop");
  option("fps", fps);
  option("columns", path ? undefined : columns);
  options.push(path ? "--out path.gif" : "--out samples");
  const call = `gan-client ${path ? "interpolate" : "sample"} ${options.join(" ")}`;
  return latents ? `cat > latents.json <<'END'\n${rowsToJson(latents)}\nEND\n${call}` : call;
}

/** Labels that are gone through in turn, written once. */
function shortestTurn(labels) {
  for (let length = 1; length < labels.length; length += 1) {
    if (labels.every((label, i) => label === labels[i % length])) return labels.slice(0, length);
  }
  return labels;
}

/** A list of labels in Python: what is gone through in turn, times what it takes. */
function inTurn(labels) {
  const turn = shortestTurn(labels);
  const times = Math.ceil(labels.length / turn.length);
  if (times === 1) return literal(labels);
  const all = `${literal(turn)} * ${times}`;
  return labels.length % turn.length ? `(${all})[:${labels.length}]` : all;
}

function literal(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.join(", ")}]`;
  return JSON.stringify(value);
}

/** For a POSIX shell. */
function quoted(text) {
  return /^[\w:/.@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
