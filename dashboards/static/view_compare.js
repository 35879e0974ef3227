/* Several sweeps on top of each other: fronts, hypervolumes where they can be compared, matched values, settings. */
"use strict";

const CompareView = (() => {
  const { el } = Dom;
  const LETTERS = "abcdefgh";

  const link = (ids) =>
    State.link("compare", [], Object.fromEntries(ids.slice(0, LETTERS.length).map((id, n) => [LETTERS[n], id])));
  const chosen = (query) => [...new Set([...LETTERS].map((letter) => query.get(letter)).filter(Boolean))];

  function update(root, { query }) {
    const ids = chosen(query);
    const list = Source.get(Source.sweeps());
    const answers = ids.map((id) => ({ id, ...Source.get(Source.sweep(id)) }));
    Dom.part(root, "head", [ids, (list.data || {}).sweeps?.map((one) => [one.id, one.name, one.n_rows])], () =>
      head(ids, (list.data || {}).sweeps || []),
    );
    Dom.part(
      root,
      "problems",
      answers.map((one) => one.problem),
      () =>
        answers.filter((one) => one.problem).map((one) => el("p", { class: "problem" }, `${one.id}: ${one.problem}`)),
    );
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
    const sweeps = details.map(({ id, data }) => ({
      id,
      detail: data,
      rows: Filters.apply(data.rows || [], query),
      isFiltered: Filters.splitsFronts(query),
    }));
    const nPlaces = Panels.places(sweeps.flatMap((sweep) => sweep.rows)).length;
    const { pairs: shown } = Filters.pairsShown(pairs, query, nPlaces);
    Dom.part(
      root,
      "tools",
      [version, query.toString()],
      () => all.length > 0 && pairs.length > 0 && Filters.toolbar(all, query, { pairs, nPlaces, canBand: false }),
    );
    plot(root, sweeps, { ...Filters.optionsOf(query), bands: false, pairs: shown }, [version, query.toString()]);
    Dom.part(root, "hypervolume", [version, query.toString()], () =>
      CompareTables.hypervolume(
        details.map((one) => one.data),
        query,
      ),
    );
    Dom.part(root, "matched", [version, [...query].filter(([name]) => !name.startsWith("at_")).map(String)], () =>
      matched(sweeps, pairs, query),
    );
    Dom.part(root, "settings", version, () => CompareTables.settings(details.map((one) => one.data)));
  }

  /** The pairs of objectives that all of them have. */
  function shared(lists) {
    const same = (a, b) => a.x.name === b.x.name && a.y.name === b.y.name;
    return (lists[0] || []).filter((pair) =>
      lists.every((list) => !list.length || list.some((one) => same(one, pair))),
    );
  }

  function head(ids, sweeps) {
    const change = (id, isOn) => State.go(link(isOn ? [...ids, id] : ids.filter((one) => one !== id)));
    return [
      el("h1", {}, "Compare sweeps"),
      el(
        "fieldset",
        { class: "chips card pickers" },
        el("legend", {}, "Sweeps, the first one solid"),
        el(
          "div",
          {},
          sweeps.map((one) =>
            el(
              "label",
              { class: "chip" },
              el("input", {
                type: "checkbox",
                id: Dom.idOf("compare", one.id),
                checked: ids.includes(one.id),
                disabled: !one.n_rows && !ids.includes(one.id),
                on: { change: (event) => change(one.id, event.target.checked) },
              }),
              el(
                "span",
                {},
                ids.includes(one.id) && el("b", {}, LETTERS[ids.indexOf(one.id)].toUpperCase(), " "),
                one.name,
              ),
            ),
          ),
        ),
      ),
      ids.length < 2 && el("p", { class: "note" }, "Mark two or more."),
    ];
  }

  function plot(root, sweeps, options, signature) {
    const box = Dom.part(root, "plot", "plot", () => [
      el("h2", { class: "unseen" }, "Frontiers by layer"),
      el("p", { class: "key" }),
      el("div", { class: "panels" }),
    ]);
    const [, key, panels] = box.children;
    key.replaceChildren(
      ...sweeps.map(({ detail }, n) =>
        el(
          "span",
          {},
          ["e2e", "local"].map((loss) => Looks.mark(loss, { hollow: n > 0 })),
          ` ${LETTERS[n].toUpperCase()}: ${detail.name} `,
          el("span", { class: "muted" }, n === 0 ? "(solid)" : n % 3 === 1 ? "(hollow, dashed)" : "(hollow, dotted)"),
        ),
      ),
    );
    const open = (sweep, trial, event) => Shell.open(State.link("trial", [sweep, trial]), event);
    const draw = () => Panels.draw(panels, sweeps, { ...options, open });
    panels.redraw = draw;
    Shell.onResize(panels, () => panels.redraw());
    if (panels.signature === JSON.stringify(signature)) return;
    panels.signature = JSON.stringify(signature);
    Shell.drawn(draw());
  }

  function matched(sweeps, pairs, query) {
    const boxes = Matched.matchable(pairs)
      .slice(0, 2)
      .map((one) => {
        const target =
          Filters.targetOf(query, one.metric.name) ??
          Matched.usual(
            one,
            sweeps.map((sweep) => sweep.detail),
            sweeps.flatMap((sweep) => sweep.rows),
          );
        return Matched.control(Dom.idOf("compared", one.metric.name), sweeps, one, target, {
          onTarget: () => {},
          onSet: (metric, value) => State.change({ [`at_${metric}`]: Number(value.toPrecision(4)) }, { quiet: true }),
        });
      });
    return (
      boxes.some(Boolean) && [
        el("h2", {}, "Matched comparison"),
        el(
          "div",
          { class: "card matched" },
          boxes.filter(Boolean).map((box) => el("div", { class: "matched-one" }, box)),
        ),
      ]
    );
  }

  const addresses = ({ query }) => [Source.sweeps(), ...chosen(query).map((id) => Source.sweep(id))];

  return { update, addresses, link };
})();
