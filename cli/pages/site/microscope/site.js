"use strict";
(() => {
  const root = document.body.dataset.root, index = window.ONNXRAY_SITE || { layers: [] };
  const input = document.querySelector(".search input"), list = document.querySelector(".results");
  const MOST = 24;

  // Everything that can be found, as [words, kind, address]; units are made when they are asked for.
  function* found(words, number) {
    for (const layer of index.layers) {
      const name = layer.name.toLowerCase(), folder = `${root}layers/${layer.slug}/`;
      const fits = words.every((word) => name.includes(word));
      if (fits && number === null) yield [layer.name, `${layer.units.length} units`, `${folder}index.html`];
      if (fits && number !== null && layer.units.includes(number)) yield [`${layer.name} ${number}`, "unit", `${folder}${number}.html`];
    }
    for (const layer of index.layers) {
      for (const [place, label] of (layer.labels || []).entries()) {
        const text = label.toLowerCase();
        const all = number === null ? words : [...words, String(number)];
        if (all.every((word) => text.includes(word))) yield [label, "class", `${root}layers/${layer.slug}/${layer.units[place]}.html`];
      }
    }
  }

  function search() {
    const words = input.value.toLowerCase().split(/[\s:]+/).filter(Boolean);
    const last = words.at(-1);
    const number = last && /^\d+$/.test(last) ? Number(words.pop()) : null;
    list.replaceChildren();
    list.hidden = !last;
    if (!last) return;
    const seen = new Set();
    for (const parts of [[words, number], [[...words, ...(number === null ? [] : [last])], null]]) {
      for (const [title, kind, address] of found(...parts)) {
        if (seen.size >= MOST) break;
        if (seen.has(address)) continue;
        seen.add(address);
        const item = document.createElement("li"), link = document.createElement("a"), note = document.createElement("small");
        link.href = address;
        link.textContent = title;
        note.textContent = kind;
        link.append(note);
        item.append(link);
        list.append(item);
      }
    }
    if (!seen.size) {
      const nothing = document.createElement("p");
      nothing.textContent = "Nothing is called so.";
      list.append(nothing);
    }
  }

  input.addEventListener("input", search);
  input.addEventListener("focus", search);
  document.querySelector(".search").addEventListener("submit", (event) => {
    event.preventDefault();
    const first = list.querySelector("a");
    if (first) location.href = first.href;
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".search")) list.hidden = true;
  });

  // Focus to the next or previous link of a list.
  function move(links, step) {
    const at = links.indexOf(document.activeElement);
    const next = links[at + step] || (at < 0 ? links[0] : null);
    if (next) next.focus();
    return Boolean(next);
  }

  function go(relation) {
    const link = document.querySelector(`link[rel="${relation}"]`);
    if (link) location.href = link.href;
    return Boolean(link);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const down = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (event.target.closest(".search")) {
      if (event.key === "Escape") { list.hidden = true; input.blur(); }
      if (event.key.startsWith("Arrow") && down) {
        event.preventDefault();
        if (!move([...list.querySelectorAll("a")], down)) input.focus();
      }
      return;
    }
    if (/^(input|select|textarea|button)$/i.test(event.target.tagName)) return;
    const steps = [...document.querySelectorAll("a.step")].filter((link) => link.offsetParent);
    const done = {
      "/": () => { input.focus(); return true; },
      ArrowLeft: () => go("prev"),
      ArrowRight: () => go("next"),
      ArrowUp: () => (steps.includes(document.activeElement) ? move(steps, -1) : go("up")),
      ArrowDown: () => steps.includes(document.activeElement) && move(steps, 1),
      j: () => move(steps, 1),
      k: () => move(steps, -1),
    }[event.key];
    if (done && done()) event.preventDefault();
  });
})();
