/**
 * What became of a job of redqueue's: `pollJobStatus` for scripts, `<job-status>` for pages.
 *
 * An ES module without dependencies. It asks the app that serves it, so it needs no address.
 *
 *   import { pollJobStatus } from "/api/jobs/job-status.js";
 *   const job = await pollJobStatus("sms", id, { onUpdate: (status) => console.log(status.progress) });
 *
 *   <script type="module" src="/api/jobs/job-status.js"></script>
 *   <job-status type="sms" job-id="..."></job-status>
 */

const OWN_URL = new URL(".", import.meta.url);
const LONGEST_BACKOFF_MS = 30_000;
const SHORTEST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2 ** 31 - 1; // a longer timer fires at once

/** The server refused: the job isn't known, or may not be seen. Asking again would not help. */
export class JobStatusError extends Error {
  /**
   * @param {number} status of HTTP
   * @param {string} detail what the server said
   */
  constructor(status, detail) {
    super(detail);
    this.name = "JobStatusError";
    this.status = status;
  }
}

/**
 * Ask for a job's status until it has ended.
 *
 * An outage (no connection, 429, 5xx) is waited out, for as long as it takes, unless the signal ends it.
 *
 * @param {string} type the job type
 * @param {string} id the job's id
 * @param {object} [options]
 * @param {string | URL} [options.baseUrl] below which the app is; by default where this module came from
 * @param {number} [options.interval] milliseconds between two questions; 5,000 by default, and for what is no number
 *   above 0
 * @param {number} [options.wait] seconds, up to 60, for which the server may hold an answer back until there is news;
 *   then a change is seen at once, and `interval` matters only when the server doesn't hold back, or sends no ETag that
 *   can be read: another origin has to expose it
 * @param {AbortSignal} [options.signal] ends the polling
 * @param {(status: object) => void} [options.onUpdate] called with the first status and each one that differs
 * @param {HeadersInit} [options.headers] such as Authorization
 * @param {typeof fetch} [options.fetch] instead of the browser's
 * @returns {Promise<object>} the final status: completed, failed or cancelled
 * @throws {JobStatusError} the server refused, or no longer keeps a job that was seen before (status 404)
 * @throws the signal's reason, when it was aborted; and what onUpdate throws
 */
export async function pollJobStatus(type, id, options = {}) {
  const { wait = 0, signal, onUpdate } = options;
  const interval = options.interval > 0 ? Math.min(options.interval, LONGEST_PAUSE_MS) : 5000;
  const url = urlOf(options.baseUrl, type, id);
  let known = { status: null, body: null, etag: null };
  let outages = 0;
  for (;;) {
    signal?.throwIfAborted();
    const began = Date.now();
    const held = known.etag !== null && wait > 0;
    if (held) {
      url.searchParams.set("wait", String(wait));
    } else {
      url.searchParams.delete("wait");
    }
    const answer = await ask(url, known, options);
    signal?.throwIfAborted();
    if (answer.outage) {
      await pause(backoff(interval, outages++, answer.retryAfter), signal);
      continue;
    }
    outages = 0;
    const changed = answer.body !== undefined && answer.body !== known.body;
    if (answer.body !== undefined) {
      known = answer;
    }
    if (changed) {
      onUpdate?.(known.status);
      signal?.throwIfAborted();
    }
    if (known.status !== null && known.status.status !== "pending" && known.status.status !== "processing") {
      return known.status;
    }
    const gap = wait > 0 && changed && known.etag !== null ? Math.min(SHORTEST_PAUSE_MS, interval) : interval;
    await pause(held ? Math.max(0, gap - (Date.now() - began)) : gap, signal);
  }
}

function urlOf(baseUrl, type, id) {
  const base = new URL(baseUrl ?? OWN_URL, OWN_URL);
  if (!base.pathname.endsWith("/")) {
    base.pathname += "/";
  }
  return new URL(`${encodeURIComponent(type)}/${encodeURIComponent(id)}/status`, base);
}

/** One question: {status, body, etag}, or {} when it is the one known, or {outage} when there was no answer. */
async function ask(url, known, options) {
  const headers = new Headers(options.headers);
  headers.set("Accept", "application/json, application/problem+json");
  if (known.etag !== null) {
    headers.set("If-None-Match", known.etag);
  }
  const send = options.fetch ?? globalThis.fetch;
  try {
    const answer = await send(url, { headers, signal: options.signal, cache: "no-store" });
    if (answer.status === 304) {
      return {};
    }
    if (answer.status === 429 || answer.status >= 500) {
      return { outage: true, retryAfter: Number(answer.headers.get("Retry-After")) || 0 };
    }
    if (answer.status === 404 && known.status !== null) {
      throw new JobStatusError(404, "finished and no longer kept");
    }
    if (!answer.ok || !(answer.headers.get("Content-Type") ?? "").startsWith("application/json")) {
      throw new JobStatusError(answer.status, await detailOf(answer)); // a page to log in on is no status either
    }
    const body = await answer.text();
    return { status: JSON.parse(body), body, etag: answer.headers.get("ETag") };
  } catch (error) {
    if (error instanceof JobStatusError || options.signal?.aborted) {
      throw error;
    }
    return { outage: true, retryAfter: 0 };
  }
}

async function detailOf(answer) {
  try {
    const { detail } = await answer.json();
    return typeof detail === "string" ? detail : `HTTP ${answer.status}`;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

function backoff(interval, outages, retryAfter) {
  const first = Math.min(Math.max(interval, SHORTEST_PAUSE_MS), 1000);
  const grown = Math.min(first * 2 ** Math.min(outages, 10), LONGEST_BACKOFF_MS);
  return Math.max(grown * (0.5 + Math.random() / 2), Math.min(retryAfter * 1000, LONGEST_BACKOFF_MS));
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

const STYLE = `
  :host { display: block; font: inherit; --bar: #2f6fde; }
  :host([hidden]) { display: none; }
  .line { display: flex; justify-content: space-between; gap: 1em; }
  .bar { height: .5em; margin: .3em 0; border-radius: .25em; overflow: hidden; background: #8884; }
  .done { height: 100%; width: 0; border-radius: inherit; background: var(--bar); transition: width .3s; }
  .bar:not([aria-valuenow]) .done { width: 100%; opacity: .35; }
  :host([status="completed"]) { --bar: #1c8a4c; }
  :host([status="failed"]), :host([status="error"]) { --bar: #c4342b; }
  :host([status="cancelled"]) { --bar: #777; }
  .detail { overflow-wrap: anywhere; font-size: .875em; opacity: .8; }
  .detail:empty { display: none; }
  @media (prefers-reduced-motion: reduce) { .done { transition: none; } }
`;
let sheet = null;

/**
 * `<job-status type="sms" job-id="...">`: a job's label, a progress bar and what there is to say, until it has ended.
 *
 * Attributes: type, job-id; base-url, interval (ms) and wait (s) as in `pollJobStatus`. A change of any begins anew.
 * `status` is set by the element, for style sheets: pending, processing, completed, failed, cancelled or error.
 * Parts for `::part()`: label, state, bar, done, detail.
 * Events, which bubble: `job-status-change` and `job-finished` with the status as `detail`, `job-status-error` with the
 * error. Properties: `job`, the last status; `texts`, the words for people; `headers`, such as Authorization.
 */
export class JobStatusElement extends (globalThis.HTMLElement ?? class {}) {
  static observedAttributes = ["type", "job-id", "base-url", "interval", "wait"];

  /** The words for people. Assign others to the class, or to one element. */
  static texts = {
    pending: "Waiting",
    inLine: (before) => `Waiting: ${before} before this one`,
    processing: "Running",
    completed: "Done",
    failed: "Failed",
    cancelled: "Cancelled",
    error: "Status not available",
  };

  job = null;
  texts = this.texts ?? null; // what a page set before this module was loaded stays
  headers = this.headers;
  #polling = null;
  #parts = null;

  connectedCallback() {
    this.#parts ??= this.#build();
    this.#begin();
  }

  disconnectedCallback() {
    this.#polling?.abort();
    this.#polling = null;
  }

  attributeChangedCallback() {
    if (this.#polling !== null) {
      this.#begin();
    }
  }

  /** Begin anew, once for all attributes that a script sets in one go. */
  #begin() {
    this.#polling?.abort();
    const polling = (this.#polling = new AbortController());
    queueMicrotask(() => {
      if (!polling.signal.aborted) {
        this.#poll(polling.signal);
      }
    });
  }

  async #poll(signal) {
    const type = this.getAttribute("type");
    const id = this.getAttribute("job-id");
    this.job = null;
    this.#show("pending", {});
    if (!type || !id) {
      return;
    }
    const interval = Number(this.getAttribute("interval")) || undefined;
    const wait = Number(this.getAttribute("wait")) || undefined;
    const baseUrl = this.getAttribute("base-url") ?? undefined;
    try {
      const onUpdate = (status) => this.#update(status);
      const options = { baseUrl, interval, wait, signal, onUpdate, headers: this.headers };
      const last = await pollJobStatus(type, id, options);
      signal.throwIfAborted();
      this.#tell("job-finished", last);
    } catch (error) {
      if (!signal.aborted) {
        this.#show("error", { ...this.job, detail: error.message });
        this.#tell("job-status-error", error);
      }
    }
  }

  #update(status) {
    this.job = status;
    const said = status.status === "failed" ? status.error : status.message;
    this.#show(status.status, { ...status, detail: said ?? "" });
    this.#tell("job-status-change", status);
  }

  /** Text is set as text, never as markup: labels and messages come from users. */
  #show(state, { label = "", position = null, progress = null, detail = "" }) {
    const parts = this.#parts;
    const texts = { ...this.constructor.texts, ...this.texts };
    this.setAttribute("status", state);
    parts.label.textContent = label;
    parts.state.textContent = state === "pending" && position > 0 ? texts.inLine(position) : texts[state] ?? state;
    parts.detail.textContent = detail;
    if (progress === null && (state === "pending" || state === "processing")) {
      parts.bar.removeAttribute("aria-valuenow");
      parts.done.style.removeProperty("width");
    } else {
      const done = state === "completed" ? 1 : Math.min(Math.max(progress ?? 0, 0), 1);
      const percent = Math.round(100 * done);
      parts.bar.setAttribute("aria-valuenow", String(percent));
      parts.done.style.width = `${percent}%`;
    }
    parts.bar.setAttribute("aria-label", label || (this.getAttribute("type") ?? ""));
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #build() {
    if (sheet === null) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
    }
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    const part = (tag, name, attributes = {}) => {
      const element = document.createElement(tag);
      element.className = name;
      element.setAttribute("part", name);
      for (const [attribute, value] of Object.entries(attributes)) {
        element.setAttribute(attribute, value);
      }
      return element;
    };
    const line = part("div", "line");
    const label = part("span", "label");
    const state = part("span", "state", { role: "status" });
    const bar = part("div", "bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" });
    const done = part("div", "done");
    const detail = part("div", "detail");
    line.append(label, state);
    bar.append(done);
    root.append(line, bar, detail);
    return { label, state, bar, done, detail };
  }
}

if (globalThis.customElements && !customElements.get("job-status")) {
  customElements.define("job-status", JobStatusElement);
}
