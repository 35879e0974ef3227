/* What every view uses: states, progress, the line at the bottom that says how old the data are, links that open. */
"use strict";

const Shell = (() => {
  const { el } = Dom;
  let redraw = () => {};
  let pending = Promise.resolve();
  const resized = new Map();
  const left = new Map();

  const update = () => redraw();
  const onUpdate = (act) => (redraw = act);

  function pill({ state, state_text }) {
    return el("span", { class: `pill ${state}`, title: state_text }, state);
  }

  function bar(share, label) {
    const value = Math.max(0, Math.min(1, share || 0));
    return el(
      "div",
      {
        class: "bar",
        role: "progressbar",
        "aria-label": label,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.round(100 * value),
      },
      el("span", { style: { width: `${100 * value}%` } }),
    );
  }

  /** Done, failed and running trials side by side; of the whole. */
  function progress(status) {
    const n = status.n_trials || 1;
    const parts = ["done", "failed", "stopped", "running"]
      .map((name) => [name, (status[`n_${name}`] || 0) / n])
      .filter(([, share]) => share > 0);
    const done = Math.round((100 * (status.n_done || 0)) / n);
    return el(
      "div",
      {
        class: "bar",
        role: "progressbar",
        "aria-label": "Trials done",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.min(100, done),
      },
      parts.map(([name, share]) => el("span", { class: name, style: { width: `${100 * share}%` } })),
    );
  }

  function counts(status) {
    const parts = [`${Text.number(status.n_done || 0)} of ${Text.count(status.n_trials || 0, "trial")} done`];
    for (const [name, label] of [
      ["n_running", "running"],
      ["n_waiting", "waiting"],
      ["n_failed", "failed"],
      ["n_stopped", "stopped"],
    ])
      if (status[name]) parts.push(`${Text.number(status[name])} ${label}`);
    return parts.join(" · ");
  }

  function eta({ eta_s, eta_high_s }) {
    if (!Text.known(eta_s)) return Text.NONE;
    const [low, high] = [Text.duration(eta_s), Text.duration(eta_high_s)];
    return Text.known(eta_high_s) && high !== low ? `${low} to ${high}` : low;
  }

  function waiting(problem) {
    if (problem)
      return el(
        "div",
        { class: "card empty" },
        el("p", { class: "problem" }, problem),
        el("p", {}, el("a", { href: "#/sweeps" }, "All sweeps")),
      );
    return el("p", { class: "muted loading", role: "status" }, "Loading…");
  }

  /** The line at the bottom. `details`: those whose data are shown. */
  function status(...details) {
    const box = document.getElementById("status");
    const parts = details.filter(Boolean).map((detail) => {
      const said = detail.data_at
        ? `data of ${Text.time(detail.data_at)}, ${Text.count(detail.n_rows || 0, "row")}`
        : detail.problems && detail.problems.length
          ? "no data that can be read"
          : "no finished trial";
      return `${details.length > 1 ? `${detail.name}: ` : ""}${said}${detail.schema_version ? `, schema ${detail.schema_version}` : ""}`;
    });
    if (Source.isAway()) parts.unshift("server not reachable; showing the last data");
    else if (Source.isReport) parts.push("report");
    const text = parts.join(" · ");
    if (box.textContent !== text) box.textContent = text;
    box.classList.toggle("away", Source.isAway());
  }

  /** The same of the list of sweeps. */
  function read(list) {
    const text = Source.isAway()
      ? "server not reachable; showing the last data"
      : list && list.read_at
        ? `as of ${Text.time(list.read_at)}`
        : "";
    const box = document.getElementById("status");
    if (box.textContent !== text) box.textContent = text;
    box.classList.toggle("away", Source.isAway());
  }

  function open(hash, event) {
    if (event && (event.ctrlKey || event.metaKey || event.shiftKey)) window.open(hash, "_blank", "noopener");
    else State.go(hash);
  }

  /** The frontier page as it was left, filters and all. */
  function lastFrontier(id) {
    return left.get(id);
  }

  const leave = (id, hash) => left.set(id, hash);

  /** For tests and for printing: the page says when everything that was begun has been drawn. */
  function drawn(promise) {
    document.body.dataset.ready = "no";
    const all = Promise.all([pending, Promise.resolve(promise)]);
    pending = all.catch((problem) => console.error(problem));
    const mine = pending;
    mine.then(() => {
      if (mine === pending) document.body.dataset.ready = "yes";
    });
  }

  const watcher =
    typeof ResizeObserver === "undefined"
      ? null
      : new ResizeObserver((entries) => {
          for (const { target } of entries) {
            const one = resized.get(target);
            if (!one || Math.abs(target.clientWidth - one.width) < 2) continue;
            one.width = target.clientWidth;
            clearTimeout(one.timer);
            one.timer = setTimeout(() => target.isConnected && one.act(), 80);
          }
        });

  function onResize(box, act) {
    const known = resized.get(box);
    if (known) known.act = act;
    else if (watcher) {
      resized.set(box, { act, width: box.clientWidth, timer: 0 });
      watcher.observe(box);
    }
  }

  function forgetSizes() {
    if (watcher) watcher.disconnect();
    resized.clear();
  }

  return {
    update,
    onUpdate,
    pill,
    bar,
    progress,
    counts,
    eta,
    waiting,
    status,
    read,
    open,
    drawn,
    onResize,
    forgetSizes,
    lastFrontier,
    leave,
  };
})();
