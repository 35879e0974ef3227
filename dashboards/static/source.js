/* Where data come from: the server, asked every few seconds with If-None-Match, or the text inside a report.
   Keeps the last answer of each address, so that a server that is away leaves the page as it was. */
"use strict";

const Source = (() => {
  const EVERY_MS = 3000;
  const SLOWEST_MS = 30000;
  const inlined = document.getElementById("data");
  const report = inlined ? JSON.parse(inlined.textContent) : null;
  const answers = new Map();
  let watched = [];
  let tell = () => {};
  let timer = 0;
  let turn = 0;
  let failures = 0;
  let style = report ? report.style : null;

  const api = (...words) => ["api", ...words.map(encodeURIComponent)].join("/");
  const addresses = {
    sweeps: () => api("sweeps"),
    sweep: (id) => api("sweeps", id),
    trial: (id, trial) => api("sweeps", id, "trials", trial),
  };

  /** The last answer: {data, problem}; neither while nothing has come yet. */
  function get(address) {
    return report ? fromReport(address) : answers.get(address) || {};
  }

  function fromReport(address) {
    const [id, , trial] = address.split("/").slice(2).map(decodeURIComponent);
    if (id === undefined) return { data: report.sweeps };
    const found = trial === undefined ? (report.details || {})[id] : ((report.trials || {})[id] || {})[trial];
    const missing =
      trial === undefined
        ? "this report is about another sweep"
        : "this trial is not in the report, which keeps what is small";
    return found ? { data: found } : { problem: missing };
  }

  /** From now on these, until others are wanted. `onNews` is called after each round that brought something. */
  function watch(list, onNews) {
    watched = list;
    tell = onNews;
    if (report) return;
    turn += 1;
    round(turn);
  }

  async function round(mine) {
    clearTimeout(timer);
    let changed = false;
    const before = failures;
    if (!document.hidden || watched.some((one) => !answers.has(one))) {
      const found = await Promise.all(watched.map(ask));
      changed = found.includes("new");
      failures = found.includes("away") ? failures + 1 : 0;
    }
    if (mine !== turn) return;
    timer = setTimeout(() => round(mine), Math.min(SLOWEST_MS, EVERY_MS * 2 ** Math.min(failures, 4)));
    if (changed || Boolean(before) !== Boolean(failures)) tell();
  }

  async function ask(address) {
    const last = answers.get(address);
    try {
      const answer = await fetch(address, {
        cache: "no-store",
        headers: last && last.etag ? { "If-None-Match": last.etag } : {},
      });
      if (answer.status === 304) return "same";
      const body = await answer.json();
      if (answer.ok) {
        answers.set(address, { data: body, etag: answer.headers.get("ETag") });
        return "new";
      }
      const same = last && last.problem === body.problem;
      answers.set(address, {
        problem: body.problem || `the server answered ${answer.status}`,
        data: last && last.data,
      });
      return same ? "same" : "new";
    } catch {
      return "away";
    }
  }

  async function styles() {
    if (style) return style;
    try {
      style = await (await fetch("static/style.json")).json();
    } catch {
      style = { losses: {}, metrics: {} };
    }
    return style;
  }

  document.addEventListener("visibilitychange", () => {
    if (!report && !document.hidden && turn) round(++turn);
  });

  return {
    ...addresses,
    get,
    watch,
    styles,
    isReport: Boolean(report),
    notes: (report && report.notes) || [],
    isAway: () => failures > 0,
  };
})();
