/* Several sweeps on top of each other: fronts, hypervolumes where they can be compared, matched values, settings. */
"use strict";

const CompareView = (() => {
  const { el } = Dom;
  const LETTERS = "abcdefgh";

  const link = (ids) => State.link("compare", [], Object.fromEntries(ids.slice(0, LETTERS.length).map((id, n) => [LETTERS[n], id])));
  const chosen = (query) => [...new Set([...LETTERS].map((letter) => query.get(letter)).filter(Boolean))];

  function update(root, { query }) {
    const ids = chosen(query);
    const list = Source.get(Source.sweeps());
    const answers = ids.map((id) => ({ id, ...Source.get(Source.sweep(id)) }));
    Dom.part(root, "head", [ids, (list.data || {}).sweeps?.map((one) => [one.id, one.name, one.n_rows])], () => head(ids, (list.data || {}).sweeps || []));
    Dom.part(root, "problems", answers.map((one) => one.problem), () => answers.filter((one) => one.problem).map((one) => el("p", { class: "problem" }, `${one.id}: ${one.problem}`)));
    const details = answers.filter((one) => one.data);
    Shell.status(...details.map((one) => one.data));
    const names = ["tools", "plot", "hypervolume", "matched", "settings"];
    const isWaiting = answers.some((one) => !one.data && !one.problem);
    if (!details.length || isWaiting) {
      for (const name of names) Dom.part(root, name, isWaiting, () => name === "plot" && isWaiting && Shell.waiting());
      return;
    }
    const pairs = shared(details.map((one) => Fronts.pairs(one.data)));
    const version = details.map(({ id, data }) => [id, data.content_sha256, data.n_rows]).concat(Looks.isDark());
    const all = details.flatMap(({ data }) => data.rows || []);
    const sweeps = details.map(({ id, data }) => ({ id, detail: data, rows: Filters.apply(data.rows || [], query), isFiltered: Filters.splitsFronts(query) }));
    const nPlaces = Panels.places(sweeps.flatMap((sweep) => sweep.rows)).length;
    const { pairs: shown } = Filters.pairsShown(pairs, query, nPlaces);
    Dom.part(root, "tools", [version, query.toString()], () => all.length > 0 && pairs.length > 0 && Filters.toolbar(all, query, { pairs, nPlaces, canBand: false }));
    plot(root, sweeps, { ...Filters.optionsOf(query), bands: false, pairs: shown }, [version, query.toString()]);
    Dom.part(root, "hypervolume", [version, query.toString()], () => hypervolume(details.map((one) => one.data), query));
    Dom.part(root, "matched", [version, [...query].filter(([name]) => !name.startsWith("at_")).map(String)], () => matched(sweeps, pairs, query));
    Dom.part(root, "settings", version, () => settings(details.map((one) => one.data)));
  }

  /** The pairs of objectives that all of them have. */
  function shared(lists) {
    const same = (a, b) => a.x.name === b.x.name && a.y.name === b.y.name;
    return (lists[0] || []).filter((pair) => lists.every((list) => !list.length || list.some((one) => same(one, pair))));
  }

  function head(ids, sweeps) {
    const change = (id, isOn) => (location.hash = link(isOn ? [...ids, id] : ids.filter((one) => one !== id)));
    return [
      el("h1", {}, "Compare sweeps"),
      el("fieldset", { class: "chips card pickers" }, el("legend", {}, "Sweeps, the first one solid"), el("div", {},
        sweeps.map((one) => el("label", { class: "chip" }, el("input", { type: "checkbox", id: Dom.idOf("compare", one.id), checked: ids.includes(one.id), disabled: !one.n_rows && !ids.includes(one.id), on: { change: (event) => change(one.id, event.target.checked) } }),
          el("span", {}, ids.includes(one.id) && el("b", {}, LETTERS[ids.indexOf(one.id)].toUpperCase(), " "), one.name))))),
      ids.length < 2 && el("p", { class: "note" }, "Mark two or more."),
    ];
  }

  function plot(root, sweeps, options, signature) {
    const box = Dom.part(root, "plot", "plot", () => [el("h2", { class: "unseen" }, "Frontiers by layer"), el("p", { class: "key" }), el("div", { class: "panels" })]);
    const [, key, panels] = box.children;
    key.replaceChildren(...sweeps.map(({ detail }, n) => el("span", {}, ["e2e", "local"].map((loss) => Looks.mark(loss, { hollow: n > 0 })), ` ${LETTERS[n].toUpperCase()}: ${detail.name} `, el("span", { class: "muted" }, n === 0 ? "(solid)" : n % 3 === 1 ? "(hollow, dashed)" : "(hollow, dotted)"))));
    const open = (sweep, trial, event) => Shell.open(State.link("trial", [sweep, trial]), event);
    const draw = () => Panels.draw(panels, sweeps, { ...options, open });
    panels.redraw = draw;
    Shell.onResize(panels, () => panels.redraw());
    if (panels.signature === JSON.stringify(signature)) return;
    panels.signature = JSON.stringify(signature);
    Shell.drawn(draw());
  }

  /** Why hypervolumes cannot be compared; empty where they can. */
  function unlike(details) {
    const without = details.filter((detail) => !detail.reference || !Object.keys(detail.reference).length);
    if (without.length) return `${without.map((detail) => detail.name).join(" and ")} ${without.length === 1 ? "has" : "have"} no reference point (frontier.reference in the sweep file)`;
    const told = details.map((detail) => Object.entries(detail.reference).sort().map(([name, value]) => `${name} ${Text.plain(value)}`).join(", "));
    if (new Set(told).size > 1) return `their reference points differ: ${details.map((detail, n) => `${detail.name} has ${told[n]}`).join("; ")}`;
    for (const [name, what] of [["model_hash", "weights of the model"], ["eval_hash", "held-out text"]]) {
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
    const found = [...lines.values()].sort(({ one: a }, { one: b }) => order.indexOf(a.front) - order.indexOf(b.front) || a.layer - b.layer || a.d_sae - b.d_sae || Looks.byLoss(a.loss, b.loss));
    const several = (of) => new Set(found.map(of)).size > 1;
    const columns = [
      { key: "layer", label: "Layer", value: (line) => line.one.layer, cell: (line) => (Text.known(line.one.layer) ? `Layer ${line.one.layer}` : line.one.hookpoint) },
      { key: "loss", label: "Loss", value: (line) => line.one.loss, cell: (line) => [Looks.mark(line.one.loss), " ", Looks.loss(line.one.loss).label] },
      ...(several((line) => line.one.d_sae) ? [{ key: "d_sae", label: "d_sae", number: true, value: (line) => line.one.d_sae, cell: (line) => Text.number(line.one.d_sae) }] : []),
      { key: "front", label: "Frontier in", value: (line) => line.one.front, cell: (line) => (line.one.objectives || []).map((name) => Looks.metric(name, details[0]).label).join(" and ") },
      ...details.map((detail, n) => ({ key: `hv${n}`, label: `${LETTERS[n].toUpperCase()}: ${detail.name}`, number: true, value: (line) => line.values[n] ?? null, cell: (line) => Text.number(line.values[n]) })),
      ...details.slice(1).map((_, n) => ({ key: `less${n}`, label: `${LETTERS[n + 1].toUpperCase()} less A`, number: true, value: (line) => less(line, n + 1), cell: (line) => difference(less(line, n + 1)) })),
    ];
    return [title, el("p", { class: "muted" }, "Mean over seeds. More is better."), Tables.table("hypervolume-table", columns, found, { caption: "Hypervolumes" })];
  }

  const less = ({ values }, n) => (Text.known(values[n]) && Text.known(values[0]) ? values[n] - values[0] : null);

  function difference(value) {
    if (!Text.known(value)) return Text.NONE;
    return el("span", { class: value > 0 ? "good" : value < 0 ? "bad" : "muted" }, `${value > 0 ? "+" : ""}${Text.number(value)}`);
  }

  function matched(sweeps, pairs, query) {
    const boxes = Matched.matchable(pairs).slice(0, 2).map((one) => {
      const target = Filters.targetOf(query, one.metric.name) ?? Matched.usual(one, sweeps.map((sweep) => sweep.detail), sweeps.flatMap((sweep) => sweep.rows));
      return Matched.control(Dom.idOf("compared", one.metric.name), sweeps, one, target, { onTarget: () => {}, onSet: (metric, value) => State.change({ [`at_${metric}`]: Number(value.toPrecision(4)) }, { quiet: true }) });
    });
    return boxes.some(Boolean) && [el("h2", {}, "Matched comparison"), el("div", { class: "card matched" }, boxes.filter(Boolean).map((box) => el("div", { class: "matched-one" }, box)))];
  }

  function flat(value, path = "", found = new Map()) {
    if (value && typeof value === "object" && !Array.isArray(value)) for (const [name, inner] of Object.entries(value)) flat(inner, path ? `${path}.${name}` : name, found);
    else found.set(path, JSON.stringify(value));
    return found;
  }

  function settings(details) {
    if (details.length < 2) return null;
    const trees = details.map((detail) => flat(detail.settings || {}));
    const paths = [...new Set(trees.flatMap((tree) => [...tree.keys()]))].filter((path) => new Set(trees.map((tree) => tree.get(path))).size > 1);
    const columns = [{ key: "path", label: "Setting", cell: (path) => el("code", {}, path), value: (path) => path }, ...details.map((detail, n) => ({ key: `s${n}`, label: `${LETTERS[n].toUpperCase()}: ${detail.name}`, value: (path) => trees[n].get(path), cell: (path) => trees[n].get(path) ?? el("span", { class: "muted" }, "not set") }))];
    return [el("h2", {}, "What differs in their settings"), Tables.table("settings-table", columns, paths, { caption: "Settings that differ", empty: "Nothing: their sweep files say the same." })];
  }

  const addresses = ({ query }) => [Source.sweeps(), ...chosen(query).map((id) => Source.sweep(id))];

  return { update, addresses, link };
})();
