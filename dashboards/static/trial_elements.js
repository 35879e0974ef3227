/* Dictionary elements of one trial with the text they fire on. Tokens are shown as text, their heat as colour. */
"use strict";

const TrialElements = (() => {
  const { el } = Dom;

  function elements(trial) {
    const found = trial.elements;
    if (!found || !(found.elements || []).length)
      return [el("h2", {}, "Dictionary elements"), el("p", { class: "muted" }, "None were kept for this trial.")];
    const grid = el("div", { class: "elements" }, found.elements.map(element));
    const all = (open) => () => grid.querySelectorAll("details").forEach((one) => (one.open = open));
    const button = (id, label, act) => el("button", { type: "button", class: "quiet", id, on: { click: act } }, label);
    return [
      el(
        "div",
        { class: "title-row" },
        el("h2", {}, "Dictionary elements"),
        button("open-elements", "Open all", all(true)),
        button("close-elements", "Close all", all(false)),
      ),
      el(
        "p",
        { class: "muted" },
        `What they fire on in ${Text.number(found.n_eval_tokens)} held-out tokens: the stronger, the deeper the colour. ${found.text_credit || ""}`,
      ),
      grid,
    ];
  }

  function element(one, place) {
    const top = (one.top_tokens || []).map(([token, n]) =>
      el("li", {}, el("code", {}, visible(token)), el("span", { class: "muted" }, ` ${n}`)),
    );
    return el(
      "details",
      { class: "card element", id: `element-${one.index}`, open: place < 6 },
      el(
        "summary",
        {},
        el("strong", {}, `Element ${one.index}`),
        el(
          "span",
          { class: "muted" },
          `fires on ${Text.percent(one.density, one.density < 0.01 ? 2 : 1)} of tokens · strongest ${Text.number(one.max_activation)} · ${one.chosen === "sampled" ? "drawn at random" : "most active"}`,
        ),
      ),
      top.length > 0 && el("ul", { class: "top-tokens", "aria-label": "Tokens on which it is strongest" }, top),
      el(
        "ul",
        { class: "snippets" },
        (one.snippets || []).map((snippet) => snippetOf(snippet, one.max_activation)),
      ),
    );
  }

  function snippetOf(snippet, most) {
    const top = snippet.position - (snippet.start ?? snippet.position);
    return el(
      "li",
      {},
      el(
        "p",
        { class: "snippet", lang: "und" },
        snippet.tokens.map((token, n) => {
          const heat = most > 0 ? Math.max(0, Math.min(1, snippet.activations[n] / most)) : 0;
          const shown = n === 0 ? String(token).trimStart() : token;
          if (heat < 0.02) return el("span", {}, shown);
          const span = el(
            "span",
            {
              class: `hot${n === top && snippet.start !== undefined ? " strongest" : ""}`,
              title: Text.number(snippet.activations[n]),
            },
            shown,
          );
          span.style.setProperty("--heat", `${Math.round(12 + 58 * heat)}%`);
          return span;
        }),
      ),
      el(
        "p",
        { class: "muted small" },
        snippet.topic && el("span", { class: "topic" }, snippet.topic),
        ` ${Text.number(snippet.activation)} at row ${snippet.row}, position ${snippet.position}`,
      ),
    );
  }

  const visible = (token) => String(token).replaceAll("\n", "↵").replaceAll(" ", "␣");

  return { elements };
})();
