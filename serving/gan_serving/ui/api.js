/** The calls to the service. Addresses are relative: the page also works behind a proxy's prefix. */

const ROOT = new URL("..", document.baseURI);
const KEY = "gan-api-key";
const SENDABLE = /^[\x20-\x7e\x80-\xff]*$/; // in a header: curly quotes, for one, are not

/** The service's address, without a slash at its end. */
export const SERVICE = ROOT.href.replace(/\/$/, "");

/** What the service, or the way to it, says when it says no. */
export class CallError extends Error {
  /**
   * @param {string} message one line for the person
   * @param {{status?: number, code?: string, requestId?: string, retryAfter?: number}} facts
   */
  constructor(message, { status = 0, code = "", requestId = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfter });
  }
}

export const SWAPPED = "swapped"; // code of what an artifact answers that is not the expected one
const expected = new Map(); // name of a model -> its artifact

/** From now on the model's answers are those of this artifact, or none. */
export function expectArtifact({ name, artifact }) {
  expected.set(name, artifact);
}

/** The API key of this tab; "" without one. */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return apiKey.kept ?? "";
  }
}

export function setApiKey(key) {
  apiKey.kept = key; // for browsers that forbid storage
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Kept in memory alone.
  }
}

/** Whether a key can be one at all. */
export function isSendable(key) {
  return SENDABLE.test(key);
}

/** A call; throws CallError for all that is no success, and the browser's AbortError when `signal` says so. */
export async function call(path, { body, signal, accept } = {}) {
  const headers = {};
  const key = apiKey();
  if (!isSendable(key)) throw new CallError("The API key is none of this service's: it has characters that no key has.", { status: 401 });
  if (key) headers.Authorization = `Bearer ${key}`;
  if (accept) headers.Accept = accept;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(path, ROOT), {
      method: body === undefined ? "GET" : "POST",
      headers,
      signal,
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("The service can't be reached. Is it running? It is tried again when you ask for it.", { code: "unreachable" });
  }
  if (!response.ok) throw await refusal(response);
  const [name, artifact] = ["x-gan-model", "x-gan-artifact"].map((header) => response.headers.get(header));
  if (artifact && (expected.get(name) ?? artifact) !== artifact) throw new CallError(`${name} is another artifact now.`, { code: SWAPPED });
  return response;
}

async function refusal(response) {
  const facts = { status: response.status, retryAfter: Number(response.headers.get("retry-after")) || 0 };
  const said = await response.json().catch(() => null);
  if (!said?.error) return new CallError(`The service answered with status ${response.status}.`, facts);
  facts.code = said.error.code;
  facts.requestId = said.request_id;
  return new CallError(sentence(said.error.message), facts);
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Images of /generate or /interpolate, as one array. */
export async function images(path, body, signal) {
  const text = typeof body === "string" ? body : JSON.stringify({ ...body, format: "npy" });
  const response = await call(path, { body: text, signal });
  return readNpy(await response.arrayBuffer());
}

/** A uint8 array (N, H, W, C) of NumPy's own format, versions 1 to 3. */
export function readNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const long = bytes[6] > 1;
  const start = long ? 12 : 10;
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const shape = /'shape': \(([^)]*)\)/.exec(header)?.[1].split(",").filter((part) => part.trim()).map(Number);
  if (String.fromCharCode(...bytes.subarray(1, 6)) !== "NUMPY" || !header.includes("'|u1'") || shape?.length !== 4) {
    throw new CallError("The service sent something else than an array of images; are page and service of one version?");
  }
  const [n, height, width, channels] = shape;
  const data = bytes.subarray(start + length);
  if (data.length !== n * height * width * channels) throw new CallError("The connection broke before all images came.");
  return { n, height, width, channels, data };
}

export async function json(path, options) {
  return (await call(path, options)).json();
}
