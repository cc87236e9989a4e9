// Filter alarms and results, keep the filter in the address, and open what a link leads to. The page is complete
// without it.
const form = document.getElementById("filter");
const count = document.getElementById("match-count");
const items = [...document.querySelectorAll("[data-k]")].map((element) => ({
  element, kernel: element.dataset.k.toLowerCase(), alarm: element.matches(".warning"),
}));
const folds = [...document.querySelectorAll("details.night,details.group")];
const columnNumber = (name) => [...form.column.options].findIndex((option) => option.text === name) - 1;

const show = () => {
  const words = form.kernel.value.toLowerCase().split(/\s+/).filter(Boolean);
  const column = form.column.value && String(columnNumber(form.column.value));
  const shown = {alarms: 0, results: 0};
  for (const {element, kernel, alarm} of items) {
    const fits = words.every((word) => kernel.includes(word)) && (!column || element.dataset.c === column)
      && (!form.only.checked || "happened" in element.dataset);
    if (element.hidden === fits) element.hidden = !fits;
    if (fits) shown[alarm ? "alarms" : "results"]++;
  }
  for (const fold of folds) {
    fold.hidden = !fold.querySelector("[data-k]:not([hidden])");
    if (words.length && fold.matches(".group")) fold.open = !fold.hidden;
  }
  count.textContent = count.dataset.text.replace(/\{(\w+)\}/g, (_, name) => shown[name]);
};

const address = () => {
  const wanted = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) wanted.set(name, value);
  return wanted.toString();
};
const store = () => {
  const text = address();
  if (text !== location.hash.slice(1)) history.pushState(null, "", text ? `#${text}` : location.pathname);
};

// The fragment is a filter (name=value), or the identifier of an element.
const restore = () => {
  const text = location.hash.slice(1), target = text && document.getElementById(text);
  if (target && !target.closest("[hidden]")) return reveal(target);
  const wanted = new URLSearchParams(target ? "" : text);
  form.kernel.value = wanted.get("kernel") || "";
  form.column.value = columnNumber(wanted.get("column")) >= 0 ? wanted.get("column") : "";
  form.only.checked = wanted.get("only") === "1";
  show();
  if (target) reveal(target);
};
const reveal = (target) => {
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.tabIndex = -1;
  target.scrollIntoView();
  target.focus({preventScroll: true});
};

// The matrix page keeps the theme that its reader chose.
try {
  const theme = localStorage.getItem("tfrepro-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* a page from a file may have no storage */ }
let waiting = 0;
form.addEventListener("input", (event) => {
  clearTimeout(waiting);
  show();
  waiting = setTimeout(store, event.target === form.kernel ? 500 : 0);  // one step back for a word, not for each letter
});
form.addEventListener("reset", () => setTimeout(() => {
  show();
  store();
}));
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", restore);
form.hidden = false;
show();
restore();
