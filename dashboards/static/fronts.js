/* The arithmetic of frontiers over the rows that are shown: dominance, steps, interpolation, the nearest trial.
   Values only. docs/frontier.md has the definitions; a test holds them to the columns of frontier.parquet. */
"use strict";

const Fronts = (() => {
  const known = Text.known;
  const GROUP = ["model", "model_hash", "eval_hash", "hookpoint", "loss", "d_sae"];

  /** The pairs of objectives of a sweep: {label, flag: its column, x, y as Looks.metric says, hasSteps}. */
  function pairs(detail) {
    const objectives = detail.objectives || [];
    const metric = (name, better) => ({ ...Looks.metric(name, detail), better: better || "lower" });
    const found = objectives
      .filter((one) => one.x && one.y)
      .map((one) => {
        const [x, y] = [metric(one.x, (one.better || [])[0]), metric(one.y, (one.better || [])[1])];
        return { label: one.label, flag: `on_front_${one.label}`, x, y, hasSteps: true };
      });
    return found.length ? found : objectives.flatMap((one) => sidesOf(one, metric));
  }

  /** Of three metrics and more: each against the last, without steps, for a front of them is none in two alone. */
  function sidesOf({ label, metrics, better = [] }, metric) {
    const last = metrics.length - 1;
    return metrics.slice(0, last).map((name, n) => ({
      label: `${label}-${name}`,
      flag: `on_front_${label}`,
      x: metric(name, better[n]),
      y: metric(metrics[last], better[last]),
      hasSteps: false,
    }));
  }

  const cost = (row, metric) => (metric.better === "higher" ? -row[metric.name] : row[metric.name]);

  /** Those that no other dominates, by the first metric. Equal ones do not dominate each other. */
  function front(rows, pair) {
    const usable = rows.filter((row) => known(row[pair.x.name]) && known(row[pair.y.name]));
    const sorted = usable.sort((a, b) => cost(a, pair.x) - cost(b, pair.x) || cost(a, pair.y) - cost(b, pair.y));
    const kept = [];
    let best = Infinity,
      at = NaN;
    for (const row of sorted) {
      const [x, y] = [cost(row, pair.x), cost(row, pair.y)];
      if (y < best || (y === best && x === at)) {
        kept.push(row);
        [best, at] = [y, x];
      }
    }
    return kept;
  }

  const groupOf = (row) => JSON.stringify(GROUP.map((name) => row[name]));
  const placeOf = (row) => JSON.stringify([row.model, row.hookpoint]);

  /** In the order of first appearance. */
  function grouped(rows, key) {
    const found = new Map();
    for (const row of rows) {
      const name = key(row);
      if (found.has(name)) found.get(name).push(row);
      else found.set(name, [row]);
    }
    return found;
  }

  /** Corners of the steps of a front: at any x the best that it has there or before. Sorted by x. */
  function corners(points, pair) {
    const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
    return { points: sorted, interpolate: pair.x.better === "higher" ? "step-before" : "step-after" };
  }

  /** The other metric where `matched` is `target`: a straight line between neighbours, counts by their logarithm. */
  function along(rows, pair, matched, target) {
    const [from, to] = matched === pair.y.name ? [pair.y, pair.x] : [pair.x, pair.y];
    const ok = (row) => [from, to].every((one) => !one.isCount || row[one.name] > 0);
    const scaled = (metric, value) => (metric.isCount ? Math.log(value) : value);
    const line = front(rows, pair)
      .filter(ok)
      .map((row) => [scaled(from, row[from.name]), scaled(to, row[to.name])]);
    line.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const at = scaled(from, target);
    if (!line.length || !(at >= line[0][0]) || at > line[line.length - 1][0]) return null;
    let found = line[line.length - 1][1];
    for (let n = 1; n < line.length; n += 1) {
      if (at <= line[n][0]) {
        const [[x0, y0], [x1, y1]] = [line[n - 1], line[n]];
        found = x1 === x0 ? y1 : y0 + ((y1 - y0) * (at - x0)) / (x1 - x0);
        break;
      }
    }
    if (line.length === 1) found = line[0][1];
    return to.isCount ? Math.exp(found) : found;
  }

  const bySeed = (rows) => [...grouped(rows, (row) => String(row.seed)).values()];

  /** The mean over seeds of `along`, geometric for counts: {value, n}; value null where no seed's front reaches. */
  function valueAt(rows, pair, matched, target) {
    const reads = matched === pair.y.name ? pair.x : pair.y;
    const found = bySeed(rows)
      .map((each) => along(each, pair, matched, target))
      .filter((value) => value !== null);
    if (!found.length) return { value: null, n: 0 };
    const mean = found.reduce((sum, value) => sum + (reads.isCount ? Math.log(value) : value), 0) / found.length;
    return { value: reads.isCount ? Math.exp(mean) : mean, n: found.length };
  }

  /** The trial nearest to the target of those that none of their seed dominates: {row, offset}. */
  function nearest(rows, pair, matched, target) {
    const [at, reads] = matched === pair.y.name ? [pair.y, pair.x] : [pair.x, pair.y];
    let best = null;
    for (const row of bySeed(rows).flatMap((each) => front(each, pair))) {
      const value = row[at.name];
      const far = at.isCount && value > 0 && target > 0 ? Math.abs(Math.log(value / target)) : Math.abs(value - target);
      if (!best || far < best.far || (far === best.far && cost(row, reads) < cost(best.row, reads)))
        best = { row, far };
    }
    if (!best) return null;
    const value = best.row[at.name];
    return { row: best.row, at: value, offset: target === 0 ? value : (value - target) / Math.abs(target) };
  }

  /** From the lowest to the highest value of a metric on the fronts of these rows. */
  function range(rows, pair, matched) {
    const values = [...grouped(rows, groupOf).values()].flatMap((each) => front(each, pair)).map((row) => row[matched]);
    return values.length ? [Math.min(...values), Math.max(...values)] : null;
  }

  /** Where the surfaces of a quarter and three quarters of the seeds lie at each x of either: {x, low, high}. */
  function band(quarter, threeQuarters, pair, worst) {
    const xs = [...new Set([...quarter, ...threeQuarters].map((corner) => corner.x))].sort((a, b) => a - b);
    return xs.map((x) => ({ x, low: reached(quarter, x, pair, worst), high: reached(threeQuarters, x, pair, worst) }));
  }

  function reached(surface, x, pair, worst) {
    const better = pair.y.better === "higher" ? Math.max : Math.min;
    const there = surface
      .filter((corner) => (pair.x.better === "higher" ? corner.x >= x : corner.x <= x))
      .map((corner) => corner.y);
    return there.length ? better(...there) : worst;
  }

  return { pairs, front, grouped, groupOf, placeOf, corners, along, valueAt, nearest, range, band, bySeed, cost };
})();
