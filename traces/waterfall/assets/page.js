
// The head, and what happens on keys, clicks and wheels.

function fillHead() {
  const s = data.summary;
  document.title = `Build ${s.invocation || data.trace} · Weir`;
  $("title").append(s.invocation ? "Build " : "Trace ", element("code", {}, s.invocation || data.trace));
  $("title").title = "trace " + data.trace;
  const fact = (name, value, kind) => element("div", { class: kind ?? "" }, element("dt", {}, name), element("dd", {}, value));
  $("facts").append(
    fact("tool", s.tool || "—"),
    fact("started", trace.n > 0 ? instant(BigInt(data.start)).slice(0, 19) + " UTC" : "—"),
    fact("took", brief(data.duration)),
    fact("spans", count(s.spans)),
    fact("actions", count(s.actions)),
    fact("cached", count(s.cached)),
    fact("deduplicated", count(s.deduplicated)),
    fact("retried", count(s.retried)),
    fact("failed", count(s.failed), s.failed > 0 ? "bad" : ""),
  );
  const whole = s.time.reduce((a, b) => a + b, 0);
  const parts = data.stages.map((stage, k) => `${stage.name} ${percent(s.time[k], whole)}`);
  $("stage-bar").setAttribute("aria-label", "Time of all actions together: " + parts.join(", "));
  data.stages.forEach((stage, k) => {
    const about = `${stage.name}: ${stage.help}; ${brief(s.time[k])} of all actions together`;
    if (s.time[k] > 0) $("stage-bar").append(element("i", { title: about, style: { flex: `${s.time[k]} 0 0`, background: `var(--stage-${stage.name})` } }));
    $("legend").append(element("li", { title: about }, swatch(k), stage.name + " ", element("b", {}, percent(s.time[k], whole))));
  });
  $("peak-running").textContent = "at most " + count(load.peakRunning);
  $("peak-queued").textContent = "at most " + count(load.peakQueued);
  const onPath = data.critical.reduce((sum, i) => sum + trace.end[i] - trace.start[i], 0);
  $("path-share").textContent = `${count(data.critical.length)} actions, ${brief(onPath)}`;
  $("critical").disabled = data.critical.length === 0;
  $("calls").textContent = `Calls (${count(trace.calls)})`;
  $("calls").disabled = trace.calls === 0;
  $("calls").setAttribute("aria-pressed", view.calls);
}

// changed rebuilds the rows after what they depend on has changed.
function changed() {
  rebuild();
  const shown = view.found.length;
  const hidden = view.foundHidden > 0 ? ` +${count(view.foundHidden)} calls` : "";
  $("found").textContent = view.match ? `${count(shown)} found${hidden}` : "";
  $("previous").disabled = $("next").disabled = shown === 0;
  $("column-name").textContent = view.tab === "workers" ? `${count(new Set(view.lanes.map((l) => l.worker)).size)} workers` : `${count(view.rows.length)} rows`;
  $("column-time").textContent = view.tab === "workers" ? "" : view.order === "queued" ? "queued" : "duration";
  redraw();
}

// filtered is changed, drawn at once, where other rows may be in sight: the chosen one, if it is
// still a row, or the first.
function filtered() {
  changed();
  draw();
  const row = view.tab === "waterfall" ? view.rows.indexOf(view.chosen) : -1;
  if (row >= 0) show(row);
  else scrollToRow(0);
  draw();
}

function press(button, on) {
  $(button).setAttribute("aria-pressed", on);
}

function setCritical(on) {
  view.critical = on && data.critical.length > 0;
  press("critical", view.critical);
  filtered();
}

function setFailed(on) {
  view.failed = on;
  press("failed", on);
  filtered();
}

function setCalls(on) {
  view.calls = on;
  press("calls", on);
  changed();
}

function setQuery(text) {
  view.query = text;
  view.match = search(text);
  filtered();
}

function setOrder(order) {
  view.order = order;
  $("order").value = order;
  filtered();
}

// clearFilters makes every span a row again, or the part of one.
function clearFilters() {
  $("search").value = view.query = "";
  view.match = null;
  view.critical = view.failed = false;
  press("critical", false);
  press("failed", false);
  view.order = $("order").value = "tree";
  changed();
}

function setTab(tab) {
  if (view.tab === tab) return;
  view.tab = tab;
  if (tab === "workers" && view.lanes.length === 0) view.lanes = makeLanes();
  for (const name of ["waterfall", "workers"]) {
    $("tab-" + name).setAttribute("aria-selected", name === tab);
  }
  $("names").setAttribute("aria-label", tab === "workers" ? "Workers" : "Spans");
  for (const name of ["order", "open-all", "close-all"]) $(name).disabled = tab === "workers";
  scrollToRow(0);
  changed();
}

// choose selects a span, or none (-1), and brings it into sight.
function choose(i) {
  view.chosen = i;
  if (i >= 0 && view.tab === "waterfall") {
    const row = reveal(i);
    changed();
    // The height of what is scrolled follows the rows when it is drawn.
    draw();
    show(row);
  }
  drawDetails();
  history.replaceState(null, "", i >= 0 ? "#" + id(i) : location.pathname + location.search);
  draw();
}

function toggle(i, open) {
  if (!view.foldable[i]) return;
  view.fold[i] = (open ?? !isOpen(i)) ? OPEN : CLOSED;
  changed();
}

// move goes from the chosen row to another one.
function move(by) {
  if (view.rows.length === 0 || view.tab !== "waterfall") return;
  const at = view.rows.indexOf(view.chosen);
  const to = at < 0 ? Math.ceil(topRow()) : at + by;
  choose(view.rows[Math.max(0, Math.min(view.rows.length - 1, to))]);
}

function nextMatch(by) {
  if (view.found.length === 0) return;
  let at = view.found.findIndex((i) => i >= view.chosen);
  if (at < 0) at = view.found.length;
  if (by > 0 && view.found[at] === view.chosen) at++;
  if (by < 0) at--;
  setTab("waterfall");
  choose(view.found[(at + view.found.length) % view.found.length]);
}

// The time axis.

const NARROWEST = 100; // nanoseconds in sight

function setRange(from, to) {
  const width = Math.min(Math.max(to - from, Math.min(NARROWEST, trace.duration)), trace.duration);
  view.from = Math.min(Math.max(from, 0), trace.duration - width);
  view.to = view.from + width;
  redraw();
}

// zoom changes the width of the time in sight by a factor, around a time.
function zoom(factor, around) {
  around ??= (view.from + view.to) / 2;
  setRange(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

const pan = (part) => setRange(view.from + part * (view.to - view.from), view.to + part * (view.to - view.from));

function zoomTo(i) {
  const margin = Math.max((trace.end[i] - trace.start[i]) * 0.1, NARROWEST);
  setRange(trace.start[i] - margin, trace.end[i] + margin);
}

const timeAt = (canvas, clientX) => {
  const box = canvas.getBoundingClientRect();
  return view.from + ((clientX - box.left) / box.width) * (view.to - view.from);
};

function wheelOnBars(event) {
  const unit = event.deltaMode === 1 ? 16 : 1;
  if (event.ctrlKey || event.metaKey || event.altKey) {
    event.preventDefault();
    zoom(Math.exp(event.deltaY * unit * 0.002), timeAt($("bars"), event.clientX));
    return;
  }
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
  if (sideways) {
    event.preventDefault();
    pan((sideways * unit) / $("bars").clientWidth);
  }
}

function wheelOnAxis(event) {
  event.preventDefault();
  const canvas = event.currentTarget;
  const box = canvas.getBoundingClientRect();
  const around = canvas.id === "minimap" ? ((event.clientX - box.left) / box.width) * trace.duration : timeAt(canvas, event.clientX);
  zoom(Math.exp(event.deltaY * (event.deltaMode === 1 ? 16 : 1) * 0.002), around);
}

// dragBars moves time and rows under the pointer; without moving it is a click.
function dragBars(event) {
  if (event.button !== 0) return;
  const bars = $("bars");
  const at = { x: event.clientX, y: event.clientY, from: view.from, to: view.to, top: topRow() };
  let moved = false;
  bars.setPointerCapture(event.pointerId);
  const onMove = (e) => {
    const dx = e.clientX - at.x, dy = e.clientY - at.y;
    if (!moved && Math.abs(dx) + Math.abs(dy) < 4) return;
    moved = true;
    bars.classList.add("dragging");
    $("tip").hidden = true;
    const by = (dx / bars.clientWidth) * (at.to - at.from);
    setRange(at.from - by, at.to - by);
    scrollToRow(at.top - dy / ROW);
  };
  const onUp = (e) => {
    bars.removeEventListener("pointermove", onMove);
    bars.removeEventListener("pointerup", onUp);
    bars.removeEventListener("pointercancel", onUp);
    bars.classList.remove("dragging");
    if (!moved && e.type === "pointerup") choose(spanAt(e.clientX, e.clientY).chosen);
  };
  bars.addEventListener("pointermove", onMove);
  bars.addEventListener("pointerup", onUp);
  bars.addEventListener("pointercancel", onUp);
}

// dragRange selects the time that is to be in sight, on the ruler or the minimap.
// A click on the minimap moves what is in sight there.
function dragRange(event, property, time) {
  if (event.button !== 0) return;
  const canvas = event.currentTarget, began = event.clientX, from = time(began);
  canvas.setPointerCapture(event.pointerId);
  const onMove = (e) => {
    view[property] = Math.abs(e.clientX - began) < 4 ? null : [from, time(e.clientX)];
    redraw();
  };
  const onUp = (e) => {
    canvas.removeEventListener("pointermove", onMove);
    canvas.removeEventListener("pointerup", onUp);
    canvas.removeEventListener("pointercancel", onUp);
    const range = view[property];
    view[property] = null;
    if (e.type !== "pointerup") return redraw();
    if (range) return setRange(Math.min(...range), Math.max(...range));
    if (property === "dragMap") setRange(from - (view.to - view.from) / 2, from + (view.to - view.from) / 2);
  };
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerup", onUp);
  canvas.addEventListener("pointercancel", onUp);
}

// spanAt returns the span whose bar is at a place of the page, and the part of it
// under the pointer; -1 if there is none.
function spanAt(clientX, clientY) {
  const box = $("bars").getBoundingClientRect();
  const row = Math.floor(topRow() + (clientY - box.top) / ROW);
  const t = timeAt($("bars"), clientX), near = (3 * (view.to - view.from)) / box.width;
  if (row < 0 || row >= rowCount()) return { chosen: -1, part: -1 };
  let i = view.rows[row];
  if (view.tab === "workers") {
    const spans = view.lanes[row].spans;
    const k = firstEndingAfter(spans, t - near);
    i = k < spans.length && trace.start[spans[k]] <= t + near ? spans[k] : -1;
    if (i < 0) return { chosen: -1, part: -1 };
  }
  let part = i;
  for (let j = i + 1; j < trace.next[i] && j < i + 200; j++) {
    if (trace.stage[j] !== NO_STAGE && trace.start[j] <= t && t < trace.end[j]) part = j;
  }
  return { chosen: view.tab === "workers" ? actionOf(i) : i, part };
}

function hover(event) {
  const tip = $("tip");
  if (event.buttons) return;
  const { chosen, part } = spanAt(event.clientX, event.clientY);
  tip.hidden = chosen < 0;
  if (chosen < 0) return;
  const lines = [element("b", {}, plainLabel(chosen)), `${brief(data.took[chosen])} from +${brief(trace.start[chosen])}`];
  if (part !== chosen) lines.push(element("div", {}, `${plainLabel(part)}: ${brief(data.took[part])} from +${brief(trace.start[part])}`));
  const notes = marks(chosen).map(([text]) => text).join(", ");
  if (notes) lines.push(element("div", {}, notes));
  tip.replaceChildren(...lines);
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8) + "px";
}

// Keys.

const KEYS = [
  ["↑ ↓", "the row above, below"],
  ["← →", "collapse, expand; then to the parent, the first child"],
  ["PgUp PgDn Home End", "a page up, down; the first row, the last"],
  ["Enter", "zoom to the selected span"],
  ["+ −", "zoom the time axis"],
  ["Shift+← →", "move along the time axis"],
  ["0", "the whole build"],
  ["/", "search; Enter and Shift+Enter: next, previous match"],
  ["c  f  r", "critical path only, failed only, calls (RPCs)"],
  ["w", "waterfall or workers"],
  ["Escape", "leave the search, then the selection"],
  ["wheel", "rows; with Ctrl: zoom; with Shift: along the time axis"],
  ["wheel on the axis", "zoom"],
  ["drag", "move; on the axis or the overview: zoom to what is marked"],
  ["double click", "zoom to a span"],
];

function setHelp(on) {
  $("keys").hidden = !on;
  $("help").setAttribute("aria-expanded", on);
}

function onKey(event) {
  const typing = event.target === $("search");
  if (event.key === "Escape") {
    if (!$("keys").hidden) return setHelp(false);
    if (typing || view.match) {
      $("search").value = "";
      setQuery("");
      $("names").focus();
    } else choose(-1);
    return;
  }
  if (typing) {
    if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  if (event.target === $("splitter") && event.key.startsWith("Arrow")) return;
  const page = Math.max(1, Math.floor($("scroll").clientHeight / ROW) - 1);
  const i = view.chosen;
  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    PageDown: () => move(page),
    PageUp: () => move(-page),
    Home: () => move(-Infinity),
    End: () => move(Infinity),
    ArrowLeft: () => {
      if (event.shiftKey || i < 0) return pan(-0.1);
      if (view.foldable[i] && isOpen(i)) return toggle(i, false);
      for (let p = trace.parent[i]; p >= 0; p = trace.parent[p]) if (!isHidden(p)) return choose(p);
    },
    ArrowRight: () => {
      if (event.shiftKey || i < 0) return pan(0.1);
      if (view.foldable[i] && !isOpen(i)) return toggle(i, true);
      if (view.foldable[i]) move(1);
    },
    Enter: () => i >= 0 && zoomTo(i),
    "+": () => zoom(0.6, i >= 0 ? inSight(i) : undefined),
    "=": () => zoom(0.6, i >= 0 ? inSight(i) : undefined),
    "-": () => zoom(1 / 0.6),
    0: () => setRange(0, trace.duration),
    "/": () => $("search").focus(),
    c: () => setCritical(!view.critical),
    f: () => setFailed(!view.failed),
    r: () => !$("calls").disabled && setCalls(!view.calls),
    w: () => setTab(view.tab === "workers" ? "waterfall" : "workers"),
    "?": () => setHelp($("keys").hidden),
  };
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

// inSight returns the middle of what is in sight of a span, to zoom around;
// undefined if nothing is.
function inSight(i) {
  const from = Math.max(trace.start[i], view.from), to = Math.min(trace.end[i], view.to);
  return from <= to ? (from + to) / 2 : undefined;
}

function setNamesWidth(pixels) {
  const width = Math.max(160, Math.min(pixels, $("chart").clientWidth - 200));
  document.querySelector("main").style.setProperty("--names", width + "px");
  redraw();
}

function listen() {
  const on = (name, event, f, options) => $(name).addEventListener(event, f, options);
  on("tab-waterfall", "click", () => setTab("waterfall"));
  on("tab-workers", "click", () => setTab("workers"));
  on("search", "input", () => setQuery($("search").value));
  on("previous", "click", () => nextMatch(-1));
  on("next", "click", () => nextMatch(1));
  on("order", "change", () => setOrder($("order").value));
  on("critical", "click", () => setCritical(!view.critical));
  on("failed", "click", () => setFailed(!view.failed));
  on("calls", "click", () => setCalls(!view.calls));
  on("open-all", "click", () => { view.fold.fill(OPEN); changed(); });
  on("close-all", "click", () => { view.fold.fill(0); for (const a of trace.actions) view.fold[a] = CLOSED; changed(); });
  on("zoom-in", "click", () => zoom(0.6));
  on("zoom-out", "click", () => zoom(1 / 0.6));
  on("zoom-all", "click", () => setRange(0, trace.duration));
  on("help", "click", () => setHelp($("keys").hidden));
  on("scroll", "scroll", () => redraw(), { passive: true });
  on("bars", "wheel", wheelOnBars, { passive: false });
  on("bars", "pointerdown", dragBars);
  on("bars", "pointermove", hover);
  on("bars", "pointerleave", () => { $("tip").hidden = true; });
  on("bars", "dblclick", (e) => { const { part } = spanAt(e.clientX, e.clientY); if (part >= 0) zoomTo(part); });
  for (const name of ["ruler", "minimap"]) on(name, "wheel", wheelOnAxis, { passive: false });
  on("ruler", "pointerdown", (e) => dragRange(e, "drag", (x) => timeAt($("ruler"), x)));
  on("minimap", "pointerdown", (e) => dragRange(e, "dragMap", (x) => {
    const box = $("minimap").getBoundingClientRect();
    return Math.min(Math.max((x - box.left) / box.width, 0), 1) * trace.duration;
  }));
  on("splitter", "pointerdown", (e) => {
    $("splitter").setPointerCapture(e.pointerId);
    const onMove = (m) => setNamesWidth(m.clientX - $("chart").getBoundingClientRect().left);
    $("splitter").addEventListener("pointermove", onMove);
    $("splitter").addEventListener("lostpointercapture", () => $("splitter").removeEventListener("pointermove", onMove), { once: true });
  });
  on("splitter", "keydown", (e) => {
    const by = { ArrowLeft: -20, ArrowRight: 20 }[e.key];
    if (by) setNamesWidth($("overview-names").offsetWidth + by);
  });
  document.addEventListener("keydown", onKey);
  new ResizeObserver(() => redraw("all")).observe($("scroll"));
  dark.addEventListener("change", () => {
    readColors();
    drawDetails();
    redraw("all");
  });
  addEventListener("hashchange", chooseNamed);
}

// chooseNamed chooses the span that the address names.
function chooseNamed() {
  const named = spanWithID(location.hash.slice(1));
  if (named >= 0 && named !== view.chosen) choose(named);
}

$("keys").append(element("table", {}, ...KEYS.map(([key, what]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, what)))));
readColors();
fillHead();
listen();
changed();
draw();
chooseNamed();
requestAnimationFrame(() => setTimeout(() => { window.weirTimings.ready = performance.now(); }));
