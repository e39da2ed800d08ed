"use strict";
/* The grid: pictures that are decoded when they come near the screen, the search, the choice of a set, the theme. */

const fromPage = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "[]");
const picture = (data) => `data:image/webp;base64,${data}`;
const byId = (id) => document.getElementById(id);
const create = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

(() => {
  const theme = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const name = () => {
    const chosen = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
    theme.textContent = chosen === "dark" ? "Light colours" : "Dark colours";
    return chosen;
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = name() === "dark" ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();

  const tiles = fromPage("tiles");
  const buttons = [...document.querySelectorAll(".tile")];
  const show = (button) => {
    const image = button.firstElementChild;
    if (!image.src) image.src = picture(tiles[button.dataset.set][button.dataset.image]);
  };
  const watcher = new IntersectionObserver(
    (seen) => seen.forEach((entry) => {
      if (!entry.isIntersecting) return;
      entry.target.querySelectorAll(".tile").forEach(show);
      watcher.unobserve(entry.target);
    }),
    { rootMargin: "300px" },
  );
  const items = [...document.querySelectorAll("#classes > li")];
  items.forEach((item) => watcher.observe(item));
  const showAll = () => buttons.forEach(show);
  addEventListener("beforeprint", showAll);
  matchMedia("print").addEventListener("change", (event) => event.matches && showAll());

  byId("search")?.addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().trim().split(/\s+/);
    for (const item of items) item.hidden = !words.every((word) => item.dataset.words.includes(word));
    const left = items.filter((item) => !item.hidden).length;
    byId("found").textContent = left === items.length ? `${left} classes` : `${left} of ${items.length} classes`;
    byId("nothing").hidden = left > 0;
  });
  byId("view")?.addEventListener("change", (event) => {
    const chosen = event.target.value;
    document.querySelectorAll(".tiles").forEach((part) => {
      part.hidden = chosen !== "all" && part.dataset.set !== chosen;
    });
  });
})();
