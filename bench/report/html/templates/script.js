// Filters, order, permalink, copies, theme, and the matrix as a grid. The page is complete without all this.
const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
// An element with attributes and children; text stays text.
const make = (tag, facts = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const option = (value, words = value) => make("option", {value}, words);

const table = find(".matrix");
const scroller = table.parentElement;
const filter = byId("filter");
const field = (name) => filter.elements[name];
const bodies = new Map(all("tbody[data-row]", table).map((one) => [Number(one.dataset.row), one]));
const families = all("tbody.family", table);
const evidence = new Map(all(".ev").map((one) => [Number(one.dataset.row), one]));
const heads = all("thead th[data-c]", table);
const state = new URLSearchParams();
const FIELDS = ["q", "family", "tf", "cuda", "device", "status", "mode"];

// The columns of every row by column: off and on, or one for both.
const walk = (columns) => {
  const found = [];
  for (let at = 0; at < columns.length; at++) {
    const pair = columns[at].colSpan === 1;
    found.push(pair ? [columns[at], columns[at + 1]] : [columns[at]]);
    at += pair;
  }
  return found;
};
const grid = [...bodies].flatMap(([row, body]) => [...body.rows].map((tr, at) => ({row, under: at > 0, columns: walk([...tr.columns].slice(1))})));
const modeHeads = walk([...table.tHead.rows[1].columns]);
const lead = new Map(grid.filter((one) => !one.under).map((one) => [one.row, one.columns]));
const wordsOf = (column) => {
  const told = find("a,.chip", column);
  return told ? told.textContent.trim().split(/\s+/).slice(1).join(" ") : "";
};
const wordsIn = (line) => line.map((pair) => [pair[0], pair[1] || pair[0]].map(wordsOf));
// The status that leads: what the first screen counts, and what the status filter looks for.
const leading = memo((row) => wordsIn(lead.get(row)));

// What the text filter looks through: a kernel with its facts, its statuses, and what is said of them.
const texts = memo((row) => [bodies.get(row).rows[0].columns[0], ...all(".notes", evidence.get(row))].map((one) => one.textContent)
  .concat(kernels[row].family, ...grid.filter((one) => one.row === row).map((one) => wordsIn(one.columns))).join(" ").toLowerCase());
let shownRows = [];
let shownColumns = columns;
let shownModes = [0, 1];
const cover = (pair, wanted) => {
  if (pair.length < 2) {
    pair[0].hidden = !wanted;
    pair[0].colSpan = shownModes.length;
  } else pair.forEach((column, mode) => { column.hidden = !wanted || !shownModes.includes(mode); });
};
let layout = "";
const filterNow = () => {
  const [q, family, tf, cuda, device, word, mode] = FIELDS.map((name) => field(name).value);
  const needles = q.toLowerCase().split(/\s+/);
  shownModes = mode ? [MODES.indexOf(mode)] : [0, 1];
  shownColumns = columns.filter((one) => (!tf || one.tf === tf) && (!cuda || one.cuda === cuda) && (!device || one.device === device));
  const has = (row) => shownColumns.some((one) => shownModes.some((at) => leading(row)[one.place][at] === word));
  shownRows = kernels.filter((one) => {
    return needles.every((part) => !part || texts(one.row).includes(part)) && (!family || one.family === family) && (!word || has(one.row));
  });
  const rows = new Set(shownRows.map((one) => one.row));
  const sorted = Boolean(order().key);
  for (const [row, body] of bodies) body.hidden = !rows.has(row);
  for (const [row, one] of evidence) one.hidden = !rows.has(row);
  for (const one of families) one.hidden = sorted || !shownRows.some((kernel) => kernel.family === one.dataset.family);
  const key = JSON.stringify([shownColumns.map((one) => one.place), shownModes]);
  if (key !== layout) {
    layout = key;
    const wanted = new Set(shownColumns.map((one) => one.place));
    heads.forEach((one, place) => { one.hidden = !wanted.has(place); one.colSpan = shownModes.length; });
    modeHeads.forEach((pair, place) => cover(pair, wanted.has(place)));
    for (const one of grid) one.columns.forEach((pair, place) => cover(pair, wanted.has(place)));
    for (const one of families) if (one.rows[0].columns[1]) one.rows[0].columns[1].colSpan = Math.max(1, wanted.size * shownModes.length);
  }
  const controls = kernels.filter((one) => one.control).length;
  const some = shownRows.filter((one) => one.control).length;
  byId("copied").textContent = "";
  byId("copy").hidden = true;
  byId("told").textContent = `${shownRows.length ? "" : "Nothing matches: "}${shownRows.length - some} of ${count(planned.length, "kernel")}, `
    + (controls ? `${some} of ${count(controls, "control")}, ` : "") + `${shownColumns.length} of ${count(columns.length, "pair")}` + (mode ? `, determinism ${mode} only` : "");
};

// Order: by name, or by what one column has in one mode. Unknown comes last.
const order = () => {
  const [key, place, mode] = (state.get("sort") || "").split(".");
  if (key === "name") return {key};
  const at = MODES.indexOf(mode);
  const known = ["status", "time", ...(at ? ["overhead"] : [])].includes(key) && columns[place] && at >= 0 && String(Number(place)) === place;
  return known ? {key, place: Number(place), mode: at} : {};
};
const timeOf = (kernel, place, mode) => {
  const told = head(kernel, place, mode);
  const found = told && !told.variation ? result(kernel, place, mode) : null;
  return found && found.times ? median(found.times) : null;
};
const overheadAt = (kernel, place) => {
  const told = head(kernel, place, 1);
  const found = told && !told.variation ? overhead(`${kernel.row} ${place}`) : null;
  return found && found.resolved ? found : null;
};
const rank = (kernel, {key, place, mode}) => {
  if (key === "status") return head(kernel, place, mode) ? head(kernel, place, mode).status.number : null;
  const found = key === "time" ? timeOf(kernel, place, mode) : overheadAt(kernel, place)?.value;
  return found ? -found : null;
};
const sorts = [];
const sortNow = () => {
  const by = order();
  const compare = (a, b) => {
    if (by.key === "name") return a.name < b.name ? -1 : Number(a.name > b.name);
    const [one, other] = [rank(a, by), rank(b, by)];
    return one === null || other === null ? Number(one === null) - Number(other === null) : one - other;
  };
  if (by.key) table.append(...[...kernels].sort((a, b) => a.control - b.control || compare(a, b)).map((one) => bodies.get(one.row)));
  else for (const one of families) table.append(one, ...kernels.filter((kernel) => kernel.family === one.dataset.family).map((kernel) => bodies.get(kernel.row)));
  for (const {th, button, place, mode, name} of sorts) {
    const here = by.key && (by.key === "name" ? place === undefined : by.place === place && by.mode === mode);
    const word = {time: "descending", overhead: "descending"}[by.key] || "ascending";
    if (here) th.setAttribute("aria-sort", word);
    else th.removeAttribute("aria-sort");
    button.textContent = here ? `${name}, by ${by.key}` : name;
  }
};
const sorter = (th, name, place, mode) => {
  const button = make("button", {type: "button", class: "sort"});
  for (const node of [...th.childNodes]) if (node.nodeType === 3 && node.textContent.trim() === name) node.remove();
  th.prepend(button);
  const keys = place === undefined ? ["", "name"] : ["", ...["status", "time", "overhead"].slice(0, 2 + mode)];
  button.addEventListener("click", () => {
    const by = order();
    const here = by.place === place && by.mode === mode ? by.key || "" : "";
    const next = keys[(keys.indexOf(here) + 1) % keys.length];
    keep("sort", next && (next === "name" ? next : `${next}.${place}.${MODES[mode]}`));
    sortNow();
    filterNow();
  });
  sorts.push({th, button, name, place, mode});
};

// The address holds all that was chosen; whatever does not fit this page is left out.
const keep = (name, value, way = "replaceState") => {
  if (value) state.set(name, value);
  else state.delete(name);
  const told = state.toString();
  history[way](null, "", told ? `#${told}` : location.pathname + location.search);
};
const THEMES = ["", "light", "dark"];
const paint = () => {
  const shade = state.get("theme") || "";
  if (shade) document.documentElement.dataset.theme = shade;
  else delete document.documentElement.dataset.theme;
  byId("theme").textContent = `Theme: ${shade || "auto"}`;
};
const stored = (shade) => {
  try {
    if (shade === undefined) return localStorage.getItem("tfrepro-theme") || "";
    localStorage.setItem("tfrepro-theme", shade);
  } catch { /* a page from a file may not store anything */ }
  return "";
};
const open = (id) => {
  const target = byId(id);
  for (let box = target; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
    if (box.hidden && box.matches(".ev,tbody")) box.hidden = false;
  }
  if (!target) return null;
  // with the kernel's name above it, where both find room
  const box = target.closest(".one") || target;
  const away = target.getBoundingClientRect().top - box.getBoundingClientRect().top;
  (away < innerHeight / 2 ? box : target).scrollIntoView();
  return target;
};
const loaders = [];
const load = () => {
  const told = location.hash.slice(1);
  const place = told.includes("=") ? "" : told;  // of a plain link to a place of the page
  if (!place) for (const name of [...state.keys()]) state.delete(name);
  if (!place) for (const [name, value] of new URLSearchParams(told)) state.set(name, value);
  for (const name of FIELDS) {
    const value = state.get(name) || "";
    const one = field(name);
    one.value = one.tagName !== "SELECT" || [...one.options].some((known) => known.value === value) ? value : "";
    if (!one.value) state.delete(name);
  }
  const shade = state.get("theme") || stored();
  if (THEMES.includes(shade) && shade) state.set("theme", shade);
  else state.delete("theme");
  paint();
  sortNow();
  filterNow();
  for (const one of loaders) one();
  const wanted = place || state.get("open") || "";
  if (place || /^d\d+-\d+$/.test(wanted)) open(wanted);
};

// Copies of what is shown.
const records = () => {
  const rows = all("tbody[data-row]", table).map((body) => kernels[Number(body.dataset.row)]).filter((one) => shownRows.includes(one));
  return rows.flatMap((kernel) => shownColumns.flatMap((column) => shownModes.map((mode) => {
    const pair = lead.get(kernel.row)[column.place];
    const column = pair[mode] || pair[0];
    const paid = mode ? overheadAt(kernel, column.place) : null;
    const whole = head(kernel, column.place, mode);
    const exact = whole && whole.status.name === "reproducible";
    const told = (selector, glue) => all(selector, column).map((one) => one.textContent.trim()).join(glue);
    return {
      kernel: kernel.name, family: kernel.family, pair: column.label, column: column.column, device: column.device, mode: MODES[mode],
      status: wordsOf(column), variation: (whole && whole.variation) || "", compared: exact ? whole.compared : null,
      bound_percent: exact ? whole.percent : null, bits: told("b", " "), seconds: timeOf(kernel, column.place, mode),
      overhead: paid ? paid.value : null, overhead_low: paid ? paid.low : null, overhead_high: paid ? paid.high : null, shown: told("p", "; "),
    };
  })));
};
const plain = (value) => value === null ? "" : typeof value === "number" ? String(Number(value.toPrecision(5))) : value;
// A spreadsheet must not take a name for a formula.
const csv = (value) => {
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : plain(value);
  return /[",;\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const mark = (value) => plain(value).replace(/[\\`*_{}[\]<>()#+!|~&=@:-]/g, (sign) => /[\\`*_[\]<>|~&]/.test(sign) ? `\\${sign}` : sign);
const FORMATS = {
  CSV: (rows) => [Object.keys(rows[0]), ...rows.map(Object.values)].map((row) => row.map(csv).join(",")).join("\r\n") + "\r\n",
  JSON: (rows) => JSON.stringify(rows, null, 1) + "\n",
  Markdown: (rows) => {
    const keys = Object.keys(rows[0]).filter((key) => key !== "column");
    const lines = [keys, keys.map(() => "---"), ...rows.map((row) => keys.map((key) => mark(row[key])))];
    return lines.map((line) => `| ${line.join(" | ")} |`).join("\n") + "\n";
  },
};
const copy = async (format) => {
  const rows = records();
  const box = byId("copy");
  const told = byId("copied");
  const made = rows.length ? FORMATS[format](rows) : "";
  box.hidden = true;
  if (!made) told.textContent = "There is nothing to copy.";
  else {
    try {
      await navigator.clipboard.writeText(made);
      told.textContent = `Copied ${count(rows.length, "result")} as ${format}.`;
    } catch {
      box.hidden = false;
      box.value = made;
      box.focus();
      box.select();
      told.textContent = `Not allowed to copy; ${count(rows.length, "result")} as ${format} stand in the field, selected.`;
    }
  }
};

// The matrix as a grid: one stop of the tab key, arrows inside it.
const target = (column) => find("a,summary,button", column) || column;
let active = null;
const stop = (column, focus) => {
  if (active) target(active).tabIndex = -1;
  active = column;
  target(column).tabIndex = 0;
  if (!focus) return;
  target(column).focus({preventScroll: true});
  // what sticks must not cover it
  scroller.style.scrollPadding = `${table.tHead.offsetHeight}px 0 0 ${table.rows[0].columns[0].offsetWidth}px`;
  column.scrollIntoView({block: "nearest", inline: "nearest", behavior: "instant"});
};
const lineOfCells = (row) => {
  let at = row.parentElement.tagName === "THEAD" && row.rowIndex === 1 ? 1 : 0;
  return [...row.columns].filter((column) => !column.hidden).map((column) => ({column, from: at, to: at += column.colSpan}));
};
const move = (event) => {
  const column = event.target.closest("th,td");
  if (!column || event.altKey || event.metaKey) return;
  const rows = [...table.rows].filter((row) => row.getClientRects().length && !row.closest(".family"));
  const line = lineOfCells(column.parentElement);
  const at = line.findIndex((one) => one.column === column);
  const row = rows.indexOf(column.parentElement);
  const ends = event.ctrlKey;
  const down = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10}[event.key];
  let next = null;
  if (down && !ends) {
    const found = lineOfCells(rows[Math.min(rows.length - 1, Math.max(0, row + down))]);
    next = (found.find((one) => one.to > line[at].from) || found[found.length - 1]).column;
  } else if (event.key === "Home" || event.key === "End") {
    const found = ends ? lineOfCells(rows[event.key === "Home" ? 0 : rows.length - 1]) : line;
    next = found[event.key === "Home" ? 0 : found.length - 1].column;
  } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") next = (line[at + (event.key === "ArrowRight" ? 1 : -1)] || line[at]).column;
  if (!next) return;
  event.preventDefault();
  stop(next, true);
};
let cameFrom = null;
const goTo = (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link || link.matches(".skip")) return;
  event.preventDefault();
  const id = link.getAttribute("href").slice(1);
  const found = open(id);
  if (!found) return;
  cameFrom = table.contains(link) ? link : cameFrom;
  if (/^d/.test(id)) keep("open", id, "pushState");
  found.tabIndex = -1;
  found.focus({preventScroll: true});
};

const choices = (name, values) => field(name).append(...[...new Set(values)].map((one) => option(one)));
const start = () => {
  choices("family", kernels.map((one) => one.family));
  choices("tf", columns.map((one) => one.tf));
  choices("cuda", columns.map((one) => one.cuda));
  choices("device", columns.map((one) => one.device));
  for (const name of ["family", "tf", "cuda", "device", "status"]) field(name).parentElement.hidden = field(name).options.length < 3;
  sorter(table.tHead.rows[0].columns[0], "Kernel");
  modeHeads.forEach((pair, place) => { if (pair.length > 1) pair.forEach((th, mode) => sorter(th, MODES[mode], place, mode)); });
  for (const one of [filter, byId("theme")]) one.hidden = false;
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", (event) => {
    if (!FIELDS.includes(event.target.name)) return;
    keep(event.target.name, event.target.value);
    filterNow();
  });
  filter.addEventListener("reset", () => setTimeout(() => {
    for (const name of [...FIELDS, "sort"]) keep(name, "");
    sortNow();
    filterNow();
  }));
  for (const one of all("[data-copy]", filter)) one.addEventListener("click", () => copy(one.dataset.copy));
  byId("theme").addEventListener("click", () => {
    const shade = THEMES[(THEMES.indexOf(state.get("theme") || "") + 1) % THEMES.length];
    stored(shade);
    keep("theme", shade);
    paint();
  });
  table.setAttribute("role", "grid");
  for (const column of all("th,td", table)) target(column).tabIndex = -1;
  stop((find("tbody[data-row] td", table) || table.rows[0].columns[0]), false);
  table.addEventListener("keydown", move);
  table.addEventListener("focusin", (event) => {
    const column = event.target.closest("th,td");
    if (column && column !== active) stop(column, false);
  });
  document.addEventListener("click", goTo);
  document.addEventListener("keydown", (event) => {
    const box = event.key === "Escape" && event.target.closest("details[open]");
    if (!box) return;
    box.open = false;
    if (!cameFrom || !byId("evidence").contains(box)) return find("summary", box).focus();
    keep("open", "");
    cameFrom.focus();
    cameFrom.closest("td").scrollIntoView({block: "center", inline: "nearest"});
  });
  addEventListener("hashchange", load);
};
