
// The rows of the waterfall: which spans are shown, in which order, how deep.

const MANY_ACTIONS = 300; // with more spans than this, actions begin closed

const OPEN = 1, CLOSED = 2; // in view.fold; 0 is as the span's kind has it

const view = {
  tab: "waterfall",
  from: 0, to: trace.duration, // of the time axis
  query: "", order: "tree", critical: false, failed: false, calls: false,
  fold: new Uint8Array(trace.n),
  chosen: -1,
  rows: new Int32Array(0), depths: new Uint16Array(0), // of the waterfall
  lanes: [], // of the workers
  match: null, // by span: 1 if the search finds it; null without a search
  found: [], // the matches that are shown, in the order of the tree
  foundHidden: 0, // matches among calls that are not shown
  foldable: new Uint8Array(trace.n),
  keep: null, holds: null,
};

const actionsBeginOpen = trace.n - trace.calls <= MANY_ACTIONS;
if (trace.n > 0 && trace.calls === trace.n) view.calls = true;

const isHidden = (i) => !view.calls && (trace.flags[i] & CALL) !== 0;

function isOpen(i) {
  if (view.fold[i]) return view.fold[i] === OPEN;
  if (view.holds && view.holds[i] && !view.keep[i]) return true;
  return !(trace.flags[i] & ACTION) || actionsBeginOpen;
}

let lowered; // the strings in lower case, once they are searched

// search returns which spans contain a text, in their name, service, id or in the
// value of an attribute; key=value looks at attributes of that key.
function search(query) {
  const q = query.trim().toLowerCase();
  if (!q) return null;
  lowered ??= data.strings.map((s) => s.toLowerCase());
  const contains = (text) => {
    const found = new Uint8Array(lowered.length);
    for (let s = 0; s < lowered.length; s++) if (lowered[s].includes(text)) found[s] = 1;
    return found;
  };
  const has = contains(q);
  const eq = q.indexOf("=");
  const hasValue = eq > 0 ? contains(q.slice(eq + 1)) : null;
  const hasKey = eq > 0 ? data.keys.map((k) => k.key.toLowerCase().endsWith(q.slice(0, eq))) : null;
  const sets = new Uint8Array(data.sets.length);
  data.sets.forEach((set, s) => {
    for (let k = 0; k < set.length; k += 2) {
      if (has[set[k + 1]] || (hasKey && hasKey[set[k]] && hasValue[set[k + 1]])) {
        sets[s] = 1;
        return;
      }
    }
  });
  const match = new Uint8Array(trace.n);
  for (let i = 0; i < trace.n; i++) match[i] = sets[data.set[i]] | has[data.name[i]] | has[data.service[i]];
  if (/^[0-9a-f]{4,16}$/.test(q)) {
    for (let at = data.ids.indexOf(q); at >= 0; at = data.ids.indexOf(q, at + 1)) {
      if (at % 16 === 0) match[at / 16] = 1;
    }
  }
  return match;
}

// rebuild finds the rows anew after what they depend on has changed.
function rebuild() {
  const began = performance.now();
  const { n, parent, next, flags } = trace;
  const filtered = view.match || view.critical || view.failed;
  view.keep = filtered ? new Uint8Array(n) : null;
  view.holds = filtered ? new Uint8Array(n) : null;
  view.found = [];
  view.foundHidden = 0;
  if (filtered) {
    let pathEnd = 0; // behind the action of the path that i is part of
    for (let i = 0; i < n; i++) {
      if (flags[i] & CRITICAL) pathEnd = Math.max(pathEnd, next[i]);
      if ((view.critical && i >= pathEnd) || (view.failed && !(flags[i] & FAILED)) || (view.match && !view.match[i])) continue;
      if (isHidden(i)) {
        view.foundHidden++;
        continue;
      }
      view.keep[i] = 1;
      if (view.match) view.found.push(i);
    }
    for (let i = n - 1; i >= 0; i--) {
      if (parent[i] >= 0 && (view.keep[i] || view.holds[i])) view.holds[parent[i]] = 1;
    }
  }
  view.foldable.fill(0);
  for (let i = n - 1; i >= 0; i--) {
    if (parent[i] >= 0 && (!isHidden(i) || view.foldable[i])) view.foldable[parent[i]] = 1;
  }

  const rows = [], depths = [], ends = [];
  let all = 0; // behind the subtree of a kept span, all of which is shown
  const emit = (from, to) => {
    ends.length = 0;
    for (let i = from; i < to; ) {
      while (ends.length > 0 && i >= ends[ends.length - 1]) ends.pop();
      if (isHidden(i)) {
        i++; // what hangs below it is shown in its place
        continue;
      }
      if (filtered && i >= all && !view.keep[i] && !view.holds[i]) {
        i = next[i];
        continue;
      }
      rows.push(i);
      depths.push(Math.min(ends.length, 65535));
      if (filtered && view.keep[i]) all = Math.max(all, next[i]);
      if (isOpen(i)) {
        ends.push(next[i]);
        i++;
      } else {
        i = next[i];
      }
    }
  };
  if (view.order === "tree") {
    emit(0, n);
  } else {
    for (const a of sorted(view.order)) {
      all = 0;
      if (!filtered || view.keep[a] || view.holds[a]) emit(a, next[a]);
    }
  }
  view.rows = Int32Array.from(rows);
  view.depths = Uint16Array.from(depths);
  window.weirTimings.rebuildMax = Math.max(window.weirTimings.rebuildMax, performance.now() - began);
}

const orders = {}; // the actions by order, each made once

// sorted returns the actions, those first that have most of what the order is by.
function sorted(order) {
  if (!orders[order]) {
    const by = new Map(trace.actions.map((a) => [a, rank(order, a)]));
    orders[order] = trace.actions.slice().sort((a, b) => by.get(b) - by.get(a) || a - b);
  }
  return orders[order];
}

const rank = (order, a) => (order === "queued" ? timesOf(a)[stageNamed("queue")] : trace.end[a] - trace.start[a]);

// reveal makes a span a row, if need be by lifting filters, and returns the row.
function reveal(i) {
  if (isHidden(i)) setCalls(true);
  let row = view.rows.indexOf(i);
  if (row >= 0) return row;
  for (let a = trace.parent[i]; a >= 0; a = trace.parent[a]) if (!isOpen(a)) view.fold[a] = OPEN;
  rebuild();
  row = view.rows.indexOf(i);
  if (row >= 0) return row;
  clearFilters();
  for (let a = trace.parent[i]; a >= 0; a = trace.parent[a]) if (!isOpen(a)) view.fold[a] = OPEN;
  rebuild();
  return view.rows.indexOf(i);
}
