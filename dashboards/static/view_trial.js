/* One trial: what it measures, its curves, how often its elements fire, the error downstream, and what they fire on. */
"use strict";

const TrialView = (() => {
  const { el } = Dom;
  const FIRST = ["train/loss", "train/kl", "train/local_mse", "train/downstream_mse", "train/sparsity", "train/l0", "train/n_alive", "train/grad_norm", "train/lr"];
  const LABELS = { loss: "Loss", kl: "KL term", local_mse: "Local MSE", downstream_mse: "Downstream MSE", sparsity: "Sparsity term", l0: "L0", n_alive: "Alive elements", grad_norm: "Gradient norm", lr: "Learning rate" };

  function update(root, { ids, query }) {
    const [id, trial_id] = ids;
    const { data: trial, problem } = Source.get(Source.trial(id, trial_id));
    if (!trial) return Dom.part(root, "head", problem || "", () => Shell.waiting(problem));
    const sweep = Source.get(Source.sweep(id)).data || null;
    Shell.status(sweep);
    const dark = Looks.isDark();
    const by = query.get("by") === "tokens" ? "tokens" : "steps";
    const log = query.get("log") === "1";
    Dom.part(root, "head", [trial.run_name, trial.status, trial.row, trial.metrics, trial.problems, trial.mlflow_url, sweep && sweep.name, problem], () => head(id, trial, sweep, problem));
    const drawn = [];
    Dom.part(root, "curves", [trial.curves, by, log, dark], () => curves(trial, by, log, drawn));
    Dom.part(root, "spread", [trial.density, trial.downstream, dark], () => spread(trial, drawn));
    Dom.part(root, "elements", [trial.elements, dark], () => elements(trial));
    Dom.part(root, "config", [trial.config, trial.command, trial.facts, trial.versions, trial.cost], () => config(trial));
    if (drawn.length) Shell.drawn(Promise.all(drawn.map((draw) => draw())));
    Shell.onResize(root, () => {
      const again = [...root.querySelectorAll(".chart")].map((box) => box.redraw && box.redraw());
      Shell.drawn(Promise.all(again));
    });
  }

  function head(id, trial, sweep, problem) {
    const row = trial.row || trial.metrics || {};
    const config = trial.config || {};
    const loss = (trial.row || {}).loss || (config.loss || {}).kind;
    const back = Shell.lastFrontier(id) || State.link("frontier", [id]);
    const stderr = Text.known(row.ce_loss_increase_stderr) ? `± ${Text.number(row.ce_loss_increase_stderr, 2)} nats per token` : "nats per token";
    const tiles = [
      ["L0", row.l0, "elements per token"], ["CE loss increase", row.ce_loss_increase, stderr], ["Alive elements", row.n_alive_elements, Text.known(row.d_sae) ? `of ${Text.number(row.d_sae)}` : ""],
      ["Explained variance", row.explained_variance, ""], ["KL with the SAE", row.kl_div_with_sae, "nats per token"], ["MSE", row.mse, ""],
    ].filter(([, value]) => Text.known(value));
    return [
      el("p", { class: "crumbs" }, el("a", { href: back }, "← ", sweep ? sweep.name : id)),
      el("div", { class: "title-row" }, el("h1", {}, trial.run_name), Shell.pill({ state: trial.status }), trial.mlflow_url && el("a", { class: "end", href: trial.mlflow_url }, "Open in MLflow")),
      el("p", { class: "muted" }, [[Looks.mark(loss), " ", Looks.loss(loss).label], config.hookpoint, config.loss && `sparsity_coeff ${Text.plain(config.loss.sparsity_coeff)}`, `seed ${Text.plain(config.seed)}`, fronts(trial.row, sweep)].filter(Boolean).map((one, n) => [n > 0 && " · ", one])),
      problem && el("p", { class: "problem" }, problem), trial.error && el("p", { class: "problem" }, trial.error), (trial.problems || []).map((text) => el("p", { class: "problem" }, text)),
      tiles.length > 0 && el("dl", { class: "tiles" }, tiles.map(([name, value, unit]) => el("div", { class: "card" }, el("dt", {}, name), el("dd", {}, el("strong", {}, Text.number(value)), " ", el("span", { class: "muted" }, unit))))),
    ];
  }

  function fronts(row, sweep) {
    if (!row || !sweep) return null;
    const on = Fronts.pairs(sweep).filter((pair) => row[`on_front_${pair.label}`]).map((pair) => pair.x.short);
    return on.length ? `on its front in ${on.join(" and ")}` : "dominated";
  }

  /** A chart in a card with its numbers as a table. */
  function figure(title, about, make, frameOf, data, tip, table, drawn, options = {}) {
    const box = el("div", { class: "chart", role: "img", "aria-label": `${title}. ${about} The numbers are in the table below.` });
    const draw = () => {
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
    return el("figure", { class: "card" }, el("figcaption", {}, el("strong", {}, title), " ", el("span", { class: "muted" }, about)), box, twin);
  }

  function curves(trial, by, log, drawn) {
    const found = trial.curves || {};
    const names = Object.keys(found).filter((name) => found[name].values.length).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    if (!names.length) return [el("h2", {}, "Curves"), el("p", { class: "muted" }, "No curves of this trial are here.")];
    const merged = new Set();
    const made = names.map((name) => {
      if (merged.has(name)) return null;
      const train = name.startsWith("train/") ? `eval/${name.slice(6).replace("n_alive", "n_alive_elements")}` : "";
      const series = [name, ...(found[train] ? [train] : [])];
      series.forEach((one) => merged.add(one));
      return curve(series, found, by, log, drawn);
    });
    return [
      el("div", { class: "title-row" }, el("h2", {}, "Curves"), Filters.segments("by", "Along", [["steps", "steps"], ["tokens", "tokens"]], by, { usual: "steps" }), el("label", { class: "switch" }, el("input", { type: "checkbox", id: "curves-log", checked: log, on: { change: (event) => State.change({ log: event.target.checked }) } }), el("span", {}, "log scale")), trial.thinned && el("span", { class: "muted" }, "Thinned: lowest and highest of each stretch.")),
      el("div", { class: "figures" }, made),
    ];
  }

  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length + (name.startsWith("eval/") ? 0 : 1));

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
    const [xs, ys] = [Charts.domain(data.lines.map((one) => one.x)), Charts.domain(data.lines.map((one) => one.y), { log: asLog })];
    if (!xs || !ys) return null;
    const frame = () => ({ x: { title: by === "steps" ? "step" : "tokens", domain: [Math.min(...data.lines.map((one) => one.x)), Math.max(...data.lines.map((one) => one.x)) || 1], format: "~s" }, y: { title: "", domain: ys, log: asLog } });
    const about = series.length > 1 ? "while training, and on held-out rows (points)" : series[0].startsWith("eval/") ? "on held-out rows" : "while training";
    const tip = (tuple) => ({ key: `${tuple.series}${tuple.x}`, children: [el("strong", {}, Text.number(tuple.y)), el("div", { class: "muted" }, `${by === "steps" ? "step" : "token"} ${Text.number(tuple.x)}, ${tuple.series}`)] });
    const table = () => Tables.table(Dom.idOf("curve", series[0]), [{ key: "x", label: by, number: true, cell: (one) => Text.number(one.x) }, { key: "series", label: "Of" }, { key: "y", label: "Value", number: true, cell: (one) => Text.number(one.y, 4) }], data.lines, { caption: `Curve of ${label(series[0])}` });
    return figure(label(series[0]), about, Charts.linesSpec, frame, data, tip, table, drawn);
  }

  function spread(trial, drawn) {
    const made = [density(trial.density, drawn), downstream(trial.downstream, drawn)].filter(Boolean);
    return made.length > 0 && [el("h2", {}, "Elements and blocks"), el("div", { class: "figures wide" }, made)];
  }

  function density(found, drawn) {
    if (!found || !found.counts) return null;
    const bars = found.counts.map((y, n) => ({ from: found.edges_log10[n], to: found.edges_log10[n + 1], y, zero: 0, x: (found.edges_log10[n] + found.edges_log10[n + 1]) / 2 }));
    const edges = found.edges_log10;
    const frame = () => ({ color: Looks.color("accent"), x: { title: "log10 of the share of tokens on which it fires", domain: [edges[0], edges[edges.length - 1]] }, y: { title: "elements", domain: [0, Math.max(1, ...found.counts) * 1.05] } });
    const range = (one) => `10^${one.from} to 10^${one.to}`;
    const tip = (one) => ({ key: `density${one.from}`, children: [el("strong", {}, Text.count(one.y, "element")), el("div", { class: "muted" }, `fire on ${range(one)} of tokens`)] });
    const table = () => Tables.table("density-table", [{ key: "from", label: "Share of tokens", cell: range }, { key: "y", label: "Elements", number: true, cell: (one) => Text.number(one.y) }], bars, { caption: "Activation density" });
    return figure("How often elements fire", `${Text.count(found.n_dead, "element")} never did, and ${found.n_dead === 1 ? "is" : "are"} not in the picture.`, Charts.barsSpec, frame, { bars, points: bars }, tip, table, drawn, { height: 230 });
  }

  function downstream(found, drawn) {
    const known = (found || []).filter((one) => Text.known(one.mse));
    if (!known.length) return null;
    const bars = known.map((one, n) => ({ from: n - 0.36, to: n + 0.36, x: n, y: one.mse, zero: 0, hook: one.hook, explained: one.explained_variance }));
    const short = (hook) => (/^blocks\.(\d+)\./.exec(hook) || [])[1] ?? hook;
    const first = Number(short(known[0].hook));
    const shifted = Number.isFinite(first) ? bars.map((one) => ({ ...one, from: one.from + first, to: one.to + first, x: one.x + first })) : bars;
    const frame = () => ({ color: Looks.color("second"), x: { title: "block", domain: [shifted[0].x - 0.6, shifted[shifted.length - 1].x + 0.6], values: shifted.map((one) => one.x), format: "d" }, y: { title: "MSE at its input", domain: [0, Math.max(...known.map((one) => one.mse)) * 1.05 || 1] } });
    const tip = (one) => ({ key: one.hook, children: [el("strong", {}, Text.number(one.y)), el("div", { class: "muted" }, one.hook)] });
    const columns = [{ key: "hook", label: "Hookpoint" }, { key: "y", label: "MSE", number: true, cell: (one) => Text.number(one.y) }, ...(bars.some((one) => Text.known(one.explained)) ? [{ key: "explained", label: "Expl. variance", number: true, cell: (one) => Text.number(one.explained) }] : [])];
    return figure("Error at the later blocks", "with the SAE spliced in, against the model alone.", Charts.barsSpec, frame, { bars: shifted, points: shifted }, tip, () => Tables.table("downstream-table", columns, bars, { caption: "Downstream MSE" }), drawn, { height: 230 });
  }

  function elements(trial) {
    const found = trial.elements;
    if (!found || !(found.elements || []).length) return [el("h2", {}, "Dictionary elements"), el("p", { class: "muted" }, "None were kept for this trial.")];
    return [
      el("h2", {}, "Dictionary elements"),
      el("p", { class: "muted" }, `What they fire on in ${Text.number(found.n_eval_tokens)} held-out tokens: the stronger, the deeper the colour. ${found.text_credit || ""}`),
      el("div", { class: "elements" }, found.elements.map(element)),
    ];
  }

  function element(one, place) {
    const top = (one.top_tokens || []).map(([token, n]) => el("li", {}, el("code", {}, visible(token)), el("span", { class: "muted" }, ` ${n}`)));
    return el("details", { class: "card element", id: `element-${one.index}`, open: place < 4 },
      el("summary", {}, el("strong", {}, `Element ${one.index}`), el("span", { class: "muted" }, `fires on ${Text.percent(one.density, one.density < 0.01 ? 2 : 1)} of tokens · strongest ${Text.number(one.max_activation)} · ${one.chosen === "sampled" ? "drawn at random" : "among the most active"}`)),
      top.length > 0 && el("ul", { class: "top-tokens", "aria-label": "Tokens on which it is strongest" }, top),
      el("ul", { class: "snippets" }, (one.snippets || []).map((snippet) => snippetOf(snippet, one.max_activation))));
  }

  function snippetOf(snippet, most) {
    const top = snippet.position - (snippet.start ?? snippet.position);
    return el("li", {},
      el("p", { class: "snippet", lang: "und" }, snippet.tokens.map((token, n) => {
        const heat = most > 0 ? Math.max(0, Math.min(1, snippet.activations[n] / most)) : 0;
        const shown = n === 0 ? String(token).trimStart() : token;
        if (heat < 0.02) return el("span", {}, shown);
        const span = el("span", { class: `hot${n === top && snippet.start !== undefined ? " strongest" : ""}`, title: Text.number(snippet.activations[n]) }, shown);
        span.style.setProperty("--heat", `${Math.round(12 + 58 * heat)}%`);
        return span;
      })),
      el("p", { class: "muted small" }, snippet.topic && el("span", { class: "topic" }, snippet.topic), ` ${Text.number(snippet.activation)} at row ${snippet.row}, position ${snippet.position}`));
  }

  const visible = (token) => String(token).replaceAll("\n", "↵").replaceAll(" ", "␣");

  function config(trial) {
    const lists = [["Facts", trial.facts], ["Cost", trial.cost], ["Versions", trial.versions]].filter(([, values]) => values && Object.keys(values).length);
    return [
      el("h2", {}, "How it was made"),
      trial.command && el("div", { class: "card commands" }, el("div", { class: "command" }, el("span", { class: "muted" }, "Train it alone again"), el("code", {}, trial.command), Dom.copyButton(trial.command))),
      el("details", { class: "card", id: "config" }, el("summary", {}, "Configuration"), el("pre", { tabindex: "0" }, JSON.stringify(trial.config, null, 2))),
      lists.map(([name, values]) => el("details", { class: "card", id: Dom.idOf("facts", name) }, el("summary", {}, name), el("dl", { class: "pairs" }, Object.entries(values).map(([key, value]) => [el("dt", {}, key), el("dd", {}, typeof value === "number" ? Text.plain(value) : String(value ?? Text.NONE))])))),
    ];
  }

  return { update, addresses: ({ ids }) => [Source.trial(ids[0], ids[1]), Source.sweep(ids[0])] };
})();
