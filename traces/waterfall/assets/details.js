
// The pane with all that is known of a span.

function drawDetails() {
  const pane = $("details");
  const i = view.chosen;
  pane.hidden = i < 0;
  if (i < 0) return pane.replaceChildren();
  const close = element("button", { class: "close", "aria-label": "Close", title: "Close (Escape)", onclick: () => choose(-1) }, "×");
  pane.replaceChildren(
    close,
    element("h2", {}, plainLabel(i)),
    element("div", {}, ...marks(i).map(([text, kind]) => element("span", { class: "mark " + kind }, text))),
    ...status(i),
    ...actionStages(i),
    element("h3", {}, "Times"),
    table([
      ["duration", data.took[i] < 0 ? `ends ${brief(-data.took[i])} before it starts` : [brief(data.took[i]), exact(data.took[i])]],
      ["start", ["+" + brief(trace.start[i]), clock(trace.start[i])]],
      ["end", ["+" + brief(trace.start[i] + data.took[i]), clock(trace.start[i] + data.took[i])]],
    ]),
    ...attributes(i),
    ...linkList(i),
    element("h3", {}, "Span"),
    table([
      ["name", nameOf(i)],
      ["service", serviceOf(i) || "—"],
      ["parent", parentOf(i)],
      ["span id", element("code", {}, id(i))],
      ["trace id", element("code", {}, data.trace)],
    ]),
    element("div", { class: "actions" },
      element("button", { onclick: () => zoomTo(i) }, "Zoom to it"),
      element("button", { onclick: () => { setTab("waterfall"); choose(i); } }, "Show in waterfall")),
  );
  pane.scrollTop = 0;
}

const exact = (ns) => `${count(ns)} ns`;

function table(rows) {
  return element("table", {}, ...rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, ...breakable(name)), cell(value))));
}

// breakable lets a key be broken at its dots.
const breakable = (key) => key.split(/(?<=\.)/).flatMap((part) => [part, element("wbr")]);

// cell makes a table's cell of a text, an element, or a text and a smaller one.
function cell(value) {
  if (!Array.isArray(value)) return element("td", {}, value);
  return element("td", {}, value[0], element("br"), element("small", {}, value[1]));
}

function status(i) {
  const error = trace.errors.has(i) ? data.strings[trace.errors.get(i)] : "";
  return error ? [element("div", { class: "error" }, error)] : [];
}

function parentOf(i) {
  const parent = trace.parent[i], lost = trace.lost.get(i);
  if (parent >= 0) return element("div", { class: "links" }, jump(parent));
  if (!lost) return "none: it is a root";
  return [element("code", {}, lost.parent), lost.cycle ? "below this span itself" : "not in this trace"];
}

const jump = (i) => element("button", { onclick: () => { setTab("waterfall"); choose(i); } }, plainLabel(i));

// actionStages shows what an action's time consists of.
function actionStages(i) {
  if (!(trace.flags[i] & ACTION)) return [];
  const whole = trace.end[i] - trace.start[i];
  const times = timesOf(i);
  const shown = times.map((t, s) => [t, s]).filter(([t]) => t > 0);
  return [
    element("h3", {}, "Stages"),
    element("div", { class: "bar", "aria-hidden": "true" }, ...shown.map(([t, s]) => element("i", { style: { flex: `${t} 0 0`, background: colors.stages[s] } }))),
    element("table", {}, ...shown.map(([t, s]) => element("tr", {},
      element("th", { scope: "row", title: data.stages[s].help }, swatch(s), data.stages[s].name),
      element("td", {}, `${brief(t)} · ${percent(t, whole)}`)))),
  ];
}

const swatch = (s) => element("span", { class: "swatch", style: { background: `var(--stage-${data.stages[s].name})` } });

function attributes(i) {
  const set = data.sets[data.set[i]];
  if (set.length === 0) return [];
  const rows = [];
  for (let k = 0; k < set.length; k += 2) {
    const key = data.keys[set[k]], text = data.strings[set[k + 1]];
    rows.push([key.key, key.number ? measured(text, key.unit) : element("span", {}, text)]);
  }
  return [element("h3", {}, "Attributes"), table(rows)];
}

// measured writes a number with its unit, and beside it as people say it.
function measured(text, unit) {
  const number = Number(text);
  if (unit === "ns") return [text + " ns", Math.abs(number) > 1e17 ? instant(BigInt(text)) : brief(number)];
  if (unit === "By" && number >= 1024) return [text + " B", bytes(number)];
  return unit && !unit.startsWith("{") ? `${text} ${unit === "By" ? "B" : unit}` : text;
}

function bytes(n) {
  const power = Math.min(Math.floor(Math.log2(n) / 10), 5);
  return digits(n / 1024 ** power) + " " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power];
}

// linkList shows what a span is linked to, and which spans are linked to it.
function linkList(i) {
  const rows = [];
  for (const link of trace.links.get(i) ?? []) {
    const to = link.trace ? -1 : spanWithID(link.to);
    rows.push([link.kind || "link", to >= 0 ? element("div", { class: "links" }, jump(to))
      : [element("code", {}, link.to), link.trace ? "in trace " + link.trace : "not in this trace"]]);
  }
  for (const from of linkedTo(i)) rows.push(["linked from", element("div", { class: "links" }, jump(from))]);
  return rows.length > 0 ? [element("h3", {}, "Links"), table(rows)] : [];
}

const MOST_BACK_LINKS = 50;

function linkedTo(i) {
  const own = id(i), from = [];
  for (const [span, links] of trace.links) {
    if (from.length < MOST_BACK_LINKS && links.some((l) => !l.trace && l.to === own)) from.push(span);
  }
  return from;
}
