/* Which view the address asks for, and what keeps it fresh: news from the server, the address, the colour scheme. */
"use strict";

(() => {
  const VIEWS = { sweeps: SweepsView, frontier: FrontierView, compare: CompareView, trial: TrialView };
  const NEEDS = { frontier: 1, trial: 2 };
  const main = document.getElementById("main");
  let shown = "";
  let watched = "";

  function render() {
    const state = State.read();
    const name =
      Object.hasOwn(VIEWS, state.view) && state.ids.filter(Boolean).length >= (NEEDS[state.view] || 0)
        ? state.view
        : "sweeps";
    const view = VIEWS[name];
    const key = JSON.stringify([name, name === "compare" ? [] : state.ids]);
    if (shown !== key) {
      const isFirst = shown === "";
      shown = key;
      Shell.forgetSizes();
      main.replaceChildren();
      main.className = `view-${name}`;
      document.getElementById("status").textContent = "";
      if (!isFirst) {
        scrollTo(0, 0);
        main.focus({ preventScroll: true });
      }
    }
    if (name === "frontier") Shell.leave(state.ids[0], State.hash());
    if (name === "sweeps") Shell.read(Source.get(Source.sweeps()).data);
    for (const link of document.querySelectorAll("nav a")) {
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    view.update(main, state);
    title(name, state);
    const addresses = view.addresses(state);
    if (watched !== JSON.stringify(addresses)) {
      watched = JSON.stringify(addresses);
      Source.watch(addresses, render);
    }
    Shell.drawn();
  }

  function title(name, { ids }) {
    const detail = ids[0] && Source.get(Source.sweep(ids[0])).data;
    const words = {
      sweeps: "Sweeps",
      compare: "Compare",
      frontier: detail ? detail.name : ids[0],
      trial: ids[1] && ((Source.get(Source.trial(...ids)).data || {}).run_name || ids[1]),
    };
    document.title = `${words[name]} · frontiers`;
  }

  function themes() {
    const button = document.getElementById("theme");
    const kept = () => {
      try {
        return localStorage.getItem("theme");
      } catch {
        return null;
      }
    };
    const use = (theme) => {
      if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
      button.textContent = Looks.isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${Looks.isDark() ? "light" : "dark"} colours`);
    };
    use(kept());
    button.addEventListener("click", () => {
      const theme = Looks.isDark() ? "light" : "dark";
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // A page from disk or in a frame may not keep anything.
      }
      use(theme);
      render();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      use(null);
      render();
    });
  }

  async function start() {
    Looks.use(await Source.styles());
    themes();
    if (Source.isReport && !location.hash.startsWith("#/")) {
      const [only] = Source.get(Source.sweeps()).data.sweeps;
      if (only) State.replace(State.link("frontier", [only.id]));
    }
    if (Source.isReport) document.body.dataset.mode = "report";
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      main.focus();
    });
    Shell.onUpdate(render);
    addEventListener("hashchange", render);
    addEventListener("addresskept", () => {
      const { view, ids } = State.read();
      if (view === "frontier") Shell.leave(ids[0], State.hash());
    });
    // In a frame without an address of its own, such as MLflow's viewer, a link of the page would lead out of it.
    document.addEventListener("click", (event) => {
      const link = event.target instanceof Element && event.target.closest('a[href^="#/"]');
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      State.go(link.getAttribute("href"));
    });
    render();
  }

  start();
})();
