
// What is drawn: the rows that are in sight, their bars, the axis and the minimap.

const ROW = 22; // pixels a row
// Browsers lay out elements of some 30 million pixels at most. With more rows than
// fit, a pixel of the scroll bar stands for more than one of the rows.
const MAX_HEIGHT = 12e6;
const INDENT = 14, MAX_INDENT = 20; // pixels a level, levels

const $ = (name) => document.getElementById(name);
const dark = matchMedia("(prefers-color-scheme: dark)");
let colors;

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue("--" + name).trim();
  colors = { stages: data.stages.map((s) => of("stage-" + s.name)) };
  for (const name of ["text", "text-2", "line", "grid", "hover", "chosen", "match", "accent", "critical", "failed", "neutral", "call", "shade", "back", "back-2"]) {
    colors[name] = of(name);
  }
}

// surface returns a canvas's context, in pixels of the page, and its size.
function surface(canvas) {
  const ratio = devicePixelRatio || 1;
  const w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  c.font = "11px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
  c.textBaseline = "middle";
  return { c, w, h };
}

const rowCount = () => (view.tab === "workers" ? view.lanes.length : view.rows.length);

// The scroll position: the first row in sight, with a fraction.
const stretch = () => {
  const reach = rowCount() * ROW - $("scroll").clientHeight;
  return reach > MAX_HEIGHT ? reach / MAX_HEIGHT : 1;
};
const topRow = () => ($("scroll").scrollTop * stretch()) / ROW;
const scrollToRow = (row) => { $("scroll").scrollTop = (Math.max(row, 0) * ROW) / stretch(); };

// show scrolls as little as it takes to bring a row into sight.
function show(row) {
  const rows = $("scroll").clientHeight / ROW;
  if (row < topRow()) scrollToRow(row);
  else if (row + 1 > topRow() + rows) scrollToRow(row + 1 - rows);
}

let pending = 0, stale = { minimap: true };

// redraw draws everything before the next frame.
function redraw(what) {
  if (what === "all") stale.minimap = true;
  pending ||= requestAnimationFrame(draw);
}

// draw draws everything now.
function draw() {
  cancelAnimationFrame(pending);
  pending = 0;
  const began = performance.now();
  const scroll = $("scroll");
  const gutter = scroll.offsetWidth - scroll.clientWidth;
  $("overview").style.paddingRight = $("axis").style.paddingRight = gutter + "px";
  $("sticky").style.height = scroll.clientHeight + "px";
  $("space").style.height = Math.max(scroll.clientHeight, Math.min(rowCount() * ROW, MAX_HEIGHT + scroll.clientHeight)) + "px";
  const top = topRow();
  drawNames(top);
  drawBars(top);
  drawRuler();
  drawMinimap();
  drawEmpty();
  const took = performance.now() - began;
  const timings = window.weirTimings;
  timings.redraws++;
  timings.redrawLast = took;
  if (timings.redraws > 1) timings.redrawMax = Math.max(timings.redrawMax, took);
}

function drawEmpty() {
  const note = $("empty");
  note.hidden = rowCount() > 0;
  if (rowCount() > 0) return;
  if (trace.n === 0) note.textContent = "The trace has no spans.";
  else if (view.tab === "workers") note.textContent = "No worker ran anything in this trace.";
  else if (view.foundHidden > 0) note.textContent = `Nothing but ${count(view.foundHidden)} calls: press “Calls” to see them.`;
  else note.textContent = "Nothing matches.";
}

// Names: elements, so that they can be read aloud and found; only as many as are
// in sight, used again for other rows.

const pool = [];

function drawNames(top) {
  const names = $("names");
  const first = Math.floor(top), last = Math.min(rowCount(), Math.ceil(top + $("scroll").clientHeight / ROW));
  while (pool.length < last - first) pool.push(newRow(names));
  let active = "";
  pool.forEach((row, k) => {
    const r = first + k;
    row.e.hidden = r >= last;
    if (r >= last) return;
    row.e.style.transform = `translateY(${Math.round((r - top) * ROW)}px)`;
    if (view.tab === "workers") fillLane(row, r);
    else fillRow(row, r);
    if (row.span >= 0 && row.span === view.chosen) active = row.e.id;
  });
  if (active) names.setAttribute("aria-activedescendant", active);
  else names.removeAttribute("aria-activedescendant");
}

function newRow(names) {
  const row = { span: -1, at: -1, key: "" };
  row.fold = element("button", { class: "fold", tabindex: "-1", "aria-hidden": "true", onclick: (event) => { event.stopPropagation(); toggle(row.span); } });
  row.head = element("b");
  row.path = element("span", { class: "path" });
  row.leaf = element("span", { class: "leaf" });
  row.label = element("span", { class: "label" }, row.head, row.path, row.leaf);
  row.marks = element("span", { class: "marks" });
  row.time = element("span", { class: "time" });
  row.e = element("div", { class: "row", id: "row-" + pool.length, role: "treeitem" }, row.fold, row.label, row.marks, row.time);
  row.e.addEventListener("click", () => { if (row.span >= 0) choose(row.span); });
  row.e.addEventListener("dblclick", () => { if (row.span >= 0) zoomTo(row.span); });
  names.append(row.e);
  return row;
}

function fillRow(row, r) {
  const i = view.rows[r], depth = view.depths[r];
  const foldable = view.foldable[i] !== 0, open = foldable && isOpen(i);
  const time = view.order === "queued" && trace.flags[i] & ACTION ? rank("queued", i) : data.took[i];
  // What is there already is left alone: most rows stay as they are in a redraw.
  const key = `${i} ${depth} ${foldable} ${open} ${i === view.chosen} ${view.match ? view.match[i] : ""} ${time}`;
  row.span = i;
  if (row.key === key) return;
  row.key = key;
  const { head, tail, cut } = label(i);
  row.head.textContent = head;
  row.path.textContent = tail && " " + tail.slice(0, cut);
  row.leaf.textContent = tail.slice(cut);
  row.label.title = plainLabel(i);
  row.label.classList.toggle("quiet", !(trace.flags[i] & ACTION) && trace.parent[i] >= 0);
  row.e.style.paddingLeft = 4 + INDENT * Math.min(depth, MAX_INDENT) + "px";
  row.fold.textContent = foldable ? (open ? "▾" : "▸") : "";
  row.marks.replaceChildren(...marks(i).map(([text, kind]) => element("span", { class: "mark " + kind }, text)));
  row.time.textContent = brief(time);
  row.e.classList.toggle("chosen", i === view.chosen);
  row.e.classList.toggle("match", view.match !== null && view.match[i] === 1);
  row.e.classList.toggle("critical", (trace.flags[i] & CRITICAL) !== 0);
  row.e.setAttribute("aria-level", depth + 1);
  row.e.setAttribute("aria-selected", i === view.chosen);
  if (foldable) row.e.setAttribute("aria-expanded", open);
  else row.e.removeAttribute("aria-expanded");
}

function fillLane(row, r) {
  const lane = view.lanes[r];
  row.span = -1;
  const key = "lane " + r;
  if (row.key === key) return;
  row.key = key;
  row.head.textContent = lane.slot === 1 ? lane.worker : "";
  row.path.textContent = "";
  row.leaf.textContent = lane.slots > 1 ? `${lane.slot === 1 ? " " : ""}slot ${lane.slot}` : "";
  row.label.title = lane.worker;
  row.label.classList.toggle("quiet", lane.slot > 1);
  row.e.style.paddingLeft = lane.slot === 1 ? "4px" : "18px";
  row.fold.textContent = "";
  row.marks.replaceChildren();
  row.time.textContent = lane.slot === 1 ? `${count(lane.total)} ran · busy ${percent(lane.busy, trace.duration)}` : "";
  row.e.classList.remove("chosen", "match", "critical");
  row.e.setAttribute("aria-level", 1);
  row.e.setAttribute("aria-selected", "false");
  row.e.removeAttribute("aria-expanded");
}

// Bars.

function drawBars(top) {
  const { c, w, h } = surface($("bars"));
  const scale = w / (view.to - view.from);
  const x = (t) => (t - view.from) * scale;
  drawGrid(c, w, h);
  const first = Math.floor(top), last = Math.min(rowCount(), Math.ceil(top + h / ROW));
  for (let r = first; r < last; r++) {
    const y = Math.round((r - top) * ROW);
    if (view.tab === "workers") drawLane(c, w, y, view.lanes[r], x, scale);
    else drawBar(c, w, y, view.rows[r], x);
  }
}

function drawGrid(c, w, h) {
  c.fillStyle = colors.grid;
  for (const t of ticks(w).at) c.fillRect(Math.round(((t - view.from) / (view.to - view.from)) * w), 0, 1, h);
}

function drawBar(c, w, y, i, x) {
  const { flags, start, end, stage } = trace;
  if (i === view.chosen || (view.match && view.match[i])) {
    c.fillStyle = i === view.chosen ? colors.chosen : colors.match;
    c.globalAlpha = 0.55;
    c.fillRect(0, y, w, ROW);
    c.globalAlpha = 1;
  }
  const x0 = x(start[i]), x1 = Math.max(x(end[i]), x0 + 2);
  if (x1 < 0 || x0 > w) {
    c.fillStyle = colors["text-2"];
    c.textAlign = x1 < 0 ? "left" : "right";
    c.fillText(x1 < 0 ? "◂" : "▸", x1 < 0 ? 2 : w - 2, y + ROW / 2);
    return;
  }
  const left = Math.max(x0, -4), right = Math.min(x1, w + 4);
  if (flags[i] & ACTION) {
    c.fillStyle = colors.neutral;
    c.fillRect(left, y + 6, right - left, 10);
    drawStages(c, w, y + 4, 14, i, x);
  } else if (stage[i] === NO_STAGE) {
    c.fillStyle = flags[i] & CALL ? colors.call : colors.neutral;
    c.fillRect(left, y + 7, right - left, 8);
  } else {
    c.fillStyle = colors.stages[stage[i]];
    c.fillRect(left, y + 4, right - left, 14);
    drawStages(c, w, y + 4, 14, i, x);
  }
  if (flags[i] & CRITICAL) {
    c.fillStyle = colors.critical;
    c.fillRect(left, y + 19, right - left, 2);
  }
  let note = brief(data.took[i]);
  c.fillStyle = colors["text-2"];
  if (flags[i] & FAILED) {
    c.strokeStyle = c.fillStyle = colors.failed;
    c.lineWidth = 1.5;
    c.strokeRect(left, y + 3.5, Math.max(right - left, 3), 15);
    note += "  " + marks(i)[0][0];
  }
  const width = c.measureText(note).width;
  if (right + 6 + width <= w) {
    c.textAlign = "left";
    c.fillText(note, right + 6, y + ROW / 2 + 1);
  } else if (left - 6 - width >= 0) {
    c.textAlign = "right";
    c.fillText(note, left - 6, y + ROW / 2 + 1);
  }
}

// drawStages draws the stages of an action, or of a worker, into its own bar.
function drawStages(c, w, y, height, i, x) {
  const { next, start, end, stage } = trace;
  for (let j = i + 1; j < next[i]; j++) {
    if (stage[j] === NO_STAGE) {
      j = next[j] - 1; // calls, which may be many
      continue;
    }
    const x0 = Math.max(x(start[j]), 0), x1 = Math.min(x(end[j]), w);
    if (x1 - x0 > 0) {
      c.fillStyle = colors.stages[stage[j]];
      c.fillRect(x0, y, Math.max(x1 - x0, 0.6), height);
    }
  }
}

function drawLane(c, w, y, lane, x, scale) {
  const { start, end, flags } = trace;
  c.fillStyle = colors.grid;
  c.fillRect(0, y + ROW - 1, w, 1);
  const execute = colors.stages[stageNamed("execute")];
  let painted = -1; // pixels up to here have a bar
  for (let k = firstEndingAfter(lane.spans, view.from); k < lane.spans.length && start[lane.spans[k]] <= view.to; k++) {
    const i = lane.spans[k], action = actionOf(i);
    const x0 = x(start[i]), x1 = Math.max(x(end[i]), x0 + 1);
    const notable = action === view.chosen || i === view.chosen || flags[i] & FAILED || flags[action] & (FAILED | CRITICAL);
    if (!notable && x1 < painted + 0.5) continue;
    painted = x1;
    const left = Math.max(x0, -4), right = Math.min(x1, w + 4);
    c.globalAlpha = view.keep && !view.keep[action] && !view.holds[action] ? 0.18 : 1;
    if (x1 - x0 <= 3) {
      c.fillStyle = execute;
      c.fillRect(left, y + 4, right - left, 14);
    } else {
      c.fillStyle = colors.stages[stageNamed("runner")];
      c.fillRect(left, y + 4, right - left - 0.5, 14);
      drawStages(c, w, y + 4, 14, i, x);
    }
    if (flags[action] & CRITICAL) {
      c.fillStyle = colors.critical;
      c.fillRect(left, y + 18, right - left, 3);
    }
    const failed = (flags[i] | flags[action]) & FAILED;
    if (failed || action === view.chosen || i === view.chosen) {
      c.strokeStyle = failed ? colors.failed : colors.accent;
      c.lineWidth = action === view.chosen || i === view.chosen ? 2 : 1.5;
      c.strokeRect(left, y + 3, Math.max(right - left, 2), 16);
    }
    if (right - left > 46) {
      c.save();
      c.beginPath();
      c.rect(left + 3, y, right - left - 6, ROW);
      c.clip();
      c.fillStyle = "#fff";
      c.shadowColor = "rgba(0, 0, 0, .75)";
      c.shadowBlur = 3;
      c.textAlign = "left";
      c.fillText((failed ? "FAILED " : "") + plainLabel(action), Math.max(left, 0) + 5, y + ROW / 2 + 1);
      c.restore();
    }
  }
  c.globalAlpha = 1;
}

// firstEndingAfter returns the place of the first of some spans that ends after a
// time. They don't overlap, so that their ends are in order as well.
function firstEndingAfter(spans, t) {
  let low = 0, high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (trace.end[spans[middle]] < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The axis.

const STEPS = [60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400].map((s) => s * 1e9);

// ticks returns the round times in sight, some 110 pixels apart.
function ticks(w) {
  const want = ((view.to - view.from) / Math.max(w, 1)) * 110;
  const ten = 10 ** Math.floor(Math.log10(want));
  let step = [1, 2, 5, 10].map((k) => k * ten).find((s) => s >= want);
  if (want > 30e9) step = STEPS.find((s) => s >= want) ?? Math.ceil(want / 86400e9) * 86400e9;
  const at = [];
  for (let k = Math.ceil(view.from / step); k * step <= view.to; k++) at.push(k * step);
  return { at, step };
}

// tickLabel writes a time on the axis with as many digits as neighbours need.
function tickLabel(t, step) {
  if (t === 0) return "0";
  if (t >= 60e9) {
    const s = t / 1e9, minutes = Math.floor(s / 60);
    const seconds = (s - 60 * minutes).toFixed(Math.max(0, -Math.floor(Math.log10(step / 1e9) + 1e-9)));
    const rest = (Number(seconds) < 10 ? "0" : "") + seconds + "s";
    return minutes >= 60 ? `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, "0")}m` + (step < 60e9 ? " " + rest : "") : `${minutes}m ${rest}`;
  }
  const [unit, name] = t >= 1e9 ? [1e9, " s"] : t >= 1e6 ? [1e6, " ms"] : t >= 1e3 ? [1e3, " µs"] : [1, " ns"];
  return (t / unit).toFixed(Math.min(9, Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9)))) + name;
}

function drawRuler() {
  const { c, w, h } = surface($("ruler"));
  const { at, step } = ticks(w);
  c.textAlign = "left";
  for (const t of at) {
    const x = Math.round(((t - view.from) / (view.to - view.from)) * w);
    c.fillStyle = colors.line;
    c.fillRect(x, 0, 1, h);
    c.fillStyle = colors["text-2"];
    c.fillText(tickLabel(t, step), x + 4, h / 2);
  }
  if (view.drag) drawDrag(c, w, h, view.drag, (t) => ((t - view.from) / (view.to - view.from)) * w);
}

function drawDrag(c, w, h, [a, b], x) {
  c.fillStyle = colors.accent;
  c.globalAlpha = 0.25;
  c.fillRect(Math.min(x(a), x(b)), 0, Math.abs(x(b) - x(a)), h);
  c.globalAlpha = 1;
}

// The minimap: its picture is kept, since only the window on it moves.

const picture = document.createElement("canvas");

function drawMinimap() {
  const canvas = $("minimap");
  const { c, w, h } = surface(canvas);
  if (w === 0) return;
  if (stale.minimap || picture.width !== canvas.width || picture.height !== canvas.height) {
    stale.minimap = false;
    picture.width = canvas.width;
    picture.height = canvas.height;
    paintMinimap(c, w, h);
    picture.getContext("2d").drawImage(canvas, 0, 0);
  } else {
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(picture, 0, 0);
    c.restore();
  }
  const x = (t) => (t / trace.duration) * w;
  const a = x(view.from), b = Math.max(x(view.to), a + 2);
  if (b - a < w - 0.5) {
    c.fillStyle = colors.shade;
    c.fillRect(0, 0, a, h);
    c.fillRect(b, 0, w - b, h);
    c.strokeStyle = colors.accent;
    c.lineWidth = 1.5;
    c.strokeRect(a, 0.75, b - a, h - 1.5);
  }
  if (view.dragMap) drawDrag(c, w, h, view.dragMap, x);
}

function paintMinimap(c, w, h) {
  area(c, w, 3, 26, load.running, load.peakRunning, colors.stages[stageNamed("execute")]);
  area(c, w, 32, 26, load.queued, load.peakQueued, colors.stages[stageNamed("queue")]);
  // The critical path, as one line: its actions by stage, the client's own time
  // left empty.
  const x = (t) => (t / trace.duration) * w;
  for (const i of data.critical) {
    c.fillStyle = colors.neutral;
    c.fillRect(x(trace.start[i]), 63, Math.max(x(trace.end[i]) - x(trace.start[i]), 0.5), 9);
    drawStages(c, w, 63, 9, i, x);
  }
}

function area(c, w, y, height, bins, most, color) {
  c.fillStyle = color;
  c.globalAlpha = 0.85;
  c.beginPath();
  c.moveTo(0, y + height);
  for (let k = 0; k < bins.length; k++) {
    const top = y + height - (most > 0 ? bins[k] / most : 0) * height;
    c.lineTo((k / bins.length) * w, top);
    c.lineTo(((k + 1) / bins.length) * w, top);
  }
  c.lineTo(w, y + height);
  c.fill();
  c.globalAlpha = 1;
  c.fillStyle = colors.line;
  c.fillRect(0, y + height, w, 1);
}
