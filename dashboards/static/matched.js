/* Losses where one metric is equal: a slider, the nearest real trial of each loss, the front there, and the ratio to
   local. Of one sweep or several. */
"use strict";

const Matched = (() => {
  const { el } = Dom;
  const FAR = 0.15;
  const STEPS = 400;

  /** The metrics that can be made equal: {metric, planes: [pairs that hold it]}; what losses are compared in first. */
  function matchable(pairs) {
    const found = new Map();
    pairs = pairs.filter((pair) => pair.hasSteps);
    for (const name of ["y", "x"])
      for (const pair of pairs) {
        const metric = pair[name];
        if (!found.has(metric.name))
          found.set(metric.name, {
            metric,
            planes: pairs.filter((one) => one.x.name === metric.name || one.y.name === metric.name),
          });
      }
    return [...found.values()];
  }

  /** Where to compare at first: what the sweep file asks for, else the middle of what the fronts share. */
  function usual({ metric, planes }, details, rows) {
    const asked = details.flatMap((detail) => detail.matched || []).filter((one) => one.matched === metric.name);
    const first = asked.find((one) => one.asked) || asked[0];
    if (first && Text.known(first.target)) return first.target;
    const range = Fronts.range(rows, planes[0], metric.name);
    if (!range) return null;
    const middle = range[0] > 0 ? Math.sqrt(range[0] * range[1]) : (range[0] + range[1]) / 2;
    return Number(middle.toPrecision(2));
  }

  /** A line per sweep, place, dictionary size and loss. */
  function lines(sweeps, { metric, planes }, target) {
    const found = [];
    const places = Panels.places(sweeps.flatMap((sweep) => sweep.rows));
    for (const place of places)
      for (const sweep of sweeps) {
        const here = sweep.rows.filter((row) => Fronts.placeOf(row) === place.key && row.loss !== "external");
        for (const size of [...new Set(here.map((row) => row.d_sae))].sort((a, b) => a - b)) {
          const groups = Fronts.grouped(
            here.filter((row) => row.d_sae === size),
            (row) => row.loss,
          );
          const local = groups.get("local");
          for (const loss of [...groups.keys()].sort(Looks.byLoss)) {
            const rows = groups.get(loss);
            const nearest = Fronts.nearest(rows, planes[0], metric.name, target);
            const reads = planes.map((pair) => {
              const read = pair.x.name === metric.name ? pair.y : pair.x;
              const { value, n } = Fronts.valueAt(rows, pair, metric.name, target);
              const base = local ? Fronts.valueAt(local, pair, metric.name, target).value : null;
              const said = (sweep.detail.matched || []).find(
                (one) =>
                  one.matched === metric.name &&
                  one.reads === read.name &&
                  one.loss === loss &&
                  one.d_sae === size &&
                  one.hookpoint === place.hook &&
                  one.model === place.model &&
                  Math.abs(one.target - target) <= 1e-9 * Math.abs(target),
              );
              return {
                read,
                value,
                n,
                ratio: value !== null && base ? value / base : null,
                said: sweep.isFiltered ? null : said,
              };
            });
            if (nearest) found.push({ place, sweep, size, loss, nearest, reads, target });
          }
        }
      }
    return found;
  }

  function table(id, sweeps, one, target) {
    const found = lines(sweeps, one, target);
    const { metric } = one;
    const several = (of) => new Set(found.map(of)).size > 1;
    const reads = found.length ? found[0].reads.map(({ read }) => read) : [];
    const first = new Map(found.filter((line) => line.sweep === sweeps[0]).map((line) => [keyOf(line), line]));
    const againstFirst = (line, n) => {
      const base = first.get(keyOf(line));
      const value = base && base !== line ? line.reads[n].value / base.reads[n].value : NaN;
      return Text.known(value) && line.reads[n].value !== null && base.reads[n].value ? value : null;
    };
    const hasVerdicts =
      sweeps.length === 1 && found.some((line) => line.reads.some(({ said }) => said && said.statement));
    const columns = [
      { key: "place", label: "Layer", value: (line) => line.place.layer, cell: (line) => line.place.label },
      {
        key: "loss",
        label: "Loss",
        value: (line) => line.loss,
        cell: (line) => [Looks.mark(line.loss), " ", Looks.loss(line.loss).label],
      },
      ...(several((line) => line.sweep.id)
        ? [
            {
              key: "sweep",
              label: "Sweep",
              value: (line) => line.sweep.detail.name,
              cell: (line) => line.sweep.detail.name,
            },
          ]
        : []),
      ...(several((line) => line.size)
        ? [
            {
              key: "size",
              label: "d_sae",
              number: true,
              value: (line) => line.size,
              cell: (line) => Text.number(line.size),
            },
          ]
        : []),
      {
        key: "trial",
        label: "Nearest trial",
        value: (line) => line.nearest.row.run_name,
        cell: (line) =>
          el("a", { href: State.link("trial", [line.sweep.id, line.nearest.row.trial_id]) }, line.nearest.row.run_name),
      },
      {
        key: "at",
        label: `Its ${metric.short}`,
        number: true,
        value: (line) => line.nearest.at,
        cell: (line) => [
          Text.number(line.nearest.at),
          " ",
          el("span", { class: "muted" }, `(${Text.signedPercent(line.nearest.offset)})`),
        ],
      },
      ...reads.flatMap((read, n) => [
        {
          key: `near_${read.name}`,
          label: `Its ${read.short}`,
          number: true,
          value: (line) => line.nearest.row[read.name],
          cell: (line) => Text.number(line.nearest.row[read.name]),
        },
        {
          key: `on_${read.name}`,
          label: `${read.name === "n_alive_elements" ? "Alive" : read.short} on the front`,
          title: `Interpolated at ${metric.label} = ${Text.number(target)} along the front of each seed; mean over seeds. A dash: outside of the front.`,
          number: true,
          value: (line) => line.reads[n].value,
          cell: (line) => el("strong", {}, Text.number(line.reads[n].value)),
        },
        {
          key: `ratio_${read.name}`,
          label: "× local",
          title: "The value on the front over that of local",
          number: true,
          value: (line) => line.reads[n].ratio,
          cell: (line) => ratio(line, line.reads[n]),
        },
        ...(sweeps.length > 1
          ? [
              {
                key: `first_${read.name}`,
                label: "× A",
                title: "The value on the front over that of sweep A",
                number: true,
                value: (line) => againstFirst(line, n),
                cell: (line) => timed(read, againstFirst(line, n)),
              },
            ]
          : []),
      ]),
      ...(hasVerdicts
        ? [
            {
              key: "verdict",
              label: "Against local",
              value: (line) => line.reads.map(({ said }) => (said && said.verdict) || "").join(),
              cell: verdicts,
            },
          ]
        : []),
    ];
    return Tables.table(id, columns, found, {
      caption: `Losses at ${metric.label} = ${Text.number(target)}`,
      empty: "No front to compare yet.",
      mark: (line) => (Math.abs(line.nearest.offset) > FAR ? "far" : null),
    });
  }

  function ratio(line, { read, ratio: value }) {
    if (value === null || line.loss === "local")
      return el("span", { class: "muted" }, line.loss === "local" && value !== null ? "1" : Text.NONE);
    return timed(read, value);
  }

  function timed(read, value) {
    if (value === null) return Text.NONE;
    const good = read.better === "higher" ? value > 1 : value < 1;
    return el("span", { class: good ? "good" : "bad" }, `× ${Text.number(value)}`);
  }

  const keyOf = (line) => JSON.stringify([line.place.key, line.size, line.loss]);

  function verdicts(line) {
    const said = line.reads.map((one) => one.said).filter((one) => one && one.verdict);
    return said.map((one) =>
      el(
        "span",
        { class: "verdict", title: one.statement },
        `${Looks.metric(one.reads, line.sweep.detail).short}: ${String(one.verdict).replaceAll("_", " ")}`,
      ),
    );
  }

  /** Slider and table of one metric. `onTarget(value)` while it moves, `onSet(value)` when it has. */
  function control(id, sweeps, one, target, { onTarget, onSet }) {
    const { metric, planes } = one;
    const rows = sweeps.flatMap((sweep) => sweep.rows);
    const range = Fronts.range(
      rows.filter((row) => row.loss !== "external"),
      planes[0],
      metric.name,
    );
    if (!range || target === null) return null;
    const log = metric.isCount && range[0] > 0;
    const scaled = (value) => (log ? Math.log(value) : value);
    const [low, high] = range.map(scaled);
    const atStep = (step) => (log ? Math.exp : (value) => value)(low + ((high - low) * step) / STEPS);
    const stepOf = (value) =>
      high > low && (!log || value > 0) ? Math.round((STEPS * (scaled(value) - low)) / (high - low)) : 0;
    const slider = el("input", {
      type: "range",
      id: `${id}-slider`,
      min: 0,
      max: STEPS,
      step: 1,
      value: stepOf(target),
      "aria-label": `${metric.label} at which losses are compared`,
      "aria-valuetext": Text.number(target),
    });
    const box = el("input", {
      type: "number",
      id: `${id}-number`,
      step: "any",
      value: Number(target.toPrecision(4)),
      "aria-label": `${metric.label}, as a number`,
    });
    const place = el("div", { class: "matched-table" }, table(`${id}-table`, sweeps, one, target));
    const show = (value) => {
      slider.setAttribute("aria-valuetext", Text.number(value));
      place.replaceChildren(table(`${id}-table`, sweeps, one, value));
      onTarget(metric.name, value);
    };
    slider.addEventListener("input", () => {
      box.value = Number(atStep(slider.value).toPrecision(3));
      show(Number(box.value));
    });
    slider.addEventListener("change", () => onSet(metric.name, Number(box.value)));
    box.addEventListener("change", () => {
      const value = Number(box.value);
      if (box.value === "" || !Text.known(value)) return;
      slider.value = stepOf(value);
      show(value);
      onSet(metric.name, value);
    });
    return [
      el("h3", {}, `At equal ${metric.label}`),
      el(
        "div",
        { class: "slider" },
        el("span", { class: "muted" }, Text.number(range[0])),
        slider,
        el("span", { class: "muted" }, Text.number(range[1])),
        box,
      ),
      place,
    ];
  }

  return { matchable, usual, lines, control };
})();
