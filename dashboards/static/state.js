/* The whole state of the page is its address after the #: #/frontier/ID?layer=6&loss=e2e,local. */
"use strict";

const State = (() => {
  function read() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const [view, ...ids] = path.split("/").map(decoded);
    return { view: view || "sweeps", ids, query: new URLSearchParams(query || "") };
  }

  function decoded(word) {
    try {
      return decodeURIComponent(word);
    } catch {
      return word;
    }
  }

  function link(view, ids, query) {
    const path = [view, ...ids].map(encodeURIComponent).join("/");
    const rest = new URLSearchParams(query || {}).toString().replaceAll("%2C", ",");
    return `#/${path}${rest ? `?${rest}` : ""}`;
  }

  /** Change some of the state, null for what is as usual. The page goes back over what people chose, not over sliders. */
  function change(changes, { quiet = false } = {}) {
    const { view, ids, query } = read();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "" || value === false) query.delete(name);
      else query.set(name, value === true ? "1" : String(value));
    }
    const hash = link(view, ids, query);
    if (hash === location.hash) return;
    if (!quiet) {
      location.hash = hash;
      return;
    }
    try {
      history.replaceState(null, "", hash);
    } catch {
      location.replace(hash);
    }
  }

  /** What is chosen of a list: null for all. */
  function chosen(query, name) {
    return query.has(name) ? new Set(query.get(name).split(",").filter((one) => one !== "").map(decoded)) : null;
  }

  function listed(values) {
    return [...values].map((one) => encodeURIComponent(one).replaceAll("%20", " ")).join(",");
  }

  return { read, link, change, chosen, listed };
})();
