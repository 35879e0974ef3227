/* One trial: what it measures, its curves, how often its elements fire, the error downstream, and what they fire on. */
"use strict";

const TrialView = (() => {
  const { el } = Dom;

  function update(root, { ids, query }) {
    const [id, trial_id] = ids;
    const { data: trial, problem } = Source.get(Source.trial(id, trial_id));
    if (!trial) return Dom.part(root, "head", problem || "", () => Shell.waiting(problem));
    const sweep = Source.get(Source.sweep(id)).data || null;
    Shell.status(sweep);
    const dark = Looks.isDark();
    const by = query.get("by") === "tokens" ? "tokens" : "steps";
    const log = query.get("log") === "1";
    Dom.part(
      root,
      "head",
      [
        trial.run_name,
        trial.status,
        trial.row,
        trial.metrics,
        trial.problems,
        trial.mlflow_url,
        sweep && sweep.name,
        problem,
      ],
      () => head(id, trial, sweep, problem),
    );
    const drawn = [];
    Dom.part(root, "curves", [trial.curves, by, log, dark], () => TrialPlots.curves(trial, by, log, drawn));
    Dom.part(root, "spread", [trial.density, trial.downstream, dark], () => TrialPlots.spread(trial, drawn));
    Dom.part(root, "elements", [trial.elements, dark], () => TrialElements.elements(trial));
    Dom.part(root, "config", [trial.config, trial.command, trial.facts, trial.versions, trial.cost], () =>
      config(trial),
    );
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
    const stderr = Text.known(row.ce_loss_increase_stderr)
      ? `± ${Text.number(row.ce_loss_increase_stderr, 2)} nats per token`
      : "nats per token";
    const tiles = [
      ["L0", row.l0, "elements per token"],
      ["CE loss increase", row.ce_loss_increase, stderr],
      ["Alive elements", row.n_alive_elements, Text.known(row.d_sae) ? `of ${Text.number(row.d_sae)}` : ""],
      ["Explained variance", row.explained_variance, ""],
      ["KL with the SAE", row.kl_div_with_sae, "nats per token"],
      ["MSE", row.mse, ""],
    ].filter(([, value]) => Text.known(value));
    return [
      el("p", { class: "crumbs" }, el("a", { href: back }, "← ", sweep ? sweep.name : id)),
      el(
        "div",
        { class: "title-row" },
        el("h1", {}, trial.run_name),
        Shell.pill({ state: trial.status }),
        trial.mlflow_url && el("a", { class: "end", href: trial.mlflow_url }, "Open in MLflow"),
      ),
      el(
        "p",
        { class: "muted" },
        [
          [Looks.mark(loss), " ", Looks.loss(loss).label],
          config.hookpoint,
          config.loss && `sparsity_coeff ${Text.plain(config.loss.sparsity_coeff)}`,
          `seed ${Text.plain(config.seed)}`,
          fronts(trial.row, sweep),
        ]
          .filter(Boolean)
          .map((one, n) => [n > 0 && " · ", one]),
      ),
      problem && el("p", { class: "problem" }, problem),
      trial.error && el("p", { class: "problem" }, trial.error),
      (trial.problems || []).map((text) => el("p", { class: "problem" }, text)),
      tiles.length > 0 &&
        el(
          "dl",
          { class: "tiles" },
          tiles.map(([name, value, unit]) =>
            el(
              "div",
              { class: "card" },
              el("dt", {}, name),
              el("dd", {}, el("strong", {}, Text.number(value)), " ", el("span", { class: "muted" }, unit)),
            ),
          ),
        ),
    ];
  }

  function fronts(row, sweep) {
    if (!row || !sweep) return null;
    const on = Fronts.pairs(sweep)
      .filter((pair) => row[pair.flag])
      .map((pair) => pair.x.short);
    return on.length ? `on its front in ${on.join(" and ")}` : "dominated";
  }

  function config(trial) {
    const lists = [
      ["Facts", trial.facts],
      ["Cost", trial.cost],
      ["Versions", trial.versions],
    ].filter(([, values]) => values && Object.keys(values).length);
    return [
      el("h2", {}, "How it was made"),
      trial.command &&
        el(
          "div",
          { class: "card commands" },
          el(
            "div",
            { class: "command" },
            el("span", { class: "muted" }, "Train it alone again"),
            el("code", {}, trial.command),
            Dom.copyButton(trial.command),
          ),
        ),
      el(
        "details",
        { class: "card", id: "config" },
        el("summary", {}, "Configuration"),
        el("pre", { tabindex: "0" }, JSON.stringify(trial.config, null, 2)),
      ),
      lists.map(([name, values]) =>
        el(
          "details",
          { class: "card", id: Dom.idOf("facts", name) },
          el("summary", {}, name),
          el(
            "dl",
            { class: "pairs" },
            Object.entries(values).map(([key, value]) => [
              el("dt", {}, key),
              el("dd", {}, typeof value === "number" ? Text.plain(value) : String(value ?? Text.NONE)),
            ]),
          ),
        ),
      ),
    ];
  }

  return { update, addresses: ({ ids }) => [Source.trial(ids[0], ids[1]), Source.sweep(ids[0])] };
})();
