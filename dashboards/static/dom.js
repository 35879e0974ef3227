/* Elements from a name, attributes and children. What comes from data is only ever text:
   nothing here parses HTML. Knows no sweeps. */
"use strict";

const Dom = (() => {
  const SVG = new Set(["svg", "path", "g", "line", "circle"]);

  /** el("a", {href, class, on: {click}}, "text", child, null): null and false children are left out. */
  function el(name, attributes, ...children) {
    const made = SVG.has(name)
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (key === "style")
        for (const [property, to] of Object.entries(value)) made.style.setProperty(property, to);
      else if (key === "href") made.setAttribute("href", address(value));
      else if (key === "checked" || key === "value" || key === "disabled" || key === "selected") made[key] = value;
      else made.setAttribute(key, value === true ? "" : String(value));
    }
    return add(made, children);
  }

  function add(parent, children) {
    for (const child of children.flat(4)) {
      if (child === null || child === undefined || child === false || child === "") continue;
      parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return parent;
  }

  /** A link may lead to pages only: what is neither http nor relative leads nowhere. */
  function address(value) {
    const text = String(value);
    return /^(https?:\/\/|#|[\w.-]+\/|blob:)/i.test(text) ? text : "#";
  }

  /** Section of a page that is rebuilt only when what it shows has changed. Focus and open details stay. */
  function part(root, name, signature, build) {
    let box = [...root.children].find((child) => child.dataset.part === name);
    if (!box) {
      box = el("section", { "data-part": name });
      root.append(box);
    }
    const key = JSON.stringify(signature);
    if (box.shownAs === key) return box;
    box.shownAs = key;
    const focused = box.contains(document.activeElement) ? document.activeElement.id : "";
    const open = new Map([...box.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    const scrolled = new Map(
      [...box.querySelectorAll(".scroll[id]")].map((one) => [one.id, [one.scrollLeft, one.scrollTop]]),
    );
    const built = [build()].flat(3).filter((one) => one !== null && one !== false && one !== undefined);
    box.replaceChildren(...built);
    box.hidden = built.length === 0;
    for (const one of box.querySelectorAll("details[id]")) if (open.has(one.id)) one.open = open.get(one.id);
    for (const one of box.querySelectorAll(".scroll[id]"))
      if (scrolled.has(one.id)) [one.scrollLeft, one.scrollTop] = scrolled.get(one.id);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    return box;
  }

  /** An id made of words that may hold anything. */
  function idOf(...words) {
    return words
      .map((word) =>
        String(word).replace(/[^A-Za-z0-9]+/g, (found) =>
          [...found].map((c) => c.codePointAt(0).toString(36)).join("_"),
        ),
      )
      .join("-");
  }

  function download(name, text, type) {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** A button that copies; where the browser does not let a page copy, the text is selected instead. */
  function copyButton(text, label) {
    const button = el("button", { type: "button", class: "quiet", on: { click: copy } }, label || "Copy");
    async function copy() {
      const wanted = typeof text === "function" ? text() : text;
      try {
        await navigator.clipboard.writeText(wanted);
        button.textContent = "Copied";
      } catch {
        const field = el("input", { class: "copy-field", readonly: true, value: wanted, "aria-label": "Text to copy" });
        button.after(field);
        field.select();
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => (button.textContent = label || "Copy"), 2500);
    }
    return button;
  }

  return { el, part, idOf, download, copyButton };
})();
