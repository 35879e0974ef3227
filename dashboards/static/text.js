/* Numbers, shares, times and sizes as people read them. Values in, text out. */
"use strict";

const Text = (() => {
  const NONE = "–";
  const known = (value) => typeof value === "number" && Number.isFinite(value);

  /** Three digits, and all of a larger whole number. */
  function number(value, digits = 3) {
    if (!known(value)) return NONE;
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 10 ** digits || (Number.isInteger(value) && size < 1e9))
      return Math.round(value).toLocaleString("en-US");
    if (size < 1e-4)
      return value
        .toExponential(digits - 1)
        .replace("-", "−")
        .replace("e-", "e−");
    return value.toPrecision(digits).replace(/^-/, "−");
  }

  /** As it stands in a file, but short: of coefficients and learning rates. */
  function plain(value) {
    return known(value)
      ? String(Number(value.toPrecision(6)))
      : value === null || value === undefined
        ? NONE
        : String(value);
  }

  function percent(value, digits = 0) {
    if (!known(value)) return NONE;
    return `${(100 * value).toFixed(digits).replace(/^-/, "−")} %`;
  }

  function signedPercent(value) {
    if (!known(value)) return NONE;
    const text = (100 * Math.abs(value)).toFixed(Math.abs(value) < 0.1 ? 1 : 0);
    return Number(text) === 0 ? "0 %" : `${value > 0 ? "+" : "−"}${text} %`;
  }

  function duration(seconds) {
    if (!known(seconds)) return NONE;
    if (seconds < 90) return `${Math.round(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
    return `${(seconds / 86400).toFixed(1)} d`;
  }

  /** 14:02:11Z today, else 2026-11-22 14:02Z. */
  function time(iso) {
    const moment = iso ? new Date(iso) : null;
    if (!moment || Number.isNaN(moment.getTime())) return NONE;
    const text = moment.toISOString();
    const today = new Date().toISOString().slice(0, 10);
    return text.slice(0, 10) === today ? `${text.slice(11, 19)}Z` : `${text.slice(0, 10)} ${text.slice(11, 16)}Z`;
  }

  function bytes(value) {
    if (!known(value)) return NONE;
    const units = ["B", "kB", "MB", "GB"];
    let place = 0;
    while (value >= 1000 && place < 3) [value, place] = [value / 1000, place + 1];
    return `${value >= 10 || place === 0 ? Math.round(value) : value.toFixed(1)} ${units[place]}`;
  }

  function count(n, one, many) {
    return `${n.toLocaleString("en-US")} ${n === 1 ? one : many || `${one}s`}`;
  }

  return { NONE, known, number, plain, percent, signedPercent, duration, time, bytes, count };
})();
