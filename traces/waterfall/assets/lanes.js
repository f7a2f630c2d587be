
// The workers: a lane for each slot that a worker must have had, so that what ran
// at the same time doesn't cover each other. And how many actions ran and waited.

const MINIMAP_BINS = 1200;

// makeLanes returns the lanes by worker. A lane's spans don't overlap.
function makeLanes() {
  const byWorker = new Map();
  for (let i = 0; i < trace.n; i++) {
    if (nameOf(i) !== "worker") continue;
    const worker = attr(i, "rbe.worker.id") || attr(actionOf(i), "rbe.worker.id") || "(unnamed)";
    if (!byWorker.has(worker)) byWorker.set(worker, []);
    byWorker.get(worker).push(i);
  }
  const { start, end } = trace;
  const names = [...byWorker.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const lanes = [];
  for (const worker of names) {
    const spans = byWorker.get(worker).sort((a, b) => start[a] - start[b] || a - b);
    const slots = [];
    let busy = 0, until = -Infinity;
    for (const i of spans) {
      busy += Math.max(0, end[i] - Math.max(start[i], until));
      until = Math.max(until, end[i]);
      let slot = slots.find((s) => s.until <= start[i]);
      if (!slot) slots.push((slot = { until: 0, spans: [] }));
      slot.until = end[i];
      slot.spans.push(i);
    }
    slots.forEach((slot, k) => lanes.push({ worker, slot: k + 1, slots: slots.length, spans: slot.spans, total: spans.length, busy }));
  }
  return lanes;
}

// occupancy returns how many of some spans there were on average in each of the
// bins that the build's duration is cut into.
function occupancy(spans) {
  const width = trace.duration / MINIMAP_BINS;
  const bins = new Float64Array(MINIMAP_BINS);
  const whole = new Float64Array(MINIMAP_BINS + 1); // changes of what fills whole bins
  for (const i of spans) {
    const from = trace.start[i] / width, to = trace.end[i] / width;
    const a = Math.min(Math.floor(from), MINIMAP_BINS - 1), b = Math.min(Math.floor(to), MINIMAP_BINS - 1);
    if (a === b) {
      bins[a] += to - from;
      continue;
    }
    bins[a] += a + 1 - from;
    bins[b] += to - b;
    whole[a + 1]++;
    whole[b]--;
  }
  let level = 0;
  for (let k = 0; k < MINIMAP_BINS; k++) {
    level += whole[k];
    bins[k] += level;
  }
  return bins;
}

// peak returns the largest number of spans at one time.
function peak(spans) {
  const starts = Float64Array.from(spans, (i) => trace.start[i]).sort();
  const ends = Float64Array.from(spans, (i) => trace.end[i]).sort();
  let most = 0;
  for (let s = 0, e = 0; s < starts.length; s++) {
    while (ends[e] <= starts[s]) e++;
    most = Math.max(most, s + 1 - e);
  }
  return most;
}

const load = (() => {
  const queue = stageNamed("queue"), running = [], queued = [];
  for (let i = 0; i < trace.n; i++) {
    if (trace.stage[i] === queue && trace.end[i] > trace.start[i]) queued.push(i);
    else if (nameOf(i) === "worker" && trace.end[i] > trace.start[i]) running.push(i);
  }
  return { running: occupancy(running), queued: occupancy(queued), peakRunning: peak(running), peakQueued: peak(queued) };
})();
