/** The calls to the service. Addresses are relative: the page also works behind a proxy's prefix. */

const ROOT = new URL("..", document.baseURI);
const KEY = "gan-api-key";
const BROKEN = "The connection broke before all of the answer came.";
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

  /** Whether the service is away, or isn't ready, and nobody said when it will be. */
  get away() {
    return this.code === "unreachable" || ([502, 503].includes(this.status) && !this.retryAfter);
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

/**
 * A call, whose answer is read to its end; throws CallError for all that is no success, and the browser's AbortError when
 * `signal` says so.
 *
 * @param {"arrayBuffer" | "blob" | "json" | "text"} as what is given back
 */
export async function call(path, as, { body, signal } = {}) {
  const headers = {};
  const key = apiKey();
  if (!isSendable(key)) throw new CallError("The API key is not one of this service's: it has characters that no key has.", { status: 401 });
  if (key) headers.Authorization = `Bearer ${key}`;
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
    throw new CallError("The service can't be reached. Is it running? The page goes on by itself when it is back.", { code: "unreachable" });
  }
  if (!response.ok) throw await refusal(response);
  const [name, artifact] = ["x-gan-model", "x-gan-artifact"].map((header) => response.headers.get(header));
  if (artifact && (expected.get(name) ?? artifact) !== artifact) throw new CallError(`${name} is another artifact now.`, { code: SWAPPED });
  return read(response, as);
}

/** The body; one that breaks off, or is none of the service's, is told in words. */
async function read(response, as) {
  try {
    return await response[as]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error instanceof SyntaxError) throw new CallError("What answered is not the service: it sent something else than JSON. Is a proxy in between?");
    throw new CallError(BROKEN, { code: "unreachable" });
  }
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
  return readNpy(await call(path, "arrayBuffer", { body: text, signal }));
}

/** A uint8 array (N, H, W, C) of NumPy's own format, versions 1 to 3. */
export function readNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 12) throw new CallError(BROKEN, { code: "unreachable" });
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
  if (data.length !== n * height * width * channels) throw new CallError(BROKEN, { code: "unreachable" });
  return { n, height, width, channels, data };
}

export function json(path, options) {
  return call(path, "json", options);
}
