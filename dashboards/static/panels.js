/* Small multiples of frontiers: a card per layer with shared axes, of one sweep or of several on top of each other.
   Gets rows that are filtered already, and draws; what a choice means is decided in the views. */
"use strict";

const Panels = (() => {
  const { el } = Dom;
  const DASHES = [
    [1, 0],
    [6, 3],
    [2, 3],
    [9, 3, 2, 3],
  ];
  const HOLLOW_DASHES = [
    [1, 0],
    [5, 4],
    [2, 3],
  ];
  const FEWEST_SEEDS_OF_A_BAND = 3;

  /** The places of these rows: {key, label, rows, layer}, by layer. */
  function places(rows) {
    const found = [...Fronts.grouped(rows, Fronts.placeOf)].map(([key, here]) => ({
      key,
      rows: here,
      layer: here[0].layer,
      hook: here[0].hookpoint,
      model: here[0].model,
    }));
    const models = new Set(found.map((one) => one.model));
    const layers = new Set(found.map((one) => JSON.stringify([one.model, one.layer])));
    for (const one of found) {
      const layer = layers.size < found.length || !Text.known(one.layer) ? one.hook : `Layer ${one.layer}`;
      one.label = models.size > 1 ? `${String(one.model).split("/").pop()}, ${layer}` : layer;
    }
    const order = (value) => (Text.known(value) ? value : Infinity);
    return found.sort(
      (a, b) =>
        (a.model < b.model ? -1 : a.model > b.model ? 1 : 0) ||
        order(a.layer) - order(b.layer) ||
        (a.hook < b.hook ? -1 : 1),
    );
  }

  const areBands = (detail, options) =>
    options.bands &&
    !options.isFiltered &&
    (detail.surfaces || []).some((one) => one.level === 0.75) &&
    seedsOf(detail) >= FEWEST_SEEDS_OF_A_BAND;
  const seedsOf = (detail) => new Set((detail.rows || []).map((row) => row.seed)).size;

  /** What is drawn of one place and one pair: data sets of the panel, and how many points its axes cannot show. */
  function dataOf(sweeps, place, pair, frame, options) {
    const data = { bands: [], fronts: [], dominated: [], points: [], rules_x: [], rules_y: [], rings: [] };
    const shows = (row) =>
      Text.known(row[pair.x.name]) &&
      Text.known(row[pair.y.name]) &&
      (!frame.x.log || row[pair.x.name] > 0) &&
      (!frame.y.log || row[pair.y.name] > 0);
    sweeps.forEach(({ id, detail, rows }, index) => {
      const here = rows.filter((row) => Fronts.placeOf(row) === place.key);
      const sizes = [...new Set(rows.map((row) => row.d_sae))].sort((a, b) => a - b);
      const bands = areBands(detail, options) && sweeps.length === 1;
      for (const [key, group] of Fronts.grouped(here, Fronts.groupOf)) {
        const { loss, d_sae } = group[0];
        const look = Looks.loss(loss);
        const hollow = index > 0 || (sizes.length > 1 && sizes.indexOf(d_sae) % 2 === 1);
        const dash = sweeps.length > 1 ? HOLLOW_DASHES[index % 3] : DASHES[sizes.indexOf(d_sae) % 4];
        const series = `${index} ${key}`;
        const onFront = new Set(
          loss === "external"
            ? group
            : !pair.hasSteps
              ? group.filter((row) => row[pair.flag])
              : bands
                ? Fronts.bySeed(group).flatMap((each) => Fronts.front(each, pair))
                : Fronts.front(group, pair),
        );
        for (const row of group) {
          if (!shows(row)) continue;
          const isOn = onFront.has(row);
          if (!isOn && options.only) continue;
          const tuple = {
            x: row[pair.x.name],
            y: row[pair.y.name],
            shape: look.shape,
            fill: hollow ? Looks.color("card") : look.color,
            stroke: look.color,
            size: isOn ? (bands ? 32 : 52) : bands ? 22 : 34,
            row,
            sweep: id,
            isOn,
          };
          (isOn ? data.points : data.dominated).push(tuple);
        }
        if (loss === "external" || !pair.hasSteps) continue;
        const surface = (level) =>
          (detail.surfaces || []).filter(
            (one) => one.level === level && one.front === pair.label && Fronts.groupOf(one) === key,
          );
        const line = bands ? surface(0.5) : [...onFront].map((row) => ({ x: row[pair.x.name], y: row[pair.y.name] }));
        line
          .filter((one) => (!frame.x.log || one.x > 0) && (!frame.y.log || one.y > 0))
          .sort((a, b) => a.x - b.x || (pair.y.better === "higher" ? a.y - b.y : b.y - a.y))
          .forEach((one, n) => data.fronts.push({ x: one.x, y: one.y, n, series, color: look.color, dash }));
        if (bands) {
          // Where a quarter of the seeds attain something and three quarters nothing, the band is as high as it gets.
          const worst = (pair.y.better === "higher" ? Math.min : Math.max)(
            ...[...surface(0.25), ...surface(0.75)].map((one) => one.y),
          );
          Fronts.band(surface(0.25), surface(0.75), pair, worst)
            .filter((one) => (!frame.x.log || one.x > 0) && (!frame.y.log || (one.low > 0 && one.high > 0)))
            .forEach((one, n) => data.bands.push({ ...one, n, series, color: look.color }));
        }
      }
    });
    for (const [metric, target] of Object.entries(options.targets || {})) {
      if (metric === pair.x.name && inside(target, frame.x)) data.rules_x.push({ x: target });
      if (metric === pair.y.name && inside(target, frame.y)) data.rules_y.push({ y: target });
    }
    data.rings = [...data.points, ...data.dominated]
      .filter((one) => one.row.trial_id === options.ring)
      .map(({ x, y }) => ({ x, y }));
    return data;
  }

  const inside = (value, { domain, log }) =>
    Text.known(value) && value >= domain[0] && value <= domain[1] && (!log || value > 0);

  /** Axes that all panels of a pair share; null where there is nothing to draw. And how many points they cannot show. */
  function frameOf(rows, pair, options) {
    const side = (metric, log) => {
      const values = rows.map((row) => row[metric.name]);
      const found = Specs.domain(values, { log });
      const unit =
        metric.unit &&
        !metric.label.includes(metric.unit) &&
        metric.unit !== "elements per token" &&
        metric.unit !== "elements"
          ? ` (${metric.unit})`
          : "";
      return {
        title: metric.label + unit,
        log,
        domain: found,
        dropped: log ? values.filter((value) => Text.known(value) && value <= 0).length : 0,
      };
    };
    const [x, y] = [side(pair.x, options.logOf(pair.x)), side(pair.y, options.logOf(pair.y))];
    const dropped = [
      [pair.x, x.dropped],
      [pair.y, y.dropped],
    ].filter(([, n]) => n > 0);
    if (!x.domain || !y.domain) return { frame: null, dropped };
    const frame = {
      x: { ...x, dropped: undefined },
      y: { ...y, dropped: undefined, reverse: Boolean(options.inverted) },
      interpolate: pair.x.better === "higher" ? "step-before" : "step-after",
    };
    return { frame, dropped };
  }

  /** Draw into `box`, keeping the charts that are there. `sweeps`: [{id, detail, rows}]; `options.pairs` of them. */
  async function draw(box, sweeps, options) {
    const rows = sweeps.flatMap((sweep) => sweep.rows);
    const here = places(rows);
    const framed = options.pairs.map((pair) => ({ pair, ...frameOf(rows, pair, options) })).filter((one) => one.frame);
    const wanted = JSON.stringify([
      here.map((place) => [place.key, place.label]),
      framed.map(({ pair }) => pair.label),
    ]);
    if (box.shownAs !== wanted) {
      box.shownAs = wanted;
      box.replaceChildren(...here.map((place) => card(place, framed, options)));
    }
    box.dataset.many = String(here.length * framed.length > 4);
    box.dataset.pairs = String(framed.length);
    const drawing = [];
    here.forEach((place, at) => {
      const heading = box.children[at].querySelector(".about");
      framed.forEach(({ pair, frame }, n) => {
        const chart = box.children[at].querySelectorAll(".chart")[n];
        const width = Math.max(180, Math.floor(chart.clientWidth));
        const height = Math.round(Math.min(here.length === 1 ? 460 : 340, width * (here.length === 1 ? 0.62 : 0.78)));
        chart.style.height = `${height}px`;
        const data = dataOf(sweeps, place, pair, frame, options);
        chart.setAttribute("aria-label", spoken(place, pair, data, sweeps));
        drawing.push(
          Charts.draw(chart, Specs.frontierSpec, { ...frame, width, height }, data, {
            siblings: here.length * framed.length,
            tip: (tuple) => tip(tuple, sweeps),
            open: (tuple, event) => options.open(tuple.sweep, tuple.row.trial_id, event),
            hover: (tuple) => highlight(box, tuple && tuple.row.trial_id, options.ring),
          }),
        );
      });
      heading.textContent = Text.count(place.rows.length, "trial");
    });
    await Promise.all(drawing);
    return framed.flatMap((one) => one.dropped.map(([metric, n]) => ({ metric, n })));
  }

  function card(place, framed, options) {
    const title = options.enlarge
      ? el("a", { href: options.enlarge(place), title: "Show this layer alone" }, place.label)
      : place.label;
    const charts = framed.map(() => el("div", { class: "chart", role: "img" }));
    return el(
      "article",
      { class: "card panel" },
      el("h3", {}, title, " ", el("span", { class: "about" })),
      el("div", { class: "charts" }, charts),
    );
  }

  function spoken(place, pair, data, sweeps) {
    const n = data.points.length + data.dominated.length;
    return `${place.label}: ${pair.y.label} against ${pair.x.label}, ${Text.count(n, "trial")}${sweeps.length > 1 ? ` of ${sweeps.length} sweeps` : ""}. The table below has the same numbers.`;
  }

  /** A ring around a trial wherever it is drawn; null for the one that is chosen. */
  function highlight(box, trial_id, chosen) {
    for (const chart of box.querySelectorAll(".chart")) {
      if (!chart.tuples) continue;
      const all = [...chart.tuples.points, ...chart.tuples.dominated];
      Charts.ring(
        chart,
        all.filter((one) => one.row.trial_id === (trial_id || chosen)),
      );
    }
  }

  function tip({ row, sweep, isOn }, sweeps) {
    const detail = sweeps.find((one) => one.id === sweep).detail;
    const stderr = Text.known(row.ce_loss_increase_stderr) ? ` ± ${Text.number(row.ce_loss_increase_stderr, 2)}` : "";
    const facts = [
      ["L0", Text.number(row.l0)],
      ["CE loss increase", Text.number(row.ce_loss_increase) + stderr],
      ["Alive elements", `${Text.number(row.n_alive_elements)} of ${Text.number(row.d_sae)}`],
      ...(Text.known(row.explained_variance) ? [["Explained variance", Text.number(row.explained_variance)]] : []),
      ["Coefficient", Text.plain(row.sparsity_coeff)],
      ["Seed", Text.plain(row.seed)],
    ];
    return {
      key: `${sweep} ${row.trial_id}`,
      children: [
        el("strong", {}, row.run_name),
        sweeps.length > 1 && el("div", { class: "muted" }, detail.name),
        el("div", {}, Looks.mark(row.loss), " ", Looks.loss(row.loss).label, isOn ? ", on its front" : ", dominated"),
        el(
          "dl",
          {},
          facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
        ),
        el("div", { class: "muted" }, "Click for curves, elements and configuration"),
      ].filter(Boolean),
    };
  }

  async function toSVG(box) {
    const charts = [...box.querySelectorAll(".chart")].filter((one) => one.view);
    const across = Math.max(
      1,
      charts.filter((one) => Math.abs(one.getBoundingClientRect().top - charts[0].getBoundingClientRect().top) < 5)
        .length,
    );
    const [width, height] = [charts[0].clientWidth + 12, charts[0].clientHeight + 34];
    const made = document.implementation.createDocument("http://www.w3.org/2000/svg", "svg");
    const root = made.documentElement;
    const rows = Math.ceil(charts.length / across);
    for (const [name, value] of Object.entries({
      width: width * across,
      height: height * rows,
      viewBox: `0 0 ${width * across} ${height * rows}`,
    }))
      root.setAttribute(name, value);
    for (const [n, chart] of charts.entries()) {
      const inner = new DOMParser().parseFromString(await Charts.svgOf(chart), "image/svg+xml").documentElement;
      const group = made.createElementNS(root.namespaceURI, "g");
      group.setAttribute("transform", `translate(${(n % across) * width}, ${Math.floor(n / across) * height + 26})`);
      const title = made.createElementNS(root.namespaceURI, "text");
      for (const [name, value] of Object.entries({
        x: 6,
        y: -10,
        "font-family": "sans-serif",
        "font-size": 13,
        "font-weight": 600,
        fill: Looks.color("ink"),
      }))
        title.setAttribute(name, value);
      title.textContent = chart.closest(".card").querySelector("h3").firstChild.textContent;
      group.append(title, made.importNode(inner, true));
      root.append(group);
    }
    return new XMLSerializer().serializeToString(made);
  }

  return { places, draw, highlight, areBands, seedsOf, toSVG };
})();
