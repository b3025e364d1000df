// The way to the API: what is asked, what is done, and what comes by itself. All addresses are relative, so the page works below any path.

/** The relay said no, or did not answer: `status` is 0 then. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether it may be answered later. */
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** What is told of every request: "answered", "silent", "signed-out". */
const told = new EventTarget();

export function onState(act) {
  told.addEventListener("state", (event) => act(event.detail));
}

/** Calls `act` once, when the relay answers next. */
export function onAnswer(act) {
  const heard = (event) => {
    if (event.detail !== "answered") return;
    told.removeEventListener("state", heard);
    act();
  };
  told.addEventListener("state", heard);
}

function tell(state) {
  told.dispatchEvent(new CustomEvent("state", { detail: state }));
}

/** Asks: get("events", {type: "sent"}). Parameters without a value are left out. */
export function get(path, parameters = {}, signal = null) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  return ask(`api/${path}${query}`, { signal });
}

/** Has something done, or asks for something that does not belong into an address. */
export function post(path, body = {}, signal = null) {
  const headers = { "content-type": "application/json", "x-vero-relay-write": "1" };
  return ask(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** What came into a bin; of no name: how much came into each. */
export function bin(name) {
  return ask(name ? `bin/${encodeURIComponent(name)}` : "bin", {});
}

/** The bytes of something. */
export async function bytes(path, signal = null) {
  const answer = await reach(`api/${path}`, { signal });
  return new Uint8Array(await answer.arrayBuffer());
}

async function ask(address, options) {
  const answer = await reach(address, options);
  const text = await answer.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(0, "The answer is not the relay's. Does a proxy stand in between?");
  }
}

/** A relay that is still busy with a search of this session says so; it is asked again so many times. */
const ASKED_AGAIN_MAX = 5;
const AGAIN_AFTER_MS = 500;

async function reach(address, options) {
  for (let asked = 0; ; asked += 1) {
    const answer = await reachOnce(address, options);
    if (answer.ok) return answer;
    // One that says when to come back means whoever tries tokens.
    const isBusy = answer.status === 429 && !answer.headers.has("retry-after");
    if (!isBusy || asked === ASKED_AGAIN_MAX) throw new Refused(answer.status, await why(answer));
    await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER_MS));
  }
}

async function reachOnce(address, options) {
  let answer;
  try {
    answer = await fetch(address, { cache: "no-store", credentials: "same-origin", ...options, headers: { accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("silent");
    throw new Refused(0, "The relay does not answer.");
  }
  if (answer.status === 401) {
    tell("signed-out");
    throw new Refused(401, "Sign in first.");
  }
  tell("answered");
  return answer;
}

/** The sentence in a refusal. */
async function why(answer) {
  try {
    return JSON.parse(await answer.text()).error ?? `status ${answer.status}`;
  } catch {
    return `status ${answer.status}`;
  }
}

/** An id for a command, so that it is done once however often it is said. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// ---- what is known of the relay

/** How it stands, as it said last; what came by itself since is in it. */
export const relay = { status: null, minutes: null, version: null, epoch: null, isLive: false, isSilent: false, isHeldUp: false, signedOut: false, onlyLooks: false, file: null, startedMs: null };

/** The relay says in whole seconds for how long it has run, so that its start would seem to move by so much. */
const START_MOVES_MS = 3000;

/** Called with whether a newer program answers, each time that the relay has said how it stands. */
export function onRefresh(act) {
  told.addEventListener("refreshed", (event) => act(event.detail));
}

/** Asks the relay how it stands. One that does not answer is told of elsewhere. */
export async function refresh() {
  try {
    const [status, minutes] = await Promise.all([get("status"), get("minutes")]);
    const isNewer = relay.version !== null && relay.version !== status.version;
    const startedMs = Date.parse(minutes.until) - status.uptime_s * 1000;
    if (!(Math.abs(startedMs - relay.startedMs) < START_MOVES_MS)) relay.startedMs = startedMs;
    Object.assign(relay, { status, minutes, version: status.version });
    told.dispatchEvent(new CustomEvent("refreshed", { detail: isNewer }));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
}

/** Called each time that a look at the config file on the disk has found something new. */
export function onFile(act) {
  told.addEventListener("file", act);
}

let looks = 0;

/** Looks how the config file on the disk stands to what is in force. */
export async function lookAtFile() {
  if (relay.onlyLooks) return;
  looks += 1;
  const own = looks;
  try {
    const file = await get("config/on-disk");
    // One that began later knows more.
    if (own !== looks || JSON.stringify(file) === JSON.stringify(relay.file)) return;
    relay.file = file;
    told.dispatchEvent(new Event("file"));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
}

// ---- what comes by itself

const FIRST_WAIT_MS = 1200;
const LONGEST_WAIT_MS = 15000;
/** The relay says something at once, and then at least every 15 seconds: after a longer silence somebody holds it up, or the connection is dead. */
const FIRST_SILENCE_MS = 8000;
const SILENCE_MS = 40000;
/** The last frame, so that it goes on behind it also when the tab was hidden for a while. */
let last = null;

/**
 * Listens to the relay until it is closed. `act(kind, data)` gets each frame; `state(what)` hears "open", "lost" and "held-up". After a
 * break it goes on with the frame behind the last one.
 */
export function listen(act, state) {
  let closed = false;
  let wait = FIRST_WAIT_MS;
  let current = null;
  let timer = null;

  async function once() {
    current = new AbortController();
    let heard = false;
    /** Waits for something of the relay, but not for ever: what is silent for too long is given up. */
    const within = (said) => {
      const silence = setTimeout(() => {
        if (!heard) state("held-up");
        current.abort();
      }, heard ? SILENCE_MS : FIRST_SILENCE_MS);
      return said.finally(() => clearTimeout(silence));
    };
    const headers = last ? { "last-event-id": last } : {};
    const answer = await within(reach("api/stream", { signal: current.signal, headers: { accept: "text/event-stream", ...headers } }));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const frames = parser((frame) => {
      if (frame.id) last = frame.id;
      wait = FIRST_WAIT_MS;
      act(frame.kind, frame.data);
    });
    for (;;) {
      const { done, value } = await within(reader.read());
      if (done) return;
      if (!heard) state("open");
      heard = true;
      frames(value);
    }
  }

  async function forever() {
    while (!closed) {
      try {
        if (await lines.take()) await once();
      } catch (error) {
        if (error.status === 401) return;
      }
      if (closed) return;
      state("lost");
      await new Promise((resolve) => (timer = setTimeout(resolve, wait)));
      wait = Math.min(wait * 1.6, LONGEST_WAIT_MS);
    }
  }

  forever();
  return {
    close() {
      closed = true;
      lines.leave();
      clearTimeout(timer);
      current?.abort();
    },
  };
}

/**
 * A browser has six connections to a host, over all tabs, and a stream holds one: so many tabs have one, and the others ask now and then. The
 * tabs agree by messages: one that asks hears from each that has a stream, and from each that asks too and has the smaller name.
 */
const LINES_MAX = 4;
const ANSWERED_WITHIN_MS = 200;
const lines = {
  me: newId(),
  stands: "aside",
  others: 0,
  channel: new BroadcastChannel("vero-relay"),

  async take() {
    if (this.stands === "holds") return true;
    this.stands = "asks";
    this.others = 0;
    this.channel.postMessage({ asks: this.me });
    await new Promise((resolve) => setTimeout(resolve, ANSWERED_WITHIN_MS));
    if (this.stands !== "asks") return false;
    this.stands = this.others < LINES_MAX ? "holds" : "aside";
    return this.stands === "holds";
  },

  leave() {
    this.stands = "aside";
  },
};
lines.channel.addEventListener("message", ({ data }) => {
  const isBefore = lines.stands === "holds" || (lines.stands === "asks" && lines.me < data.asks);
  if (data.asks && isBefore) lines.channel.postMessage({ answers: data.asks });
  if (data.answers === lines.me) lines.others += 1;
});

/** Takes pieces of an event stream and calls `act` with each frame that is whole. */
export function parser(act) {
  let rest = "";
  let frame = { id: null, kind: "message", data: [] };
  return (piece) => {
    rest += piece;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (frame.data.length) act({ id: frame.id, kind: frame.kind, data: JSON.parse(frame.data.join("\n")) });
        frame = { id: null, kind: "message", data: [] };
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "id") frame.id = value;
      else if (field === "event") frame.kind = value;
      else if (field === "data") frame.data.push(value);
    }
  };
}
