/* One sweep: its fronts by layer, what they say at matched values, its trials, and how it was run. */
"use strict";

const FrontierView = (() => {
  const { el } = Dom;

  function update(root, { ids, query }) {
    const [id] = ids;
    const { data: detail, problem } = Source.get(Source.sweep(id));
    if (!detail) return Dom.part(root, "head", problem || "", () => Shell.waiting(problem));
    const pairs = Fronts.pairs(detail);
    const rows = Filters.apply(detail.rows || [], query);
    const version = [detail.content_sha256, detail.sequence, detail.n_rows, Looks.isDark()];
    const asked = [...query].filter(([name]) => !name.startsWith("at_") && name !== "trial").map(String);
    Shell.status(detail);
    Dom.part(root, "head", [detail.name, detail.status, detail.mlflow, detail.downloads, problem], () => head(id, detail, problem));
    Dom.part(root, "notes", [detail.problems, detail.warnings], () => notes(detail));
    if (!(detail.rows || []).length) {
      for (const name of ["tools", "plot"]) Dom.part(root, name, name === "plot" ? detail.status : "", () => (name === "plot" ? nothingYet(detail) : null));
      Dom.part(root, "packs", detail.status.packs, () => packs(detail));
      for (const name of ["matched", "fronts", "trials"]) Dom.part(root, name, "", () => null);
    } else {
      const nPlaces = Panels.places(rows).length;
      const { pairs: shown } = Filters.pairsShown(pairs, query, nPlaces);
      const sweeps = [{ id, detail, rows, isFiltered: Filters.splitsFronts(query) }];
      Dom.part(root, "tools", [version, query.toString(), nPlaces], () => Filters.toolbar(detail.rows, query, { pairs, nPlaces, canBand: Panels.seedsOf(detail) >= 3 && (detail.surfaces || []).length > 0 }));
      plot(root, sweeps, { ...Filters.optionsOf(query), pairs: shown, enlarge: enlarged(id, query, nPlaces), targets: targets(query) }, [version, query.toString()]);
      Dom.part(root, "packs", detail.status.packs, () => packs(detail));
      Dom.part(root, "matched", [version, asked], () => matched(root, sweeps, pairs, query, version));
      Dom.part(root, "fronts", [version, asked], () => fronts(detail, query));
      Dom.part(root, "trials", [version, query.toString()], () => trials(id, detail, rows, pairs, query, root));
    }
    Dom.part(root, "others", detail.trials, () => others(id, detail));
    Dom.part(root, "search", detail.search, () => search(detail));
    return Dom.part(root, "about", [detail.events, detail.commands, detail.yaml, detail.mlflow], () => about(detail));
  }

  function head(id, detail, problem) {
    const { status, downloads = [] } = detail;
    return [
      el("div", { class: "title-row" }, el("h1", {}, detail.name), Shell.pill(status), el("span", { class: "end" }, Dom.copyButton(() => location.href, "Copy link"))),
      problem && el("p", { class: "problem" }, problem),
      el("div", { class: "standing" }, Shell.progress(status), el("p", {}, Shell.counts(status), Text.known(status.eta_s) && [" · ETA ", el("strong", {}, Shell.eta(status))], status.started_at && ` · started ${Text.time(status.started_at)}`)),
      el("p", { class: "links" },
        downloads.length > 0 && el("details", { class: "menu", id: "downloads" }, el("summary", {}, "Downloads"), el("ul", { class: "card" }, downloads.map((one) => el("li", {}, el("a", { href: one.href.replace(/^\//, ""), download: true }, one.label), Text.known(one.bytes) && el("span", { class: "muted" }, ` ${Text.bytes(one.bytes)}`))))),
        (detail.rows || []).length > 0 && el("button", { type: "button", class: "quiet", on: { click: () => saveSVG(id) } }, "These plots as SVG"),
        el("a", { href: CompareView.link([id]) }, "Compare with others"),
        detail.mlflow && detail.mlflow.frontier_url && el("a", { href: detail.mlflow.frontier_url }, "MLflow: frontier"),
        detail.mlflow && detail.mlflow.run_url && el("a", { href: detail.mlflow.run_url }, "MLflow: run")),
    ];
  }

  function notes(detail) {
    const kinds = Fronts.grouped(detail.warnings || [], (one) => one.kind);
    const where = (one) => [Text.known(one.layer) && `layer ${one.layer}`, one.loss && Looks.loss(one.loss).label].filter(Boolean).join(", ");
    return [
      (detail.problems || []).map((text) => el("p", { class: "problem" }, text)), Source.notes.map((text) => el("p", { class: "note" }, text)),
      kinds.size > 0 && el("details", { class: "card warnings", id: "warnings" },
        el("summary", {}, el("strong", {}, Text.count(detail.warnings.length, "warning")), el("span", { class: "muted" }, [...kinds].map(([kind, all]) => `${String(kind).replaceAll("_", " ")} (${all.length})`).join(", "))),
        [...kinds].map(([kind, all]) => el("div", {}, el("p", { class: "kind" }, String(kind).replaceAll("_", " ")), [...new Set(all.map((one) => one.fix))].filter(Boolean).map((fix) => el("p", { class: "muted" }, fix)),
          el("ul", {}, all.slice(0, 60).map((one) => el("li", {}, where(one) && el("span", { class: "muted" }, `${where(one)}: `), one.text)), all.length > 60 && el("li", {}, `and ${all.length - 60} more`))))),
    ];
  }

  function nothingYet({ status, problems }) {
    if (status.n_done) return el("div", { class: "card empty" }, el("p", {}, el("strong", {}, "Nothing can be drawn."), ` ${Text.count(status.n_done, "trial")} ${status.n_done === 1 ? "is" : "are"} done, but their table ${(problems || []).length ? "cannot be read" : "is not written yet"}.`), el("p", { class: "muted" }, "It is made anew from the results by the command export below."));
    return el("div", { class: "card empty" }, el("p", {}, el("strong", {}, "No trial is done yet.")), el("p", { class: "muted" }, status.state === "running" ? "The first points appear here as soon as trials end; the page looks every three seconds." : status.state_text));
  }

  function enlarged(id, query, nPlaces) {
    if (nPlaces < 2) return null;
    return (place) => {
      const wanted = new URLSearchParams(query);
      wanted.set("layer", String(place.layer));
      wanted.delete("pair");
      return State.link("frontier", [id], wanted);
    };
  }

  const targets = (query) => Object.fromEntries([...query].filter(([name]) => name.startsWith("at_")).map(([name, value]) => [name.slice(3), Number(value)]));

  function plot(root, sweeps, options, signature) {
    const box = Dom.part(root, "plot", "plot", () => [el("h2", { class: "unseen" }, "Frontiers by layer"), el("p", { class: "key" }), el("div", { class: "panels" }), el("div", { class: "plot-notes" })]);
    const [, key, panels, told] = box.children;
    const losses = [...new Set(sweeps[0].rows.map((row) => row.loss))].sort(Looks.byLoss);
    key.replaceChildren(...losses.map((loss) => el("span", {}, Looks.mark(loss), Looks.loss(loss).label)));
    const open = (sweep, trial, event) => Shell.open(State.link("trial", [sweep, trial]), event);
    panels.redraw = () => Panels.draw(panels, sweeps, { ...options, targets: { ...options.targets, ...panels.moving }, open }).then((dropped) => explain(told, dropped, sweeps, options));
    Shell.onResize(panels, () => panels.redraw());
    if (panels.signature === JSON.stringify(signature)) return;
    panels.signature = JSON.stringify(signature);
    panels.moving = {};
    Shell.drawn(panels.redraw());
  }

  function explain(told, dropped, sweeps, options) {
    const total = new Map();
    for (const { metric, n } of dropped) total.set(metric.name, { metric, n });
    const sizes = [...new Set(sweeps[0].rows.map((row) => row.d_sae))].sort((a, b) => a - b);
    const lines = ["solid", "dashed", "dotted", "dash and dot"];
    const bands = sweeps.length === 1 && Panels.areBands(sweeps[0].detail, options);
    told.replaceChildren(...[
      ...[...total.values()].map(({ metric, n }) => el("p", { class: "note" }, `${Text.count(n, "trial")} with ${metric.label} of 0 or below cannot be on a logarithmic axis. `, el("button", { type: "button", class: "quiet", on: { click: () => State.change({ [`log_${metric.name}`]: metric.scale === "log" ? "0" : null }) } }, "Use a linear axis"))),
      bands ? el("p", { class: "muted" }, `Lines: what half of the ${Panels.seedsOf(sweeps[0].detail)} seeds attain. Bands: from a quarter of them to three quarters.`)
        : el("p", { class: "muted" }, "Steps: the frontier of the trials shown, of each loss and dictionary size. Faint: trials that another dominates."),
      sizes.length > 1 && el("p", { class: "muted" }, `Dictionary sizes: ${sizes.map((size, n) => `${Text.number(size)} ${n % 2 ? "hollow" : "filled"} and ${lines[n % 4]}`).join(", ")}.`),
    ].filter(Boolean),
    );
  }

  function matched(root, sweeps, pairs, query, version) {
    const boxes = Matched.matchable(pairs).filter(({ metric }, n) => n < 2 || query.has(`at_${metric.name}`)).map((one) => {
      const target = Filters.targetOf(query, one.metric.name) ?? Matched.usual(one, sweeps.map((sweep) => sweep.detail), sweeps.flatMap((sweep) => sweep.rows));
      return Matched.control(Dom.idOf("matched", one.metric.name), sweeps, one, target, {
        onTarget: (metric, value) => {
          const panels = root.querySelector(".panels");
          panels.moving = { ...panels.moving, [metric]: value };
          panels.redraw();
        },
        onSet: (metric, value) => State.change({ [`at_${metric}`]: Number(value.toPrecision(4)) }, { quiet: true }),
      });
    });
    return boxes.some(Boolean) && [el("h2", {}, "Matched comparison"), el("p", { class: "muted" }, "Grey rows: the nearest trial is more than 15 % away. A dash: outside of that front."), el("div", { class: "card matched" }, boxes.filter(Boolean).map((box) => el("div", { class: "matched-one" }, box)))];
  }

  function fronts(detail, query) {
    const lines = [...Filters.apply(detail.summary || [], query, { without: ["seed", "activation"] })];
    if (!lines.length) return null;
    const order = (detail.objectives || []).map((one) => one.label);
    lines.sort((a, b) => order.indexOf(a.front) - order.indexOf(b.front) || a.layer - b.layer || a.d_sae - b.d_sae || Looks.byLoss(a.loss, b.loss));
    const several = (name) => new Set(lines.map((line) => line[name])).size > 1;
    const interval = (low, high, show) => (Text.known(low) && Text.known(high) ? el("span", { class: "muted" }, ` (${show(low)} to ${show(high)})`) : null);
    const nameOf = (line) => (line.objectives || []).map((name) => Looks.metric(name, detail).label).join(" and ");
    const columns = [
      { key: "layer", label: "Layer", cell: (line) => (Text.known(line.layer) ? `Layer ${line.layer}` : line.hookpoint) }, { key: "loss", label: "Loss", cell: (line) => [Looks.mark(line.loss), " ", Looks.loss(line.loss).label] },
      ...(several("d_sae") ? [{ key: "d_sae", label: "d_sae", number: true, cell: (line) => Text.number(line.d_sae) }] : []),
      { key: "front", label: "Frontier in", cell: nameOf }, { key: "n_trials", label: "Trials", number: true, cell: (line) => Text.number(line.n_trials) }, { key: "n_front", label: "On it", number: true, cell: (line) => Text.number(line.n_front) },
      { key: "hypervolume", label: "Hypervolume", number: true, title: detail.reference ? `Share of the box to the reference point ${Object.entries(detail.reference).map(([name, value]) => `${name} ${Text.plain(value)}`).join(", ")}; in brackets 95 % over seeds` : "Needs frontier.reference in the sweep file", cell: (line) => [Text.number(line.hypervolume_mean ?? line.hypervolume), interval(line.hypervolume_low, line.hypervolume_high, (value) => Text.number(value))] },
      { key: "share_of_local", label: "Share of local's", number: true, title: "Second metric over local's: mean over 20 values of the first that all losses cover; in brackets 95 % over seeds", cell: (line) => (line.loss === "local" ? Text.NONE : [Text.percent(line.share_of_local), interval(line.share_low, line.share_high, (value) => Text.percent(value))]) },
      { key: "widest_gap", label: "Widest gap", number: true, title: "Largest ratio of neighbours along the first metric", cell: (line) => (Text.known(line.widest_gap) ? `× ${Text.number(line.widest_gap)}` : Text.NONE) },
    ];
    return [el("h2", {}, "Frontiers in numbers"), !detail.reference && el("p", { class: "note" }, "No hypervolume: the sweep file has no frontier.reference."), Tables.table("fronts-table", columns, lines, { caption: "Frontiers in numbers" })];
  }

  function trials(id, detail, rows, pairs, query, root) {
    const flags = pairs.map((pair) => `on_front_${pair.label}`);
    const only = query.has("front") && query.get("front") !== "0";
    const order = (a, b) => a.layer - b.layer || a.d_sae - b.d_sae || Looks.byLoss(a.loss, b.loss) || a.sparsity_coeff - b.sparsity_coeff || a.seed - b.seed;
    const shown = only ? rows.filter((row) => flags.some((flag) => row[flag])) : rows;
    const number = (key, label) => ({ key, label, number: true, title: (detail.columns[key] || {}).description, cell: (row) => Text.number(row[key]) });
    const several = (name) => new Set(rows.map((row) => row[name])).size > 1;
    const extra = [...new Set(pairs.flatMap((pair) => [pair.x.name, pair.y.name]))].filter((name) => !["l0", "ce_loss_increase", "n_alive_elements"].includes(name));
    const columns = [
      { key: "run_name", label: "Trial", cell: (row) => el("a", { href: State.link("trial", [id, row.trial_id]) }, row.run_name) }, { key: "layer", label: "Layer", number: true },
      { key: "loss", label: "Loss", cell: (row) => [Looks.mark(row.loss), " ", Looks.loss(row.loss).label] }, { key: "sparsity_coeff", label: "Coefficient", number: true }, ...(several("seed") ? [{ key: "seed", label: "Seed", number: true }] : []),
      ...(several("d_sae") ? [number("d_sae", "d_sae")] : []), number("l0", "L0"), number("ce_loss_increase", "CE loss increase"), number("n_alive_elements", "Alive"), number("explained_variance", "Expl. variance"), ...extra.map((name) => number(name, Looks.metric(name, detail).label)),
      { key: "front", label: "On front", value: (row) => flags.filter((flag) => row[flag]).length, cell: (row) => pairs.filter((pair) => row[`on_front_${pair.label}`]).map((pair) => pair.x.short).join(", ") || Text.NONE },
      { key: "finished_at", label: "Finished", cell: (row) => Text.time(row.finished_at) },
    ];
    const ring = query.get("trial");
    const sorted = [...shown].sort(order);
    return [
      el("h2", {}, "Trials ", el("span", { class: "muted small" }, `${shown.length.toLocaleString("en-US")}${shown.length < detail.rows.length ? ` of ${detail.rows.length.toLocaleString("en-US")}` : ""}, the numbers of the plots`)),
      Tables.table("trials-table", columns, sorted, { caption: "Trials", mark: (row) => (row.trial_id === ring ? "chosen" : null), hover: (row) => Panels.highlight(root.querySelector(".panels"), row && row.trial_id, ring) }),
    ];
  }

  function others(id, detail) {
    const left = (detail.trials || []).filter((one) => !["done", "removed", "waiting"].includes(one.state));
    if (!left.length) return null;
    const columns = [
      { key: "run_name", label: "Trial", cell: (one) => el("a", { href: State.link("trial", [id, one.trial_id]) }, one.run_name) }, { key: "state", label: "State", cell: (one) => el("span", { class: `pill ${one.state}` }, one.state) },
      { key: "layer", label: "Layer", number: true }, { key: "loss", label: "Loss", cell: (one) => Looks.loss(one.loss).label }, { key: "sparsity_coeff", label: "Coefficient", number: true }, { key: "seed", label: "Seed", number: true },
      { key: "step", label: "Step", number: true, cell: (one) => (Text.known(one.step) ? `${Text.number(one.step)} of ${Text.number(one.n_steps)}` : Text.NONE) }, { key: "error", label: "What happened", cell: (one) => one.error || Text.NONE },
    ];
    return [el("h2", {}, "Trials that are not in the plots"), Tables.table("others-table", columns, left, { caption: "Trials that are not in the plots" })];
  }

  function packs(detail) {
    const running = (detail.status.packs || []).filter((one) => one.state === "running");
    if (!running.length) return null;
    return [el("h2", {}, "Running now"), el("ul", { class: "packs" }, running.map((pack) => el("li", { class: "card" },
      el("strong", {}, `${(pack.layers || []).map((layer) => `layer ${layer}`).join(", ")} · ${(pack.losses || []).map((loss) => Looks.loss(loss).label).join(", ")}`),
      Shell.bar(pack.n_steps ? pack.step / pack.n_steps : 0, `Pack ${pack.pack_id}`), el("p", { class: "muted" }, `step ${Text.number(pack.step)} of ${Text.number(pack.n_steps)} · ${Text.number(pack.tokens_per_s)} tokens/s · ${Text.count(pack.n_trials || 0, "trial")}${pack.host ? ` · ${pack.host}` : ""}`))))];
  }

  function search(detail) {
    const found = detail.search;
    if (!found) return null;
    return [el("h2", {}, "Search"), el("div", { class: "card" }, el("p", {}, found.label),
      el("ol", {}, (found.rounds || []).map((one) => el("li", {}, `Round ${one.round}: ${Text.count(one.n_trials, "trial")}`, el("ul", {}, one.why.slice(0, 8).map((why) => el("li", { class: "muted" }, why)))))),
      el("ul", {}, (found.found || []).map((one) => el("li", {}, el("span", { class: one.reached ? "good" : "bad" }, one.reached ? "reached: " : "not reached: "), one.text))))];
  }

  function about(detail) {
    const commands = Object.entries(detail.commands || {}).filter(([, text]) => text);
    if (detail.mlflow && detail.mlflow.start) commands.push(["MLflow's pages", detail.mlflow.start]);
    const events = [...(detail.events || [])].reverse();
    return [
      el("h2", {}, "How it was run"),
      commands.length > 0 && el("div", { class: "card commands" }, commands.map(([name, text]) => el("div", { class: "command" }, el("span", { class: "muted" }, name), el("code", {}, text), Dom.copyButton(text)))),
      events.length > 0 && el("details", { class: "card", id: "events" }, el("summary", {}, `Events (${events.length})`), el("ol", { class: "events" }, events.map((one) => el("li", { class: one.level }, el("time", { datetime: one.time }, Text.time(one.time)), " ", one.message)))),
      detail.yaml && el("details", { class: "card", id: "sweep-file" }, el("summary", {}, "Sweep file"), el("pre", { tabindex: "0" }, detail.yaml)),
    ];
  }

  async function saveSVG(id) {
    Dom.download(`${id}.svg`, await Panels.toSVG(document.querySelector(".panels")), "image/svg+xml");
  }

  return { update, addresses: ({ ids }) => [Source.sweep(ids[0])] };
})();
