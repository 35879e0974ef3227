/* The tables of several sweeps: hypervolumes where they can be compared, and which settings differ. */
"use strict";

const CompareTables = (() => {
  const { el } = Dom;
  const LETTERS = "ABCDEFGH";

  /** Why hypervolumes cannot be compared; empty where they can. */
  function unlike(details) {
    const without = details.filter((detail) => !detail.reference || !Object.keys(detail.reference).length);
    if (without.length)
      return `${without.map((detail) => detail.name).join(" and ")} ${without.length === 1 ? "has" : "have"} no reference point (frontier.reference in the sweep file)`;
    const told = details.map((detail) =>
      Object.entries(detail.reference)
        .sort()
        .map(([name, value]) => `${name} ${Text.plain(value)}`)
        .join(", "),
    );
    if (new Set(told).size > 1)
      return `their reference points differ: ${details.map((detail, n) => `${detail.name} has ${told[n]}`).join("; ")}`;
    for (const [name, what] of [
      ["model_hash", "weights of the model"],
      ["eval_hash", "held-out text"],
    ]) {
      const hashes = details.map((detail) => [...new Set((detail.rows || []).map((row) => row[name]))].sort().join());
      if (new Set(hashes).size > 1) return `they were not measured on the same ${what}`;
    }
    return "";
  }

  function hypervolume(details, query) {
    if (details.length < 2) return null;
    const why = unlike(details);
    const title = el("h2", {}, "Hypervolume");
    if (why) return [title, el("p", { class: "note" }, el("strong", {}, "Not comparable: "), why, ".")];
    const lines = new Map();
    details.forEach((detail, n) => {
      for (const one of Filters.apply(detail.summary || [], query, { without: ["seed", "activation"] })) {
        const key = JSON.stringify([one.model, one.hookpoint, one.loss, one.d_sae, one.front]);
        if (!lines.has(key)) lines.set(key, { one, values: [] });
        lines.get(key).values[n] = one.hypervolume_mean ?? one.hypervolume;
      }
    });
    const order = (details[0].objectives || []).map((one) => one.label);
    const found = [...lines.values()].sort(
      ({ one: a }, { one: b }) =>
        order.indexOf(a.front) - order.indexOf(b.front) ||
        a.layer - b.layer ||
        a.d_sae - b.d_sae ||
        Looks.byLoss(a.loss, b.loss),
    );
    const several = (of) => new Set(found.map(of)).size > 1;
    const columns = [
      {
        key: "layer",
        label: "Layer",
        value: (line) => line.one.layer,
        cell: (line) => (Text.known(line.one.layer) ? `Layer ${line.one.layer}` : line.one.hookpoint),
      },
      {
        key: "loss",
        label: "Loss",
        value: (line) => line.one.loss,
        cell: (line) => [Looks.mark(line.one.loss), " ", Looks.loss(line.one.loss).label],
      },
      ...(several((line) => line.one.d_sae)
        ? [
            {
              key: "d_sae",
              label: "d_sae",
              number: true,
              value: (line) => line.one.d_sae,
              cell: (line) => Text.number(line.one.d_sae),
            },
          ]
        : []),
      {
        key: "front",
        label: "Frontier in",
        value: (line) => line.one.front,
        cell: (line) => (line.one.objectives || []).map((name) => Looks.metric(name, details[0]).label).join(" and "),
      },
      ...details.map((detail, n) => ({
        key: `hv${n}`,
        label: `${LETTERS[n]}: ${detail.name}`,
        number: true,
        value: (line) => line.values[n] ?? null,
        cell: (line) => Text.number(line.values[n]),
      })),
      ...details.slice(1).map((_, n) => ({
        key: `less${n}`,
        label: `${LETTERS[n + 1]} less A`,
        number: true,
        value: (line) => less(line, n + 1),
        cell: (line) => difference(less(line, n + 1)),
      })),
    ];
    return [
      title,
      el("p", { class: "muted" }, "Mean over seeds. More is better."),
      Tables.table("hypervolume-table", columns, found, { caption: "Hypervolumes" }),
    ];
  }

  const less = ({ values }, n) => (Text.known(values[n]) && Text.known(values[0]) ? values[n] - values[0] : null);

  function difference(value) {
    if (!Text.known(value)) return Text.NONE;
    return el(
      "span",
      { class: value > 0 ? "good" : value < 0 ? "bad" : "muted" },
      `${value > 0 ? "+" : ""}${Text.number(value)}`,
    );
  }

  function flat(value, path = "", found = new Map()) {
    if (value && typeof value === "object" && !Array.isArray(value))
      for (const [name, inner] of Object.entries(value)) flat(inner, path ? `${path}.${name}` : name, found);
    else found.set(path, JSON.stringify(value));
    return found;
  }

  function settings(details) {
    if (details.length < 2) return null;
    const trees = details.map((detail) => flat(detail.settings || {}));
    const paths = [...new Set(trees.flatMap((tree) => [...tree.keys()]))].filter(
      (path) => new Set(trees.map((tree) => tree.get(path))).size > 1,
    );
    const columns = [
      { key: "path", label: "Setting", cell: (path) => el("code", {}, path), value: (path) => path },
      ...details.map((detail, n) => ({
        key: `s${n}`,
        label: `${LETTERS[n]}: ${detail.name}`,
        value: (path) => trees[n].get(path),
        cell: (path) => trees[n].get(path) ?? el("span", { class: "muted" }, "not set"),
      })),
    ];
    return [
      el("h2", {}, "What differs in their settings"),
      Tables.table("settings-table", columns, paths, {
        caption: "Settings that differ",
        empty: "Nothing: their sweep files say the same.",
      }),
    ];
  }

  return { hypervolume, settings };
})();
