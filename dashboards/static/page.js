"use strict";
(async () => {
  const inlined = document.getElementById("data");
  const data = inlined ? JSON.parse(inlined.textContent) : null;
  const list = data ? data.sweeps : await (await fetch("api/sweeps")).json();
  const main = document.getElementById("main");
  for (const sweep of list.sweeps) {
    const line = document.createElement("p");
    line.textContent = `${sweep.name}: ${sweep.state}, ${sweep.n_done} of ${sweep.n_trials} trials, ${sweep.n_rows} rows`;
    main.append(line);
  }
  document.body.dataset.ready = String(list.sweeps.length);
})();
