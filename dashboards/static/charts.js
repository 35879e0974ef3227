/* Vega: specifications as values, views that stay and get new data, what is under the pointer.
   Expressions are interpreted, not compiled, so the page runs under a policy without unsafe-eval. Knows no sweeps. */
"use strict";

const Charts = (() => {
  const MANY = 2000;
  const PADDING = 4;
  const NEAR_PX = 16;
  const parsed = new Map();

  function config() {
    const [muted, faint, line, ink] = ["muted", "grid", "axis", "ink"].map(Looks.color);
    const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    return {
      aria: false, background: "transparent", font, view: { stroke: null },
      axis: {
        labelColor: muted, titleColor: muted, gridColor: faint, domainColor: line, tickColor: line, labelFontSize: 11, titleFontSize: 11,
        titleFontWeight: 500, tickSize: 4, labelPadding: 4, gridOpacity: 1, labelFont: font, titleFont: font,
      },
      text: { color: ink, font },
    };
  }

  /** 1, 2, 5, 10, ... as many as there is room for. */
  function logTicks([low, high], px, needed) {
    const all = (steps) => {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
        for (const step of steps) found.push(Number(`${step}e${power}`));
      return found.filter((value) => value >= low && value <= high);
    };
    const choices = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map(all);
    return choices.find((values) => values.length * needed <= px) || choices[3];
  }

  function axisOf(side, px) {
    const { domain, log } = side;
    const needed = side.isX ? 34 : 24;
    const largest = Math.max(...domain.map(Math.abs));
    const title = side.isX
      ? { titleAnchor: "end", titleAlign: "right", titlePadding: 3 }
      : { titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleBaseline: "bottom", titleX: -34, titleY: -7 };
    return {
      title: side.title, ...title, format: side.format || (largest >= 10000 ? "~s" : log ? "~g" : largest < 1e-3 ? "~e" : ",~f"), labelOverlap: true, labelFlush: false,
      ...(log ? { values: logTicks(domain, px, needed) } : { tickCount: Math.max(2, Math.floor(px / (side.isX ? 60 : 42))) }),
      ...(side.isX ? {} : { minExtent: 34 }),
    };
  }

  function channel(field, side, px) {
    const scale = { type: side.log ? "log" : "linear", domain: side.domain, nice: false, reverse: Boolean(side.reverse), ...(side.log ? {} : { zero: false }) };
    return { field, type: "quantitative", scale, axis: axisOf(side, px) };
  }

  const raw = (field, type = "nominal") => ({ field, type, scale: null, legend: null });

  /** Fronts as steps, bands, marks, and a rule: the panel of a frontier. Everything is in the data but the frame. */
  function frontierSpec(frame) {
    const x = channel("x", { ...frame.x, isX: true }, frame.width - 60);
    const y = channel("y", frame.y, frame.height - 50);
    const line = { type: "line", clip: true, strokeCap: "butt", strokeJoin: "miter" };
    const order = { field: "n", type: "quantitative" };
    const series = { field: "series", type: "nominal" };
    const marks = { type: "point", clip: false, strokeWidth: 1.5 };
    const encoded = { x, y, shape: raw("shape"), fill: raw("fill"), stroke: raw("stroke"), size: raw("size", "quantitative") };
    const stepped = { ...line, interpolate: frame.interpolate };
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width: frame.width, height: frame.height, padding: PADDING, autosize: { type: "fit", contains: "padding" },
      layer: [
        { data: { name: "bands" }, mark: { type: "area", clip: true, interpolate: frame.interpolate, opacity: 0.2 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, fill: raw("color"), detail: series } },
        { data: { name: "rules_x" }, mark: { type: "rule", strokeDash: [3, 3], color: Looks.color("accent") }, encoding: { x } },
        { data: { name: "rules_y" }, mark: { type: "rule", strokeDash: [3, 3], color: Looks.color("accent") }, encoding: { y } },
        { data: { name: "fronts" }, mark: { ...stepped, strokeWidth: 2 }, encoding: { x, y, stroke: raw("color"), strokeDash: raw("dash"), detail: series, order } },
        { data: { name: "dominated" }, mark: { ...marks, opacity: 0.28 }, encoding: encoded },
        { data: { name: "points" }, mark: marks, encoding: encoded },
        { data: { name: "rings" }, mark: { type: "point", shape: "circle", filled: false, strokeWidth: 2, color: Looks.color("ink"), size: 190 }, encoding: { x, y } },
      ],
      config: config(),
    };
  }

  /** Lines over steps: of a trial's curves. */
  function linesSpec(frame) {
    const x = channel("x", { ...frame.x, isX: true }, frame.width - 60);
    const y = channel("y", frame.y, frame.height - 50);
    return {
      width: frame.width, height: frame.height, padding: PADDING, autosize: { type: "fit", contains: "padding" },
      layer: [
        { data: { name: "lines" }, mark: { type: "line", clip: true, strokeWidth: 1.6, strokeJoin: "round" }, encoding: { x, y, stroke: raw("color"), detail: { field: "series", type: "nominal" }, order: { field: "x", type: "quantitative" } } },
        { data: { name: "points" }, mark: { type: "point", filled: true, size: 26 }, encoding: { x, y, fill: raw("color") } },
        { data: { name: "rings" }, mark: { type: "point", filled: false, strokeWidth: 2, color: Looks.color("ink"), size: 90 }, encoding: { x, y } },
      ],
      config: config(),
    };
  }

  /** Bars from `from` to `to` along x, as high as `y`. */
  function barsSpec(frame) {
    const x = channel("from", { ...frame.x, isX: true }, frame.width - 60);
    if (frame.x.values) x.axis = { ...x.axis, values: frame.x.values };
    const y = channel("y", frame.y, frame.height - 50);
    return {
      width: frame.width, height: frame.height, padding: PADDING, autosize: { type: "fit", contains: "padding" },
      layer: [
        { data: { name: "bars" }, mark: { type: "bar", color: frame.color, clip: true }, encoding: { x, x2: { field: "to" }, y: { ...y, stack: null }, y2: { field: "zero" } } },
        { data: { name: "points" }, mark: { type: "point", opacity: 0 }, encoding: { x: { ...x, field: "x" }, y } },
      ],
      config: config(),
    };
  }

  /** The smallest and largest of values with room around; null where none can be drawn. */
  function domain(values, { log = false, zero = false } = {}) {
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (!Text.known(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low === Infinity) return null;
    if (log) {
      const room = low === high ? 2 : (high / low) ** 0.05;
      return [low / room, high * room];
    }
    if (zero) [low, high] = [Math.min(0, low), Math.max(0, high)];
    const room = (high - low) * 0.05 || Math.abs(high) * 0.5 || 1;
    return [zero && low === 0 ? 0 : low - room, zero && high === 0 ? 0 : high + room];
  }

  function runtime(make, frame) {
    const key = JSON.stringify([make.name, frame, Looks.isDark()]);
    if (!parsed.has(key)) {
      if (parsed.size > 60) parsed.clear();
      parsed.set(key, vega.parse(vegaLite.compile(make(frame)).spec, null, { ast: true }));
    }
    return { key, runtime: parsed.get(key) };
  }

  /** Draw, or give what is drawn new data. `data`: {name of a data set: its tuples}. */
  async function draw(box, make, frame, data, options = {}) {
    const { key, runtime: parts } = runtime(make, frame);
    const n = Object.values(data).reduce((sum, one) => sum + one.length, 0);
    const renderer = n * (options.siblings || 1) > MANY ? "canvas" : "svg";
    box.options = options;
    if (!box.view || box.key !== key || box.renderer !== renderer) {
      if (box.view) box.view.finalize();
      box.replaceChildren();
      box.view = new vega.View(parts, { container: box, renderer, expr: vega.expressionInterpreter, logLevel: vega.Error, hover: false, loader: nobody() });
      [box.key, box.renderer] = [key, renderer];
      if (!box.isWatched) watchPointer(box);
    }
    for (const [name, tuples] of Object.entries(data)) box.view.data(name, tuples.map((one) => ({ ...one })));
    box.tuples = data;
    await box.view.runAsync();
    box.querySelector("svg, canvas")?.setAttribute("aria-hidden", "true");
  }

  /** Vega may not fetch anything. */
  function nobody() {
    const refuse = () => Promise.reject(new Error("the page loads nothing for its plots"));
    return { load: refuse, sanitize: refuse, http: refuse, file: refuse };
  }

  function ring(box, tuples) {
    if (!box.view) return;
    box.view.data("rings", tuples.map(({ x, y }) => ({ x, y })));
    box.view.runAsync();
  }

  function watchPointer(box) {
    box.isWatched = true;
    const found = (event) => nearestTo(box, event);
    box.addEventListener("pointermove", (event) => hover(box, found(event), event));
    box.addEventListener("pointerleave", (event) => hover(box, null, event));
    box.addEventListener("click", (event) => {
      const tuple = found(event);
      if (tuple && box.options.open) box.options.open(tuple, event);
    });
  }

  function hover(box, tuple, event) {
    if (tuple !== box.under) {
      box.under = tuple;
      box.classList.toggle("can-open", Boolean(tuple && box.options.open));
      if (box.options.hover) box.options.hover(tuple);
      else ring(box, tuple ? [tuple] : []);
    }
    if (tuple && box.options.tip) Tip.show(box.options.tip(tuple), event);
    else Tip.hide();
  }

  function nearestTo(box, event) {
    const drawn = box.querySelector("svg, canvas");
    if (!drawn || !box.view || !box.tuples) return null;
    const at = drawn.getBoundingClientRect();
    const [left, top] = box.view.origin();
    const [px, py] = [event.clientX - at.left - left - PADDING, event.clientY - at.top - top - PADDING];
    const [x, y] = [box.view.scale("x"), box.view.scale("y")];
    const near = box.options.near || NEAR_PX;
    let best = null, far = near * near;
    for (const name of ["points", "dominated", "lines"]) {
      for (const tuple of box.tuples[name] || []) {
        const away = (x(tuple.x) - px) ** 2 + (box.options.alongX ? 0 : (y(tuple.y) - py) ** 2);
        if (away < far) [best, far] = [tuple, away];
      }
    }
    return best;
  }

  const svgOf = (box) => (box.view ? box.view.toSVG() : Promise.resolve(""));

  return { frontierSpec, linesSpec, barsSpec, domain, draw, ring, svgOf };
})();

const Tip = (() => {
  let box = null;

  function show(content, event) {
    if (!box) {
      box = Dom.el("div", { class: "tip", role: "presentation" });
      document.body.append(box);
    }
    if (box.content !== content.key) {
      box.replaceChildren(...content.children);
      box.content = content.key;
    }
    box.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = box;
    const left = event.clientX + 16 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 16;
    const top = Math.min(event.clientY + 14, innerHeight - height - 8);
    box.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
  }

  function hide() {
    if (box) box.hidden = true;
  }

  return { show, hide };
})();
