/* The list: every run folder, how it stands, and which to compare. */
"use strict";

const SweepsView = (() => {
  const { el } = Dom;
  const marked = new Set();

  function update(root) {
    const { data, problem } = Source.get(Source.sweeps());
    if (!data) return Dom.part(root, "list", problem || "", () => Shell.waiting(problem));
    const sweeps = data.sweeps || [];
    return Dom.part(root, "list", [sweeps, [...marked]], () => [
      el(
        "div",
        { class: "title-row" },
        el("h1", {}, "Sweeps"),
        el("p", { class: "muted" }, counted(sweeps)),
        compareLink(),
      ),
      sweeps.length ? el("ul", { class: "sweeps" }, sweeps.map(line)) : empty(),
    ]);
  }

  function counted(sweeps) {
    const running = sweeps.filter((one) => one.state === "running").length;
    return `${Text.count(sweeps.length, "run folder")}${running ? `, ${running} running` : ""}, newest first`;
  }

  function empty() {
    return el(
      "div",
      { class: "card empty" },
      el("p", {}, "No run folder here yet. A launch makes the first one:"),
      el("pre", {}, "python -m orchestrator.launch sweeps/quickstart.yaml"),
    );
  }

  function compareLink() {
    const ids = [...marked];
    const label = ids.length < 2 ? "Mark two or more to compare" : `Compare ${ids.length} sweeps`;
    return ids.length < 2
      ? el("span", { class: "muted end" }, label)
      : el("a", { class: "button end", href: CompareView.link(ids) }, label);
  }

  function line(sweep) {
    const readable = sweep.state !== "unreadable";
    const mark = (event) => {
      marked[event.target.checked ? "add" : "delete"](sweep.id);
      Shell.update();
    };
    const layers =
      sweep.layers && sweep.layers.length ? `layer${sweep.layers.length > 1 ? "s" : ""} ${ranges(sweep.layers)}` : null;
    return el(
      "li",
      { class: "card sweep" },
      el(
        "label",
        { class: "pick" },
        el("input", {
          type: "checkbox",
          id: Dom.idOf("pick", sweep.id),
          checked: marked.has(sweep.id),
          disabled: !sweep.n_rows,
          on: { change: mark },
          "aria-label": `Compare ${sweep.name}`,
        }),
      ),
      el(
        "div",
        { class: "what" },
        el(
          "h2",
          {},
          readable ? el("a", { href: State.link("frontier", [sweep.id]) }, sweep.name) : sweep.name,
          " ",
          Shell.pill(sweep),
        ),
        el("p", { class: "muted" }, [sweep.model, layers, sweep.id].filter(Boolean).join(" · ")),
        el(
          "p",
          { class: "losses" },
          [...(sweep.losses || [])]
            .sort(Looks.byLoss)
            .map((loss) => el("span", {}, Looks.mark(loss), " ", Looks.loss(loss).label)),
        ),
        sweep.problem && el("p", { class: "problem" }, sweep.problem),
      ),
      el("div", { class: "how" }, Shell.progress(sweep), el("p", { class: "muted" }, Shell.counts(sweep))),
      el(
        "dl",
        { class: "facts" },
        fact("ETA", sweep.eta_s !== null ? Shell.eta(sweep) : Text.NONE),
        fact("Device time", Text.known(sweep.device_h) ? Text.duration(sweep.device_h * 3600) : Text.NONE),
        fact(
          "Hypervolume",
          Text.number(sweep.hypervolume),
          "Mean over layers of the best loss's, first pair of objectives. Comparable only where reference points are equal.",
        ),
        fact("Updated", Text.time(sweep.updated_at)),
      ),
    );
  }

  const fact = (name, value, title) => el("div", { title }, el("dt", {}, name), el("dd", {}, value));

  function ranges(numbers) {
    const found = [];
    for (const n of numbers) {
      const last = found[found.length - 1];
      if (last && last[1] === n - 1) last[1] = n;
      else found.push([n, n]);
    }
    return found.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(", ");
  }

  return { update, addresses: () => [Source.sweeps()] };
})();
