/* Tables that sort by a click on a heading. Columns: {key, label, title, cell(row), value(row), number}. */
"use strict";

const Tables = (() => {
  const { el } = Dom;
  const MOST = 300;
  const whole = new Set();

  /** The order that people have chosen is in the address: sort-ID=column, or -column for downwards. */
  function orderOf(id) {
    const told = State.read().query.get(`sort-${id}`);
    return told ? { key: told.replace(/^-/, ""), down: told.startsWith("-") } : null;
  }

  function table(id, columns, rows, { caption, empty, mark, hover, sortable = true } = {}) {
    const box = el("div", {
      class: "scroll",
      id: `${id}-scroll`,
      tabindex: "0",
      role: "region",
      "aria-label": caption,
    });
    const fill = () => {
      const order = orderOf(id);
      const shown = order ? inOrder(columns, rows, order) : rows;
      const some = whole.has(id) ? shown : shown.slice(0, MOST);
      const focused = document.activeElement && box.contains(document.activeElement) ? document.activeElement.id : "";
      const head = el(
        "tr",
        {},
        columns.map((column) => heading(id, column, order, sortable && rows.length > 1, fill)),
      );
      const body = some.map((row) => line(columns, row, mark, hover));
      const made = el(
        "table",
        { id },
        el("caption", { class: "unseen" }, caption),
        el("thead", {}, head),
        el("tbody", {}, body),
      );
      const rest = shown.length - some.length;
      const more =
        rest > 0 &&
        el(
          "button",
          { type: "button", class: "quiet more", on: { click: () => (whole.add(id), fill()) } },
          `Show ${rest.toLocaleString("en-US")} more`,
        );
      box.replaceChildren(...[made, more].filter(Boolean));
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    };
    if (!rows.length) return el("p", { class: "muted" }, empty || "Nothing to show.");
    fill();
    return box;
  }

  function heading(id, column, order, sortable, fill) {
    const mine = order && order.key === column.key;
    const sort = mine ? (order.down ? "descending" : "ascending") : null;
    const flip = () => {
      State.change({ [`sort-${id}`]: (mine && !order.down ? "-" : "") + column.key }, { quiet: true });
      fill();
    };
    const inside =
      sortable && column.value !== null
        ? el(
            "button",
            {
              type: "button",
              class: "sort",
              id: Dom.idOf(id, "sort", column.key),
              title: column.title,
              on: { click: flip },
            },
            column.label,
            el("span", { "aria-hidden": "true", class: "arrow" }, mine ? (order.down ? "▼" : "▲") : ""),
          )
        : el("span", { title: column.title }, column.label);
    return el("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": sort }, inside);
  }

  function line(columns, row, mark, hover) {
    const cells = columns.map((column, place) => {
      const inside = column.cell ? column.cell(row) : Text.plain(row[column.key]);
      const attributes = { class: column.number ? "number" : null, "data-label": column.label };
      return place === 0 ? el("th", { scope: "row", ...attributes }, inside) : el("td", attributes, inside);
    });
    const on = hover
      ? {
          pointerenter: () => hover(row),
          pointerleave: () => hover(null),
          focusin: () => hover(row),
          focusout: () => hover(null),
        }
      : {};
    return el("tr", { class: mark ? mark(row) : null, on }, cells);
  }

  function inOrder(columns, rows, { key, down }) {
    const column = columns.find((one) => one.key === key);
    if (!column) return rows;
    const value = column.value || ((row) => row[key]);
    const none = (one) => one === null || one === undefined || Number.isNaN(one);
    return [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (none(x) || none(y)) return none(x) - none(y);
      const way =
        typeof x === "number" && typeof y === "number"
          ? x - y
          : String(x).localeCompare(String(y), "en", { numeric: true });
      return down ? -way : way;
    });
  }

  return { table };
})();
