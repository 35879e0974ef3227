/* What is to be known about one sweep beside its fronts: warnings, what runs now, searches, commands, events, settings. */
"use strict";

const FrontierAbout = (() => {
  const { el } = Dom;

  function notes(detail) {
    const kinds = Fronts.grouped(detail.warnings || [], (one) => one.kind);
    const where = (one) =>
      [Text.known(one.layer) && `layer ${one.layer}`, one.loss && Looks.loss(one.loss).label]
        .filter(Boolean)
        .join(", ");
    return [
      (detail.problems || []).map((text) => el("p", { class: "problem" }, text)),
      Source.notes.map((text) => el("p", { class: "note" }, text)),
      kinds.size > 0 &&
        el(
          "details",
          { class: "card warnings", id: "warnings" },
          el(
            "summary",
            {},
            el("strong", {}, Text.count(detail.warnings.length, "warning")),
            el(
              "span",
              { class: "muted" },
              [...kinds].map(([kind, all]) => `${String(kind).replaceAll("_", " ")} (${all.length})`).join(", "),
            ),
          ),
          [...kinds].map(([kind, all]) =>
            el(
              "div",
              {},
              el("p", { class: "kind" }, String(kind).replaceAll("_", " ")),
              [...new Set(all.map((one) => one.fix))].filter(Boolean).map((fix) => el("p", { class: "muted" }, fix)),
              el(
                "ul",
                {},
                all
                  .slice(0, 60)
                  .map((one) =>
                    el("li", {}, where(one) && el("span", { class: "muted" }, `${where(one)}: `), one.text),
                  ),
                all.length > 60 && el("li", {}, `and ${all.length - 60} more`),
              ),
            ),
          ),
        ),
    ];
  }

  function packs(detail) {
    const running = (detail.status.packs || []).filter((one) => one.state === "running");
    if (!running.length) return null;
    return [
      el("h2", {}, "Running now"),
      el(
        "ul",
        { class: "packs" },
        running.map((pack) =>
          el(
            "li",
            { class: "card" },
            el(
              "strong",
              {},
              `${(pack.layers || []).map((layer) => `layer ${layer}`).join(", ")} · ${(pack.losses || []).map((loss) => Looks.loss(loss).label).join(", ")}`,
            ),
            Shell.bar(pack.n_steps ? pack.step / pack.n_steps : 0, `Pack ${pack.pack_id}`),
            el(
              "p",
              { class: "muted" },
              `step ${Text.number(pack.step)} of ${Text.number(pack.n_steps)} · ${Text.number(pack.tokens_per_s)} tokens/s · ${Text.count(pack.n_trials || 0, "trial")}${pack.host ? ` · ${pack.host}` : ""}`,
            ),
          ),
        ),
      ),
    ];
  }

  function search(detail) {
    const found = detail.search;
    if (!found) return null;
    return [
      el("h2", {}, "Search"),
      el(
        "div",
        { class: "card" },
        el("p", {}, found.label),
        el(
          "ol",
          {},
          (found.rounds || []).map((one) =>
            el(
              "li",
              {},
              `Round ${one.round}: ${Text.count(one.n_trials, "trial")}`,
              el(
                "ul",
                {},
                one.why.slice(0, 8).map((why) => el("li", { class: "muted" }, why)),
              ),
            ),
          ),
        ),
        el(
          "ul",
          {},
          (found.found || []).map((one) =>
            el(
              "li",
              {},
              el("span", { class: one.reached ? "good" : "bad" }, one.reached ? "reached: " : "not reached: "),
              one.text,
            ),
          ),
        ),
      ),
    ];
  }

  function about(detail) {
    const commands = Object.entries(detail.commands || {}).filter(([, text]) => text);
    if (detail.mlflow && detail.mlflow.start) commands.push(["MLflow's pages", detail.mlflow.start]);
    const events = [...(detail.events || [])].reverse();
    return [
      el("h2", {}, "How it was run"),
      commands.length > 0 &&
        el(
          "div",
          { class: "card commands" },
          commands.map(([name, text]) =>
            el(
              "div",
              { class: "command" },
              el("span", { class: "muted" }, name),
              el("code", {}, text),
              Dom.copyButton(text),
            ),
          ),
        ),
      events.length > 0 &&
        el(
          "details",
          { class: "card", id: "events" },
          el("summary", {}, `Events (${events.length})`),
          el(
            "ol",
            { class: "events" },
            events.map((one) =>
              el("li", { class: one.level }, el("time", { datetime: one.time }, Text.time(one.time)), " ", one.message),
            ),
          ),
        ),
      detail.yaml &&
        el(
          "details",
          { class: "card", id: "sweep-file" },
          el("summary", {}, "Sweep file"),
          el("pre", { tabindex: "0" }, detail.yaml),
        ),
    ];
  }

  return { notes, packs, search, about };
})();
