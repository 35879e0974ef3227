/* Specifications of the plots, in Vega-Lite: values of a frame (size, axes, colours). The data come later. */
"use strict";

const Specs = (() => {
  const PADDING = 4;

  function config() {
    const [muted, faint, line, ink] = ["muted", "grid", "axis", "ink"].map(Looks.color);
    const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    return {
      aria: false,
      background: "transparent",
      font,
      view: { stroke: null },
      axis: {
        labelColor: muted,
        titleColor: muted,
        gridColor: faint,
        domainColor: line,
        tickColor: line,
        labelFontSize: 11,
        titleFontSize: 11,
        titleFontWeight: 500,
        tickSize: 4,
        labelPadding: 4,
        gridOpacity: 1,
        labelFont: font,
        titleFont: font,
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
      title: side.title,
      ...title,
      format: side.format || (largest >= 10000 ? "~s" : log ? "~g" : largest < 1e-3 ? "~e" : ",~f"),
      labelOverlap: true,
      labelFlush: false,
      ...(log
        ? { values: logTicks(domain, px, needed) }
        : { tickCount: Math.max(2, Math.floor(px / (side.isX ? 60 : 42))) }),
      ...(side.isX ? {} : { minExtent: 34 }),
    };
  }

  function channel(field, side, px) {
    const scale = {
      type: side.log ? "log" : "linear",
      domain: side.domain,
      nice: false,
      reverse: Boolean(side.reverse),
      ...(side.log ? {} : { zero: false }),
    };
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
    const encoded = {
      x,
      y,
      shape: raw("shape"),
      fill: raw("fill"),
      stroke: raw("stroke"),
      size: raw("size", "quantitative"),
    };
    const stepped = { ...line, interpolate: frame.interpolate };
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width: frame.width,
      height: frame.height,
      padding: PADDING,
      autosize: { type: "fit", contains: "padding" },
      layer: [
        {
          data: { name: "bands" },
          mark: { type: "area", clip: true, interpolate: frame.interpolate, opacity: 0.2 },
          encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, fill: raw("color"), detail: series },
        },
        {
          data: { name: "rules_x" },
          mark: { type: "rule", strokeDash: [3, 3], color: Looks.color("accent") },
          encoding: { x },
        },
        {
          data: { name: "rules_y" },
          mark: { type: "rule", strokeDash: [3, 3], color: Looks.color("accent") },
          encoding: { y },
        },
        {
          data: { name: "fronts" },
          mark: { ...stepped, strokeWidth: 2 },
          encoding: { x, y, stroke: raw("color"), strokeDash: raw("dash"), detail: series, order },
        },
        { data: { name: "dominated" }, mark: { ...marks, opacity: 0.28 }, encoding: encoded },
        { data: { name: "points" }, mark: marks, encoding: encoded },
        {
          data: { name: "rings" },
          mark: { type: "point", shape: "circle", filled: false, strokeWidth: 2, color: Looks.color("ink"), size: 190 },
          encoding: { x, y },
        },
      ],
      config: config(),
    };
  }

  /** Lines over steps: of a trial's curves. */
  function linesSpec(frame) {
    const x = channel("x", { ...frame.x, isX: true }, frame.width - 60);
    const y = channel("y", frame.y, frame.height - 50);
    return {
      width: frame.width,
      height: frame.height,
      padding: PADDING,
      autosize: { type: "fit", contains: "padding" },
      layer: [
        {
          data: { name: "lines" },
          mark: { type: "line", clip: true, strokeWidth: 1.6, strokeJoin: "round" },
          encoding: {
            x,
            y,
            stroke: raw("color"),
            detail: { field: "series", type: "nominal" },
            order: { field: "x", type: "quantitative" },
          },
        },
        {
          data: { name: "points" },
          mark: { type: "point", filled: true, size: 26 },
          encoding: { x, y, fill: raw("color") },
        },
        {
          data: { name: "rings" },
          mark: { type: "point", filled: false, strokeWidth: 2, color: Looks.color("ink"), size: 90 },
          encoding: { x, y },
        },
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
      width: frame.width,
      height: frame.height,
      padding: PADDING,
      autosize: { type: "fit", contains: "padding" },
      layer: [
        {
          data: { name: "bars" },
          mark: { type: "bar", color: frame.color, clip: true },
          encoding: { x, x2: { field: "to" }, y: { ...y, stack: null }, y2: { field: "zero" } },
        },
        { data: { name: "points" }, mark: { type: "point", opacity: 0 }, encoding: { x: { ...x, field: "x" }, y } },
      ],
      config: config(),
    };
  }

  /** The smallest and largest of values with room around; null where none can be drawn. */
  function domain(values, { log = false, zero = false } = {}) {
    let low = Infinity,
      high = -Infinity;
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

  return { PADDING, frontierSpec, linesSpec, barsSpec, domain };
})();
