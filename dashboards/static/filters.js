/* Which rows are shown and how the axes run: chips and switches whose state is in the address. */
"use strict";

const Filters = (() => {
  const { el } = Dom;
  const KINDS = [
    { name: "model", label: "Model" },
    { name: "layer", label: "Layer" },
    { name: "loss", label: "Loss" },
    { name: "seed", label: "Seed" },
    { name: "d_sae", label: "Dictionary size" },
    { name: "activation", label: "Activation" },
  ];

  function apply(rows, query, { without = [] } = {}) {
    const wanted = KINDS.filter((kind) => !without.includes(kind.name))
      .map(({ name }) => [name, State.chosen(query, name)])
      .filter(([, set]) => set);
    return wanted.length ? rows.filter((row) => wanted.every(([name, set]) => set.has(String(row[name])))) : rows;
  }

  /** Whether fronts over seeds, which the server has made of all rows, do not fit what is shown. */
  const splitsFronts = (query) => query.has("seed") || query.has("activation");

  function valuesOf(rows, name) {
    const found = [...new Set(rows.map((row) => row[name]))].filter((value) => value !== null && value !== undefined);
    return name === "loss"
      ? found.sort(Looks.byLoss)
      : found.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1));
  }

  function chips(rows, query) {
    return KINDS.map(({ name, label }) => {
      const values = valuesOf(rows, name);
      if (values.length < 2 && name !== "loss") return null;
      const chosen = State.chosen(query, name);
      return el(
        "fieldset",
        { class: "chips" },
        el("legend", {}, label),
        el(
          "div",
          {},
          values.map((value) => chip(name, value, values, chosen)),
        ),
      );
    });
  }

  function chip(name, value, values, chosen) {
    const isOn = !chosen || chosen.has(String(value));
    const change = (event) => {
      const before = chosen || new Set(values.map(String));
      const after = event.target.closest("label").onlyThis ? new Set([String(value)]) : new Set(before);
      if (!event.target.closest("label").onlyThis) after[isOn ? "delete" : "add"](String(value));
      const all = after.size === 0 || values.every((one) => after.has(String(one)));
      State.change({ [name]: all ? null : State.listed(values.map(String).filter((one) => after.has(one))) });
    };
    const text = name === "loss" ? [Looks.mark(value), Looks.loss(value).label] : Text.plain(value);
    const label = el(
      "label",
      { class: "chip", title: "Shift and click: only this" },
      el("input", { type: "checkbox", id: Dom.idOf("chip", name, value), checked: isOn, on: { change } }),
      el("span", {}, text),
    );
    label.addEventListener("click", (event) => (label.onlyThis = event.shiftKey));
    return label;
  }

  function toggle(query, name, label, { title, usual = false } = {}) {
    const isOn = query.has(name) ? query.get(name) !== "0" : usual;
    const change = (event) =>
      State.change({ [name]: event.target.checked === usual ? null : event.target.checked ? "1" : "0" });
    return el(
      "label",
      { class: "switch", title },
      el("input", { type: "checkbox", id: Dom.idOf("switch", name), checked: isOn, on: { change } }),
      el("span", {}, label),
    );
  }

  const isOn = (query, name, usual) => (query.has(name) ? query.get(name) !== "0" : usual);

  /** One of a few: radio buttons that look like one. */
  function segments(name, legend, choices, value, { usual } = {}) {
    const one = ([key, label]) =>
      el(
        "label",
        {},
        el("input", {
          type: "radio",
          name,
          id: Dom.idOf(name, key),
          checked: key === value,
          on: { change: () => State.change({ [name]: key === usual ? null : key }) },
        }),
        el("span", {}, label),
      );
    return el("fieldset", { class: "segments" }, el("legend", {}, legend), el("div", {}, choices.map(one)));
  }

  /** Which pairs of objectives are drawn: the one that the address names, else both of few places, else the first. */
  function pairsShown(pairs, query, nPlaces) {
    const named = query.get("pair");
    const usual = pairs.length > 1 && nPlaces <= 2 ? "all" : pairs.length ? pairs[0].label : "all";
    const value = named === "all" || pairs.some((pair) => pair.label === named) ? named : usual;
    return { value, usual, pairs: value === "all" ? pairs : pairs.filter((pair) => pair.label === value) };
  }

  /** All that stands above the plots. `pairs` of objectives; `canBand`: there are surfaces over seeds. */
  function toolbar(rows, query, { pairs, nPlaces, canBand }) {
    const { value, usual } = pairsShown(pairs, query, nPlaces);
    const [y] = pairs.map((pair) => pair.y);
    const across =
      pairs.length > 1 &&
      segments(
        "pair",
        "Across",
        [
          ...pairs.map((pair) => [pair.label, pair.x.name === "n_alive_elements" ? "alive elements" : pair.x.label]),
          ["all", pairs.length === 2 ? "both" : "all"],
        ],
        value,
        { usual },
      );
    const xs = pairs.filter((pair) => value === "all" || pair.label === value).map((pair) => pair.x);
    const isFiltered = KINDS.some(({ name }) => query.has(name));
    const seen = new Set();
    const logs = [...xs, ...(y ? [y] : [])].filter((metric) => !seen.has(metric.name) && seen.add(metric.name));
    return el(
      "details",
      { class: "tools card", id: "tools", open: matchMedia("(min-width: 760px)").matches },
      el("summary", {}, "Filters and axes"),
      el(
        "div",
        { class: "tool-rows" },
        el(
          "div",
          { class: "tool-row" },
          chips(rows, query),
          isFiltered &&
            el(
              "button",
              {
                type: "button",
                class: "quiet",
                id: "all-filters",
                on: { click: () => State.change(Object.fromEntries(KINDS.map(({ name }) => [name, null]))) },
              },
              "Show all",
            ),
        ),
        el(
          "div",
          { class: "tool-row" },
          across,
          el(
            "fieldset",
            { class: "switches" },
            el("legend", {}, "Axes"),
            el(
              "div",
              {},
              logs.map((metric) =>
                toggle(query, `log_${metric.name}`, `log ${metric.short}`, { usual: metric.scale === "log" }),
              ),
              toggle(query, "inverted", "best at the top", {
                title: "Turns the vertical axis, as in the paper's figures",
              }),
            ),
          ),
          el(
            "fieldset",
            { class: "switches" },
            el("legend", {}, "Trials"),
            el(
              "div",
              {},
              toggle(query, "front", "frontier only", { title: "Hides trials that another dominates" }),
              canBand &&
                toggle(query, "bands", "seeds as bands", {
                  usual: true,
                  title: "Median over seeds, and from a quarter to three quarters of them",
                }),
            ),
          ),
        ),
      ),
    );
  }

  /** What the plots are drawn by. */
  function optionsOf(query) {
    return {
      logOf: (metric) => isOn(query, `log_${metric.name}`, metric.scale === "log"),
      inverted: isOn(query, "inverted", false),
      only: isOn(query, "front", false),
      bands: isOn(query, "bands", true),
      isFiltered: splitsFronts(query),
      ring: query.get("trial"),
    };
  }

  const targetOf = (query, metric) =>
    query.has(`at_${metric}`) && Text.known(Number(query.get(`at_${metric}`)))
      ? Number(query.get(`at_${metric}`))
      : null;

  return { apply, toolbar, segments, pairsShown, optionsOf, targetOf, splitsFronts };
})();
