/* The tables of one sweep: its frontiers in numbers, its trials, and those that are in no plot. */
"use strict";

const FrontierTables = (() => {
  const { el } = Dom;

  function fronts(detail, query) {
    const lines = [...Filters.apply(detail.summary || [], query, { without: ["seed", "activation"] })];
    if (!lines.length) return null;
    const order = (detail.objectives || []).map((one) => one.label);
    lines.sort(
      (a, b) =>
        order.indexOf(a.front) - order.indexOf(b.front) ||
        a.layer - b.layer ||
        a.d_sae - b.d_sae ||
        Looks.byLoss(a.loss, b.loss),
    );
    const several = (name) => new Set(lines.map((line) => line[name])).size > 1;
    const interval = (low, high, show) =>
      Text.known(low) && Text.known(high) ? el("span", { class: "muted" }, ` (${show(low)} to ${show(high)})`) : null;
    const nameOf = (line) => (line.objectives || []).map((name) => Looks.metric(name, detail).label).join(" and ");
    const columns = [
      {
        key: "layer",
        label: "Layer",
        cell: (line) => (Text.known(line.layer) ? `Layer ${line.layer}` : line.hookpoint),
      },
      { key: "loss", label: "Loss", cell: (line) => [Looks.mark(line.loss), " ", Looks.loss(line.loss).label] },
      ...(several("d_sae")
        ? [{ key: "d_sae", label: "d_sae", number: true, cell: (line) => Text.number(line.d_sae) }]
        : []),
      { key: "front", label: "Frontier in", cell: nameOf },
      { key: "n_trials", label: "Trials", number: true, cell: (line) => Text.number(line.n_trials) },
      { key: "n_front", label: "On it", number: true, cell: (line) => Text.number(line.n_front) },
      {
        key: "hypervolume",
        label: "Hypervolume",
        number: true,
        title: detail.reference
          ? `Share of the box to the reference point ${Object.entries(detail.reference)
              .map(([name, value]) => `${name} ${Text.plain(value)}`)
              .join(", ")}; in brackets 95 % over seeds`
          : "Needs frontier.reference in the sweep file",
        cell: (line) => [
          Text.number(line.hypervolume_mean ?? line.hypervolume),
          interval(line.hypervolume_low, line.hypervolume_high, (value) => Text.number(value)),
        ],
      },
      {
        key: "share_of_local",
        label: "Share of local's",
        number: true,
        title:
          "Second metric over local's: mean over 20 values of the first that all losses cover; in brackets 95 % over seeds",
        cell: (line) =>
          line.loss === "local"
            ? Text.NONE
            : [
                Text.percent(line.share_of_local),
                interval(line.share_low, line.share_high, (value) => Text.percent(value)),
              ],
      },
      {
        key: "widest_gap",
        label: "Widest gap",
        number: true,
        title: "Largest ratio of neighbours along the first metric",
        cell: (line) => (Text.known(line.widest_gap) ? `× ${Text.number(line.widest_gap)}` : Text.NONE),
      },
    ];
    return [
      el("h2", {}, "Frontiers in numbers"),
      !detail.reference && el("p", { class: "note" }, "No hypervolume: the sweep file has no frontier.reference."),
      Tables.table("fronts-table", columns, lines, { caption: "Frontiers in numbers" }),
    ];
  }

  function trials(id, detail, rows, pairs, query, root) {
    const flags = [...new Set(pairs.map((pair) => pair.flag))];
    const only = query.has("front") && query.get("front") !== "0";
    const order = (a, b) =>
      a.layer - b.layer ||
      a.d_sae - b.d_sae ||
      Looks.byLoss(a.loss, b.loss) ||
      a.sparsity_coeff - b.sparsity_coeff ||
      a.seed - b.seed;
    const shown = only ? rows.filter((row) => flags.some((flag) => row[flag])) : rows;
    const number = (key, label) => ({
      key,
      label,
      number: true,
      title: (detail.columns[key] || {}).description,
      cell: (row) => Text.number(row[key]),
    });
    const several = (name) => new Set(rows.map((row) => row[name])).size > 1;
    const extra = [...new Set(pairs.flatMap((pair) => [pair.x.name, pair.y.name]))].filter(
      (name) => !["l0", "ce_loss_increase", "n_alive_elements"].includes(name),
    );
    const columns = [
      {
        key: "run_name",
        label: "Trial",
        cell: (row) => el("a", { href: State.link("trial", [id, row.trial_id]) }, row.run_name),
      },
      { key: "layer", label: "Layer", number: true },
      { key: "loss", label: "Loss", cell: (row) => [Looks.mark(row.loss), " ", Looks.loss(row.loss).label] },
      { key: "sparsity_coeff", label: "Coefficient", number: true },
      ...(several("seed") ? [{ key: "seed", label: "Seed", number: true }] : []),
      ...(several("d_sae") ? [number("d_sae", "d_sae")] : []),
      number("l0", "L0"),
      number("ce_loss_increase", "CE loss increase"),
      number("n_alive_elements", "Alive"),
      number("explained_variance", "Expl. variance"),
      ...extra.map((name) => number(name, Looks.metric(name, detail).label)),
      {
        key: "front",
        label: "On front",
        value: (row) => flags.filter((flag) => row[flag]).length,
        cell: (row) =>
          pairs
            .filter((pair) => row[pair.flag])
            .map((pair) => pair.x.short)
            .join(", ") || Text.NONE,
      },
      { key: "finished_at", label: "Finished", cell: (row) => Text.time(row.finished_at) },
    ];
    const ring = query.get("trial");
    const sorted = [...shown].sort(order);
    return [
      el(
        "h2",
        {},
        "Trials ",
        el(
          "span",
          { class: "muted small" },
          `${shown.length.toLocaleString("en-US")}${shown.length < detail.rows.length ? ` of ${detail.rows.length.toLocaleString("en-US")}` : ""}, the numbers of the plots`,
        ),
      ),
      Tables.table("trials-table", columns, sorted, {
        caption: "Trials",
        mark: (row) => (row.trial_id === ring ? "chosen" : null),
        hover: (row) => Panels.highlight(root.querySelector(".panels"), row && row.trial_id, ring),
      }),
    ];
  }

  function others(id, detail) {
    const left = (detail.trials || []).filter((one) => !["done", "removed", "waiting"].includes(one.state));
    if (!left.length) return null;
    const columns = [
      {
        key: "run_name",
        label: "Trial",
        cell: (one) => el("a", { href: State.link("trial", [id, one.trial_id]) }, one.run_name),
      },
      { key: "state", label: "State", cell: (one) => el("span", { class: `pill ${one.state}` }, one.state) },
      { key: "layer", label: "Layer", number: true },
      { key: "loss", label: "Loss", cell: (one) => Looks.loss(one.loss).label },
      { key: "sparsity_coeff", label: "Coefficient", number: true },
      { key: "seed", label: "Seed", number: true },
      {
        key: "step",
        label: "Step",
        number: true,
        cell: (one) => (Text.known(one.step) ? `${Text.number(one.step)} of ${Text.number(one.n_steps)}` : Text.NONE),
      },
      { key: "error", label: "What happened", cell: (one) => one.error || Text.NONE },
    ];
    return [
      el("h2", {}, "Trials that are not in the plots"),
      Tables.table("others-table", columns, left, { caption: "Trials that are not in the plots" }),
    ];
  }

  return { fronts, trials, others };
})();
