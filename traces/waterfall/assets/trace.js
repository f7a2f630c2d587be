
// The trace: a column for each property of spans, in the order of the tree,
// parents before children. Times are nanoseconds since the start of the trace.

const ACTION = 1, CALL = 2, FAILED = 4, CRITICAL = 8; // in flags
const NO_STAGE = 255;

const data = JSON.parse(document.getElementById("data").textContent);
const trace = decode(data);
window.weirTimings = { decoded: performance.now(), ready: 0, redraws: 0, redrawLast: 0, redrawMax: 0, rebuildMax: 0 };

function decode(d) {
  const n = d.name.length;
  const t = {
    n,
    duration: Math.max(d.duration, 1),
    parent: new Int32Array(n), // -1 for a root
    next: new Int32Array(n), // the first span behind the subtree
    start: new Float64Array(n),
    end: new Float64Array(n), // not before start
    flags: new Uint8Array(n),
    stage: new Uint8Array(n),
    lost: new Map(d.lost.map((l) => [l.span, l])),
    errors: new Map(d.errors),
    links: new Map(),
    actions: [],
    calls: 0,
  };
  const stageOf = new Map();
  d.stages.forEach((s, i) => s.spans.forEach((name) => stageOf.set(name, i)));
  const kinds = d.strings.map(() => 0); // of names, as they are met
  const stages = d.strings.map(() => NO_STAGE);
  for (const name of new Set(d.name)) {
    const text = d.strings[name];
    kinds[name] = text === "action" ? ACTION : text.includes("/") ? CALL : 0;
    stages[name] = stageOf.get(text) ?? NO_STAGE;
  }
  const open = []; // the ancestors, by depth
  for (let i = 0; i < n; i++) {
    const depth = d.depth[i];
    for (let k = depth; k < open.length; k++) t.next[open[k]] = i;
    open.length = depth;
    const parent = depth > 0 ? open[depth - 1] : -1;
    open.push(i);
    t.parent[i] = parent;
    t.start[i] = d.from[i] + (parent >= 0 ? t.start[parent] : 0);
    t.end[i] = t.start[i] + Math.max(d.took[i], 0);
    t.flags[i] = kinds[d.name[i]];
    t.stage[i] = stages[d.name[i]];
    if (t.flags[i] & ACTION) t.actions.push(i);
    if (t.flags[i] & CALL) t.calls++;
  }
  for (const i of open) t.next[i] = n;
  for (const i of d.failed) t.flags[i] |= FAILED;
  for (const i of d.critical) t.flags[i] |= CRITICAL;
  for (const link of d.links) {
    if (!t.links.has(link.span)) t.links.set(link.span, []);
    t.links.get(link.span).push(link);
  }
  return t;
}

// id returns the id of a span, which is 16 hex digits.
const id = (i) => data.ids.substr(16 * i, 16);

// spanWithID returns the span with an id, -1 if there is none.
function spanWithID(wanted) {
  if (wanted.length !== 16) return -1;
  for (let at = data.ids.indexOf(wanted); at >= 0; at = data.ids.indexOf(wanted, at + 1)) {
    if (at % 16 === 0) return at / 16;
  }
  return -1;
}

const nameOf = (i) => data.strings[data.name[i]];
const serviceOf = (i) => data.strings[data.service[i]];

const keyPlaces = new Map(); // the places of a key, of which there is one for each type
data.keys.forEach((k, i) => keyPlaces.set(k.key, [...(keyPlaces.get(k.key) ?? []), i]));

// attr returns an attribute of a span as text, "" if it has none.
function attr(i, key) {
  const places = keyPlaces.get(key);
  if (!places) return "";
  const set = data.sets[data.set[i]];
  for (let k = 0; k < set.length; k += 2) {
    if (places.includes(set[k])) return data.strings[set[k + 1]];
  }
  return "";
}

// actionOf returns the action a span is part of, or the span itself if it is part
// of none.
function actionOf(i) {
  for (let a = i; a >= 0; a = trace.parent[a]) {
    if (trace.flags[a] & ACTION) return a;
  }
  return i;
}

// timesOf returns how long an action was in each of the stages, all attempts
// together. What lies within a worker is not the worker's own.
function timesOf(action) {
  const times = data.stages.map(() => 0), runner = stageNamed("runner"), other = stageNamed("other");
  let rest = trace.end[action] - trace.start[action];
  for (let i = action + 1; i < trace.next[action]; i++) {
    const stage = trace.stage[i], parent = trace.parent[i], took = trace.end[i] - trace.start[i];
    if (stage === NO_STAGE) continue;
    times[stage] += took;
    if (parent !== action && trace.stage[parent] === runner) times[runner] -= took;
    else rest -= took;
  }
  times[other] = rest;
  // Attempts of one action may overlap: then less than nothing is left.
  return times.map((t) => Math.max(t, 0));
}

const stageNamed = (name) => data.stages.findIndex((s) => s.name === name);

// label names a span: what it is, and what tells it apart. Where there is no room
// for all of the second, what is behind the cut says more than what is before it.
function label(i) {
  const name = nameOf(i);
  if (trace.flags[i] & ACTION) {
    const what = attr(i, "rbe.target.id") || attr(i, "rbe.action.digest").slice(0, 12) || attr(i, "rbe.operation.name");
    const slash = what.lastIndexOf("/");
    return { head: attr(i, "rbe.action.mnemonic") || "action", tail: what, cut: slash > 2 ? slash : what.length };
  }
  const by = serviceOf(i) && "@" + serviceOf(i);
  if (trace.flags[i] & CALL) return { head: name.slice(name.lastIndexOf("/") + 1) || name, tail: by, cut: 0 };
  const attempt = attr(i, "rbe.attempt");
  const tail = [
    attempt > 1 ? "attempt " + attempt : "",
    name === "worker" ? attr(i, "rbe.worker.id") : "",
    attr(i, "rbe.queue.reason"),
    attr(i, "rbe.retry.reason"),
    trace.stage[i] === NO_STAGE ? by : "",
  ].filter((s) => s).join(" ");
  return { head: name, tail, cut: tail.length };
}

function plainLabel(i) {
  const { head, tail } = label(i);
  return tail ? head + " " + tail : head;
}

// marks returns what is notable about a span, as text and class.
function marks(i) {
  const list = [];
  const flags = trace.flags[i];
  if (flags & FAILED) {
    const code = flags & ACTION ? attr(i, "process.exit.code") : "";
    list.push([code && code !== "0" ? "FAILED exit " + code : "FAILED", "bad"]);
  }
  if (flags & CRITICAL) list.push(["critical", "path"]);
  if (flags & ACTION) {
    const cache = attr(i, "rbe.cache.result");
    if (cache === "hit") list.push(["cached", ""]);
    if (cache === "deduplicated") list.push(["joined", ""]);
    const attempts = attr(i, "rbe.attempt");
    if (attempts > 1) list.push([attempts + " attempts", ""]);
  }
  if (attr(i, "rbe.attempt.late")) list.push(["late", ""]);
  if (data.took[i] < 0) list.push(["ends before it starts", "bad"]);
  const lost = trace.lost.get(i);
  if (lost) list.push([lost.cycle ? "parent is below it" : "parent is elsewhere", ""]);
  return list;
}

// brief writes a duration in nanoseconds with three digits.
function brief(ns) {
  const abs = Math.abs(ns);
  if (abs < 1) return "0";
  if (abs < 1e3) return Math.round(ns) + " ns";
  if (abs < 999.5e3) return digits(ns / 1e3) + " µs";
  if (abs < 999.5e6) return digits(ns / 1e6) + " ms";
  if (abs < 99.95e9) return digits(ns / 1e9) + " s";
  const s = Math.round(abs / 1e9), sign = ns < 0 ? "−" : "";
  if (s < 3600) return `${sign}${Math.floor(s / 60)}m ${String(s % 60).padStart(2, "0")}s`;
  if (s < 86400) return `${sign}${Math.floor(s / 3600)}h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}m`;
  return `${sign}${Math.floor(s / 86400)}d ${String(Math.floor((s % 86400) / 3600)).padStart(2, "0")}h`;
}

function digits(x) {
  const abs = Math.abs(x);
  return x.toFixed(abs < 9.995 ? 2 : abs < 99.95 ? 1 : 0);
}

// instant writes a time since the Unix epoch, a BigInt of nanoseconds, in UTC.
function instant(ns) {
  let ms = ns / 1000000n, rest = ns % 1000000n;
  if (rest < 0n) {
    ms -= 1n;
    rest += 1000000n;
  }
  const date = new Date(Number(ms));
  if (Number.isNaN(date.getTime())) return ns + " ns since 1970";
  return date.toISOString().replace("T", " ").replace("Z", "") + String(rest).padStart(6, "0") + " UTC";
}

const clock = (t) => instant(BigInt(data.start) + BigInt(Math.round(t)));

const count = (n) => n.toLocaleString("en-US");

const percent = (part, whole) => (whole > 0 ? ((100 * part) / whole).toFixed(1) : "0.0") + "%";

// element makes an element. Whatever comes from the trace comes in as text.
function element(tag, properties, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(properties ?? {})) {
    if (k === "class") e.className = v;
    else if (k === "style") Object.assign(e.style, v);
    else if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== undefined && c !== null && c !== ""));
  return e;
}
