/* The whole state of the page is its address after the #: #/frontier/ID?layer=6&loss=e2e,local. */
"use strict";

const State = (() => {
  /** Where the address cannot be changed, as in a frame that may run scripts and nothing else, it is kept here. */
  let kept = null;
  const hash = () => kept ?? location.hash;

  /** Go to a view, as a link does. */
  function go(to) {
    try {
      location.hash = to;
    } catch {
      // The frame does not let it.
    }
    if (kept === null && location.hash === to) return;
    kept = to;
    dispatchEvent(new Event("hashchange"));
  }

  function read() {
    const [path, query] = hash()
      .replace(/^#\/?/, "")
      .split(/\?(.*)/s);
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
    const to = link(view, ids, query);
    if (to === hash()) return;
    if (quiet) replace(to);
    else go(to);
  }

  /** The same without a step to go back over, and without drawing anew. */
  function replace(to) {
    try {
      history.replaceState(null, "", to);
    } catch {
      kept = to;
    }
    if (kept !== null) kept = to;
    dispatchEvent(new Event("addresskept"));
  }

  /** What is chosen of a list: null for all. */
  function chosen(query, name) {
    return query.has(name)
      ? new Set(
          query
            .get(name)
            .split(",")
            .filter((one) => one !== "")
            .map(decoded),
        )
      : null;
  }

  function listed(values) {
    return [...values].map((one) => encodeURIComponent(one).replaceAll("%20", " ")).join(",");
  }

  return { hash, read, link, go, change, replace, chosen, listed };
})();
