/* How losses and metrics look and are called: style.json, which all pictures of a sweep share, and the page's colours. */
"use strict";

const Looks = (() => {
  const OTHERS = ["#777777", "#d55e00", "#8c564b", "#7f7f00", "#5b5bd6", "#b5179e"];
  const X = "M-1,-0.55L-0.55,-1L0,-0.45L0.55,-1L1,-0.55L0.45,0L1,0.55L0.55,1L0,0.45L-0.55,1L-1,0.55L-0.45,0Z";
  const SHAPES = { "^": "triangle-up", v: "triangle-down", o: "circle", X, D: "diamond", s: "square" };
  const EXTERNAL = { label: "external", color: "#777777", color_on_dark: "#aaaaaa", marker: "s" };
  let style = { losses: {}, metrics: {} };
  let others = [];

  function use(found) {
    style = { losses: {}, metrics: {}, ...found };
    others = [];
  }

  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };

  function loss(name) {
    let entry = Object.hasOwn(style.losses, name) ? style.losses[name] : name === "external" ? EXTERNAL : null;
    if (!entry) {
      if (!others.includes(name)) others.push(name);
      const color = OTHERS[others.indexOf(name) % OTHERS.length];
      entry = { label: String(name), color, color_on_dark: color, marker: "s" };
    }
    return {
      label: entry.label,
      color: isDark() ? entry.color_on_dark || entry.color : entry.color,
      shape: SHAPES[entry.marker] || "square",
    };
  }

  function lossRank(name) {
    const order = Object.keys(style.losses);
    return order.includes(name) ? order.indexOf(name) : order.length;
  }

  const byLoss = (a, b) => lossRank(a) - lossRank(b) || (a < b ? -1 : a > b ? 1 : 0);

  /** Label, unit, scale and better of a metric of a sweep. */
  function metric(name, detail) {
    const about = ((detail && detail.metrics) || {})[name] || {};
    const known = Object.hasOwn(style.metrics, name) ? style.metrics[name] : {};
    const label = known.label || words(about.label || name);
    const unit = about.unit || (((detail && detail.columns) || {})[name] || {}).unit || "";
    const short = { n_alive_elements: "alive", ce_loss_increase: "CE increase" }[name] || label;
    return {
      name,
      label,
      unit,
      short,
      scale: about.scale || known.scale || "linear",
      better: about.direction === "higher" ? "higher" : "lower",
      isCount: about.felt ? about.felt === "log" : (about.scale || known.scale) === "log" || unit === "elements",
      description: about.description || "",
    };
  }

  /** ce_loss_with_sae as CE loss with SAE. */
  function words(name) {
    const text = String(name)
      .replaceAll("_", " ")
      .replace(/\b(ce|kl|mse|sae|l0|l2)\b/g, (word) => word.toUpperCase());
    return text.charAt(0).toUpperCase() + text.slice(1);
  }

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /** The mark of a loss, for legends and tables. */
  function mark(name, { hollow = false } = {}) {
    const look = loss(name);
    const paths = {
      "triangle-up": "M0,-5.4L5.6,4.4L-5.6,4.4Z",
      "triangle-down": "M0,5.4L5.6,-4.4L-5.6,-4.4Z",
      circle: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
      diamond: "M0,-6L5,0L0,6L-5,0Z",
      square: "M-4.5,-4.5h9v9h-9Z",
    };
    const path = Dom.el("path", {
      d: paths[look.shape] || look.shape,
      fill: hollow ? "none" : look.color,
      stroke: look.color,
    });
    if (!paths[look.shape])
      (path.setAttribute("transform", "scale(5.2)"), path.setAttribute("stroke-width", hollow ? "0.3" : "0.1"));
    return Dom.el(
      "svg",
      { class: "mark", viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true", focusable: "false" },
      path,
    );
  }

  return { use, loss, byLoss, metric, color, mark, isDark };
})();
