"use strict";
(() => {
  const root = document.documentElement;
  const form = document.getElementById("filter");
  const theme = document.getElementById("theme");
  const told = document.getElementById("told");
  const groups = [...document.querySelectorAll(".matrix tbody")];
  const kernels = groups.filter((group) => group.dataset.text !== undefined);
  const details = [...document.querySelectorAll(".ev")];
  const fields = ["q", "family", "status"].map((name) => form.elements[name]);
  const themes = ["", "light", "dark"];
  let shade = "";

  const fits = (group) => {
    const [text, family, status] = fields.map((field) => field.value);
    return group.dataset.text.includes(text.trim().toLowerCase())
      && (!family || group.dataset.family === family)
      && (!status || group.dataset.words.split("|").includes(status));
  };

  const paint = () => {
    if (shade) root.dataset.theme = shade;
    else delete root.dataset.theme;
    theme.textContent = "Theme: " + (shade || "auto");
  };

  const apply = () => {
    const shown = new Set(kernels.filter(fits));
    for (const group of kernels) group.hidden = !shown.has(group);
    for (const group of groups) {
      if (group.dataset.text === undefined) {
        group.hidden = !kernels.some((one) => shown.has(one) && one.dataset.family === group.dataset.family);
      }
    }
    const names = new Set([...shown].map((group) => group.dataset.row));
    for (const one of details) one.hidden = !names.has(one.dataset.row);
    told.textContent = shown.size + " of " + kernels.length + " rows";
  };

  const save = () => {
    const state = new URLSearchParams();
    for (const field of fields) if (field.value) state.set(field.name, field.value);
    if (shade) state.set("theme", shade);
    history.replaceState(null, "", "#" + state.toString());
  };

  const load = () => {
    const text = location.hash.slice(1);
    if (text && !text.includes("=")) return open(text);
    const state = new URLSearchParams(text);
    for (const field of fields) {
      const value = state.get(field.name) || "";
      const known = field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value);
      field.value = known ? value : "";
    }
    shade = themes.includes(state.get("theme") || "") ? state.get("theme") || "" : "";
    paint();
    apply();
  };

  const open = (id) => {
    const target = document.getElementById(id);
    for (let box = target; box; box = box.parentElement) {
      if (box.tagName === "DETAILS") box.open = true;
      if (box.hidden) box.hidden = false;
    }
    if (target) target.scrollIntoView();
  };

  form.hidden = false;
  theme.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { apply(); save(); });
  form.addEventListener("reset", () => setTimeout(() => { apply(); save(); }));
  theme.addEventListener("click", () => {
    shade = themes[(themes.indexOf(shade) + 1) % themes.length];
    paint();
    save();
  });
  addEventListener("hashchange", load);
  paint();
  apply();
  load();
})();
