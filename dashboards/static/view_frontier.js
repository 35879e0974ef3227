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
    Dom.part(root, "head", [detail.name, detail.status, detail.mlflow, detail.downloads, problem], () =>
      head(id, detail, problem),
    );
    Dom.part(root, "notes", [detail.problems, detail.warnings], () => FrontierAbout.notes(detail));
    if (!(detail.rows || []).length) {
      for (const name of ["tools", "plot"])
        Dom.part(root, name, name === "plot" ? detail.status : "", () => (name === "plot" ? nothingYet(detail) : null));
      Dom.part(root, "packs", detail.status.packs, () => FrontierAbout.packs(detail));
      for (const name of ["matched", "fronts", "trials"]) Dom.part(root, name, "", () => null);
    } else {
      const nPlaces = Panels.places(rows).length;
      const { pairs: shown } = Filters.pairsShown(pairs, query, nPlaces);
      const sweeps = [{ id, detail, rows, isFiltered: Filters.splitsFronts(query) }];
      Dom.part(root, "tools", [version, query.toString(), nPlaces], () =>
        Filters.toolbar(detail.rows, query, {
          pairs,
          nPlaces,
          canBand: Panels.seedsOf(detail) >= 3 && (detail.surfaces || []).length > 0,
        }),
      );
      plot(
        root,
        sweeps,
        { ...Filters.optionsOf(query), pairs: shown, enlarge: enlarged(id, query, nPlaces), targets: targets(query) },
        [version, query.toString()],
      );
      Dom.part(root, "packs", detail.status.packs, () => FrontierAbout.packs(detail));
      Dom.part(root, "matched", [version, asked], () => matched(root, sweeps, pairs, query));
      Dom.part(root, "fronts", [version, asked], () => FrontierTables.fronts(detail, query));
      Dom.part(root, "trials", [version, query.toString()], () =>
        FrontierTables.trials(id, detail, rows, pairs, query, root),
      );
    }
    Dom.part(root, "others", detail.trials, () => FrontierTables.others(id, detail));
    Dom.part(root, "search", detail.search, () => FrontierAbout.search(detail));
    return Dom.part(root, "about", [detail.events, detail.commands, detail.yaml, detail.mlflow], () =>
      FrontierAbout.about(detail),
    );
  }

  function head(id, detail, problem) {
    const { status, downloads = [] } = detail;
    return [
      el(
        "div",
        { class: "title-row" },
        el("h1", {}, detail.name),
        Shell.pill(status),
        el(
          "span",
          { class: "end" },
          Dom.copyButton(() => location.href, "Copy link"),
        ),
      ),
      problem && el("p", { class: "problem" }, problem),
      el(
        "div",
        { class: "standing" },
        Shell.progress(status),
        el(
          "p",
          {},
          Shell.counts(status),
          Text.known(status.eta_s) && [" · ETA ", el("strong", {}, Shell.eta(status))],
          status.started_at && ` · started ${Text.time(status.started_at)}`,
        ),
      ),
      el(
        "p",
        { class: "links" },
        downloads.length > 0 &&
          el(
            "details",
            { class: "menu", id: "downloads" },
            el("summary", {}, "Downloads"),
            el(
              "ul",
              { class: "card" },
              downloads.map((one) =>
                el(
                  "li",
                  {},
                  el("a", { href: one.href.replace(/^\//, ""), download: true }, one.label),
                  Text.known(one.bytes) && el("span", { class: "muted" }, ` ${Text.bytes(one.bytes)}`),
                ),
              ),
            ),
          ),
        (detail.rows || []).length > 0 &&
          el("button", { type: "button", class: "quiet", on: { click: () => saveSVG(id) } }, "These plots as SVG"),
        el("a", { href: CompareView.link([id]) }, "Compare with others"),
        detail.mlflow &&
          detail.mlflow.frontier_url &&
          el("a", { href: detail.mlflow.frontier_url }, "MLflow: frontier"),
        detail.mlflow && detail.mlflow.run_url && el("a", { href: detail.mlflow.run_url }, "MLflow: run"),
      ),
    ];
  }

  function nothingYet({ status, problems }) {
    if (status.n_done)
      return el(
        "div",
        { class: "card empty" },
        el(
          "p",
          {},
          el("strong", {}, "Nothing can be drawn."),
          ` ${Text.count(status.n_done, "trial")} ${status.n_done === 1 ? "is" : "are"} done, but their table ${(problems || []).length ? "cannot be read" : "is not written yet"}.`,
        ),
        el("p", { class: "muted" }, "It is made anew from the results by the command export below."),
      );
    return el(
      "div",
      { class: "card empty" },
      el("p", {}, el("strong", {}, "No trial is done yet.")),
      el(
        "p",
        { class: "muted" },
        status.state === "running"
          ? "The first points appear here as soon as trials end; the page looks every three seconds."
          : status.state_text,
      ),
    );
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

  const targets = (query) =>
    Object.fromEntries(
      [...query].filter(([name]) => name.startsWith("at_")).map(([name, value]) => [name.slice(3), Number(value)]),
    );

  function plot(root, sweeps, options, signature) {
    const box = Dom.part(root, "plot", "plot", () => [
      el("h2", { class: "unseen" }, "Frontiers by layer"),
      el("p", { class: "key" }),
      el("div", { class: "panels" }),
      el("div", { class: "plot-notes" }),
    ]);
    const [, key, panels, told] = box.children;
    const losses = [...new Set(sweeps[0].rows.map((row) => row.loss))].sort(Looks.byLoss);
    key.replaceChildren(...losses.map((loss) => el("span", {}, Looks.mark(loss), Looks.loss(loss).label)));
    const open = (sweep, trial, event) => Shell.open(State.link("trial", [sweep, trial]), event);
    panels.redraw = () =>
      Panels.draw(panels, sweeps, { ...options, targets: { ...options.targets, ...panels.moving }, open }).then(
        (dropped) => explain(told, dropped, sweeps, options),
      );
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
    told.replaceChildren(
      ...[
        ...[...total.values()].map(({ metric, n }) =>
          el(
            "p",
            { class: "note" },
            `${Text.count(n, "trial")} with ${metric.label} of 0 or below cannot be on a logarithmic axis. `,
            el(
              "button",
              {
                type: "button",
                class: "quiet",
                on: { click: () => State.change({ [`log_${metric.name}`]: metric.scale === "log" ? "0" : null }) },
              },
              "Use a linear axis",
            ),
          ),
        ),
        bands
          ? el(
              "p",
              { class: "muted" },
              `Lines: what half of the ${Panels.seedsOf(sweeps[0].detail)} seeds attain. Bands: from a quarter of them to three quarters.`,
            )
          : el(
              "p",
              { class: "muted" },
              "Steps: the frontier of the trials shown, of each loss and dictionary size. Faint: trials that another dominates.",
            ),
        sizes.length > 1 &&
          el(
            "p",
            { class: "muted" },
            `Dictionary sizes: ${sizes.map((size, n) => `${Text.number(size)} ${n % 2 ? "hollow" : "filled"} and ${lines[n % 4]}`).join(", ")}.`,
          ),
      ].filter(Boolean),
    );
  }

  function matched(root, sweeps, pairs, query) {
    const boxes = Matched.matchable(pairs)
      .filter(({ metric }, n) => n < 2 || query.has(`at_${metric.name}`))
      .map((one) => {
        const target =
          Filters.targetOf(query, one.metric.name) ??
          Matched.usual(
            one,
            sweeps.map((sweep) => sweep.detail),
            sweeps.flatMap((sweep) => sweep.rows),
          );
        return Matched.control(Dom.idOf("matched", one.metric.name), sweeps, one, target, {
          onTarget: (metric, value) => {
            const panels = root.querySelector(".panels");
            panels.moving = { ...panels.moving, [metric]: value };
            panels.redraw();
          },
          onSet: (metric, value) => State.change({ [`at_${metric}`]: Number(value.toPrecision(4)) }, { quiet: true }),
        });
      });
    return (
      boxes.some(Boolean) && [
        el("h2", {}, "Matched comparison"),
        el(
          "p",
          { class: "muted" },
          "Grey rows: the nearest trial is more than 15 % away. A dash: outside of that front.",
        ),
        el(
          "div",
          { class: "card matched" },
          boxes.filter(Boolean).map((box) => el("div", { class: "matched-one" }, box)),
        ),
      ]
    );
  }

  async function saveSVG(id) {
    Dom.download(`${id}.svg`, await Panels.toSVG(document.querySelector(".panels")), "image/svg+xml");
  }

  return { update, addresses: ({ ids }) => [Source.sweep(ids[0])] };
})();
