/* The plots of one trial, each with its numbers as a table: curves, how often elements fire, the error downstream. */
"use strict";

const TrialPlots = (() => {
  const { el } = Dom;
  const FIRST = [
    "train/loss",
    "train/kl",
    "train/local_mse",
    "train/downstream_mse",
    "train/sparsity",
    "train/l0",
    "train/n_alive",
    "train/grad_norm",
    "train/lr",
  ];
  const MAIN = new Set([...FIRST, "eval/ce_loss_increase", "eval/explained_variance"]);
  const LABELS = {
    loss: "Loss",
    kl: "KL term",
    local_mse: "Local MSE",
    downstream_mse: "Downstream MSE",
    sparsity: "Sparsity term",
    l0: "L0",
    n_alive: "Alive elements",
    grad_norm: "Gradient norm",
    lr: "Learning rate",
  };

  /** A chart in a card with its numbers as a table. */
  function figure(title, about, make, frameOf, data, tip, table, drawn, options = {}) {
    const box = el("div", {
      class: "chart",
      role: "img",
      "aria-label": `${title}. ${about} The numbers are in the table below.`,
    });
    const draw = () => {
      if (!box.clientWidth) return Promise.resolve();
      const width = Math.max(200, box.clientWidth);
      const height = options.height || 190;
      box.style.height = `${height}px`;
      return Charts.draw(box, make, { ...frameOf(), width, height }, data, { tip, near: 60, alongX: true });
    };
    box.redraw = draw;
    drawn.push(draw);
    const twin = el("details", { class: "twin" }, el("summary", {}, "Numbers"));
    twin.addEventListener("toggle", () => {
      if (twin.open && twin.children.length === 1) twin.append(table());
    });
    return el(
      "figure",
      { class: "card" },
      el("figcaption", {}, el("strong", {}, title), " ", el("span", { class: "muted" }, about)),
      box,
      twin,
    );
  }

  function curves(trial, by, log, drawn) {
    const found = trial.curves || {};
    const names = Object.keys(found)
      .filter((name) => found[name].values.length)
      .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    if (!names.length)
      return [el("h2", {}, "Curves"), el("p", { class: "muted" }, "No curves of this trial are here.")];
    const merged = new Set();
    const later = [];
    const made = names.map((name) => {
      if (merged.has(name)) return null;
      const train = name.startsWith("train/") ? `eval/${name.slice(6).replace("n_alive", "n_alive_elements")}` : "";
      const series = [name, ...(found[train] ? [train] : [])];
      series.forEach((one) => merged.add(one));
      const isMain = MAIN.has(name);
      const made = curve(series, found, by, log, isMain ? drawn : later);
      return made && { isMain, made };
    });
    const [main, rest] = [true, false].map((isMain) =>
      made.filter((one) => one && one.isMain === isMain).map((one) => one.made),
    );
    return [
      el(
        "div",
        { class: "title-row" },
        el("h2", {}, "Curves"),
        Filters.segments(
          "by",
          "Along",
          [
            ["steps", "steps"],
            ["tokens", "tokens"],
          ],
          by,
          { usual: "steps" },
        ),
        el(
          "label",
          { class: "switch" },
          el("input", {
            type: "checkbox",
            id: "curves-log",
            checked: log,
            on: { change: (event) => State.change({ log: event.target.checked }) },
          }),
          el("span", {}, "log scale"),
        ),
        trial.thinned && el("span", { class: "muted" }, "Thinned: lowest and highest of each stretch."),
      ),
      el("div", { class: "figures" }, main),
      rest.length > 0 && others(rest, later),
    ];
  }

  /** Drawn when they are looked at. */
  function others(figures, draws) {
    const toggle = (event) => event.target.open && Shell.drawn(Promise.all(draws.map((draw) => draw())));
    const grid = el("div", { class: "figures" }, figures);
    const box = el(
      "details",
      { class: "more-curves", id: "more-curves" },
      el("summary", {}, `All other metrics (${figures.length})`),
      grid,
    );
    box.addEventListener("toggle", (event) => event.target === box && toggle(event));
    return box;
  }

  const rank = (name) =>
    FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length + (name.startsWith("eval/") ? 0 : 1);

  function label(name) {
    const short = name.replace(/^(train|eval)\//, "");
    return Object.hasOwn(LABELS, short) ? LABELS[short] : Looks.metric(short).label;
  }

  function curve(series, found, by, log, drawn) {
    const data = { lines: [], points: [], rings: [] };
    const values = series.flatMap((name) => found[name].values);
    const asLog = log && values.some((value) => value > 0);
    series.forEach((name) => {
      const isEval = name.startsWith("eval/");
      const color = Looks.color(isEval ? "second" : "accent");
      found[name][by].forEach((x, n) => {
        const y = found[name].values[n];
        if (!Text.known(y) || (asLog && y <= 0)) return;
        data.lines.push({ x, y, series: name, color });
        if (isEval || found[name].values.length < 3) data.points.push({ x, y, series: name, color });
      });
    });
    const ys = Specs.domain(
      data.lines.map((one) => one.y),
      { log: asLog },
    );
    if (!ys) return null;
    // All curves of a trial begin and end at the same places of their cards.
    const last = Math.max(1, ...Object.values(found).flatMap((one) => one[by].slice(-1)));
    const frame = () => ({
      x: {
        title: by === "steps" ? "step" : "tokens",
        domain: [0, last],
        format: "~s",
      },
      y: { title: "", domain: ys, log: asLog },
    });
    const about =
      series.length > 1
        ? "while training, and on held-out rows (points)"
        : series[0].startsWith("eval/")
          ? "on held-out rows"
          : "while training";
    const tip = (tuple) => ({
      key: `${tuple.series}${tuple.x}`,
      children: [
        el("strong", {}, Text.number(tuple.y)),
        el("div", { class: "muted" }, `${by === "steps" ? "step" : "token"} ${Text.number(tuple.x)}, ${tuple.series}`),
      ],
    });
    const table = () =>
      Tables.table(
        Dom.idOf("curve", series[0]),
        [
          { key: "x", label: by, number: true, cell: (one) => Text.number(one.x) },
          { key: "series", label: "Of" },
          { key: "y", label: "Value", number: true, cell: (one) => Text.number(one.y, 4) },
        ],
        data.lines,
        { caption: `Curve of ${label(series[0])}` },
      );
    return figure(label(series[0]), about, Specs.linesSpec, frame, data, tip, table, drawn);
  }

  function spread(trial, drawn) {
    const made = [density(trial.density, drawn), downstream(trial.downstream, drawn)].filter(Boolean);
    return made.length > 0 && [el("h2", {}, "Elements and blocks"), el("div", { class: "figures wide" }, made)];
  }

  function density(found, drawn) {
    if (!found || !found.counts) return null;
    const bars = found.counts.map((y, n) => ({
      from: found.edges_log10[n],
      to: found.edges_log10[n + 1],
      y,
      zero: 0,
      x: (found.edges_log10[n] + found.edges_log10[n + 1]) / 2,
    }));
    const edges = found.edges_log10;
    const frame = () => ({
      color: Looks.color("accent"),
      x: { title: "log10 of the share of tokens on which it fires", domain: [edges[0], edges[edges.length - 1]] },
      y: { title: "elements", domain: [0, Math.max(1, ...found.counts) * 1.05] },
    });
    const range = (one) => `10^${one.from} to 10^${one.to}`;
    const tip = (one) => ({
      key: `density${one.from}`,
      children: [
        el("strong", {}, Text.count(one.y, "element")),
        el("div", { class: "muted" }, `fire on ${range(one)} of tokens`),
      ],
    });
    const table = () =>
      Tables.table(
        "density-table",
        [
          { key: "from", label: "Share of tokens", cell: range },
          { key: "y", label: "Elements", number: true, cell: (one) => Text.number(one.y) },
        ],
        bars,
        { caption: "Activation density" },
      );
    return figure(
      "How often elements fire",
      found.n_dead
        ? `${Text.count(found.n_dead, "element")} never did, and ${found.n_dead === 1 ? "is" : "are"} not in the picture.`
        : "All of them did.",
      Specs.barsSpec,
      frame,
      { bars, points: bars },
      tip,
      table,
      drawn,
      { height: 230 },
    );
  }

  function downstream(found, drawn) {
    const known = (found || []).filter((one) => Text.known(one.mse));
    if (!known.length) return null;
    const bars = known.map((one, n) => ({
      from: n - 0.36,
      to: n + 0.36,
      x: n,
      y: one.mse,
      zero: 0,
      hook: one.hook,
      explained: one.explained_variance,
    }));
    const short = (hook) => (/^blocks\.(\d+)\./.exec(hook) || [])[1] ?? hook;
    const first = Number(short(known[0].hook));
    const shifted = Number.isFinite(first)
      ? bars.map((one) => ({ ...one, from: one.from + first, to: one.to + first, x: one.x + first }))
      : bars;
    const room = Math.max(0.6, (5 - shifted.length) / 2);
    const frame = () => ({
      color: Looks.color("second"),
      x: {
        title: "block",
        domain: [shifted[0].x - room, shifted[shifted.length - 1].x + room],
        values: shifted.map((one) => one.x),
        format: "d",
      },
      y: { title: "MSE at its input", domain: [0, Math.max(...known.map((one) => one.mse)) * 1.05 || 1] },
    });
    const tip = (one) => ({
      key: one.hook,
      children: [el("strong", {}, Text.number(one.y)), el("div", { class: "muted" }, one.hook)],
    });
    const columns = [
      { key: "hook", label: "Hookpoint" },
      { key: "y", label: "MSE", number: true, cell: (one) => Text.number(one.y) },
      ...(bars.some((one) => Text.known(one.explained))
        ? [{ key: "explained", label: "Expl. variance", number: true, cell: (one) => Text.number(one.explained) }]
        : []),
    ];
    return figure(
      "Error at the later blocks",
      "with the SAE spliced in, against the model alone.",
      Specs.barsSpec,
      frame,
      { bars: shifted, points: shifted },
      tip,
      () => Tables.table("downstream-table", columns, bars, { caption: "Downstream MSE" }),
      drawn,
      { height: 230 },
    );
  }

  return { curves, spread };
})();
