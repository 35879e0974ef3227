/* Vega's views: they stay and get new data, and tell what is under the pointer.
   Expressions are interpreted, not compiled, so the page runs under a policy without unsafe-eval. Knows no sweeps. */
"use strict";

const Charts = (() => {
  const MANY = 2000;
  const NEAR_PX = 16;
  const parsed = new Map();

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
      box.view = new vega.View(parts, {
        container: box,
        renderer,
        expr: vega.expressionInterpreter,
        logLevel: vega.Error,
        hover: false,
        loader: nobody(),
      });
      [box.key, box.renderer] = [key, renderer];
      if (!box.isWatched) watchPointer(box);
    }
    for (const [name, tuples] of Object.entries(data))
      box.view.data(
        name,
        tuples.map((one) => ({ ...one })),
      );
    box.tuples = data;
    // What is half transparent on a canvas would be painted over itself.
    await (renderer === "canvas" ? box.view.resize() : box.view).runAsync();
    box.querySelector("svg, canvas")?.setAttribute("aria-hidden", "true");
  }

  /** Vega may not fetch anything. */
  function nobody() {
    const refuse = () => Promise.reject(new Error("the page loads nothing for its plots"));
    return { load: refuse, sanitize: refuse, http: refuse, file: refuse };
  }

  function ring(box, tuples) {
    if (!box.view) return;
    box.view.data(
      "rings",
      tuples.map(({ x, y }) => ({ x, y })),
    );
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
    const [px, py] = [event.clientX - at.left - left - Specs.PADDING, event.clientY - at.top - top - Specs.PADDING];
    const [x, y] = [box.view.scale("x"), box.view.scale("y")];
    const near = box.options.near || NEAR_PX;
    let best = null,
      far = near * near;
    for (const name of ["points", "dominated", "lines"]) {
      for (const tuple of box.tuples[name] || []) {
        const away = (x(tuple.x) - px) ** 2 + (box.options.alongX ? 0 : (y(tuple.y) - py) ** 2);
        if (away < far) [best, far] = [tuple, away];
      }
    }
    return best;
  }

  const svgOf = (box) => (box.view ? box.view.toSVG() : Promise.resolve(""));

  return { draw, ring, svgOf };
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
