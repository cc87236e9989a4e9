const table = find(".matrix");
const filterForm = byId("filter");
const FILTERS = ["q", "family", "tf", "cuda", "device", "status", "mode", "only", "order"];
const filterField = (name) => filterForm.elements[name];
// Rows are numbered in the order of the document, so the index of a row finds its elements.
const rowBodies = findAll("tbody[data-row]", table);
const familyHeads = findAll("tbody.family", table);
const columnHeads = findAll("thead th[data-column]", table);

// The cells of a line, grouped by column: [off, on], or one cell that spans both where the column has no results.
const groupByColumn = (cells) => {
  const groups = [];
  for (let index = 0; index < cells.length; index++) {
    groups.push(cells[index].colSpan === 1 ? [cells[index], cells[++index]] : [cells[index]]);
  }
  return groups;
};
const modeHeads = groupByColumn([...table.tHead.rows[1].cells]);
const lines = [...familyHeads, ...rowBodies].flatMap((body) =>
  [...body.rows].filter((line) => !line.matches(".evidence")).map((line) => groupByColumn([...line.cells].slice(1))));
const evidenceCells = findAll(".evidence>td", table);

// What the text filter searches: the kernel's name and facts, its statuses, and the notes of its evidence.
const searchTexts = new Map();
const searchText = (row) => {
  if (!searchTexts.has(row.index)) {
    const elements = findAll("tr>th,.tile,dl,.notes", rowBodies[row.index]);
    const text = elements.map((element) => element.textContent).join(" ");
    searchTexts.set(row.index, `${row.family} ${text}`.toLowerCase());
  }
  return searchTexts.get(row.index);
};

// What is visible; `rows` in the order in which they are shown.
const visible = {rows: [], columns: [], modes: MODES};
let orderedRows = rows;

const showModes = (group, columnIsVisible) => {
  if (group.length === 2) {
    group.forEach((cell, mode) => { cell.hidden = !columnIsVisible || !visible.modes.includes(MODES[mode]); });
  } else {
    group[0].hidden = !columnIsVisible;
    group[0].colSpan = visible.modes.length;
  }
};
let shownLayout = "";
const showColumns = () => {
  const indexes = new Set(visible.columns.map((column) => column.index));
  const layout = [...indexes, ...visible.modes].join();
  if (layout === shownLayout) return;  // touching every cell is the slow part: a text filter must not pay for it
  shownLayout = layout;
  columnHeads.forEach((head, index) => { head.hidden = !indexes.has(index); head.colSpan = visible.modes.length; });
  for (const line of [modeHeads, ...lines]) line.forEach((group, index) => showModes(group, indexes.has(index)));
  for (const cell of evidenceCells) cell.colSpan = 1 + Math.max(1, indexes.size * visible.modes.length);
};
const showRows = () => {
  const sorted = Boolean(sortKey());
  const folded = new Set(sorted ? [] : familyHeads.filter(isFolded).map((head) => head.dataset.family));
  const indexes = new Set(visible.rows.filter((row) => !folded.has(row.family)).map((row) => row.index));
  rowBodies.forEach((body, index) => { body.hidden = !indexes.has(index); });
  const families = new Set(visible.rows.map((row) => row.family));
  for (const head of familyHeads) head.hidden = sorted || !families.has(head.dataset.family);
};
// A family folds at a click on its name; a search or a filter opens all of them.
const isFolded = (head) => find("button", head)?.getAttribute("aria-expanded") === "false";
const openFamilies = () => {
  for (const head of familyHeads) find("button", head)?.setAttribute("aria-expanded", "true");
};
const startFolding = () => {
  for (const head of familyHeads) {
    const name = find("span", head);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.setAttribute("aria-expanded", "true");
    name.replaceWith(button);
    button.addEventListener("click", () => {
      button.setAttribute("aria-expanded", String(isFolded(head)));
      showRows();
    });
  }
};
const applyFilter = () => {
  const values = Object.fromEntries(FILTERS.map((name) => [name, filterField(name).value]));
  const words = values.q.toLowerCase().split(/\s+/).filter(Boolean);
  visible.modes = values.mode ? [values.mode] : MODES;
  visible.columns = columns.filter((column) => (!values.tf || column.tensorflow === values.tf)
    && (!values.cuda || column.cuda === values.cuda) && (!values.device || column.device === values.device));
  const hasStatus = (row) => visible.columns.some((column) =>
    visible.modes.some((mode) => row.cells[column.index][mode].statuses.includes(values.status)));
  visible.rows = orderedRows.filter((row) => (!values.family || row.family === values.family)
    && (values.only !== "problems" || row.problem) && (values.only !== "differences" || row.differs)
    && (!values.status || hasStatus(row)) && words.every((word) => searchText(row).includes(word)));
  const filters = FILTERS.filter((name) => values[name] && name !== "order").map((name) => {
    const field = filterField(name);
    return `${field.parentElement.firstChild.data.trim()} ${field.selectedOptions?.[0].text ?? field.value}`;
  });
  if (filters.length) openFamilies();
  showRows();
  showColumns();
  const controls = visible.rows.filter((row) => row.control).length;
  const count = byId("match-count");
  const lead = filters.length ? fillText(count.dataset.filtered, {filters: filters.join(", ")}) : "";
  count.textContent = lead + fillText(count.dataset.text,
    {kernels: visible.rows.length - controls, controls, columns: visible.columns.length});
  clearCopy();
};

// Sorting by what one column has in one mode: the address holds it as "time.COLUMN.MODE". Without it the field "order"
// decides: by family (""), "problems" first, or by "name".
const SORT_FIELDS = {status: "severity", time: "seconds", overhead: "overhead"};
const DESCENDING = ["time", "overhead"];
const sortKeys = (mode) => ["status", "time", ...(mode === "on" ? ["overhead"] : [])];
const currentSort = () => {
  const [key, column, mode] = (address.get("sort") || "").split(".");
  const valid = MODES.includes(mode) && sortKeys(mode).includes(key) && /^\d+$/.test(column) && columns[column];
  return valid ? {key, column: Number(column), mode} : {};
};
const sortKey = () => currentSort().key || filterField("order").value;
const compareText = (one, two) => one < two ? -1 : Number(one > two);
const worstSeverity = (row) => Math.min(...row.cells.flatMap((cell) => MODES.map((mode) => cell[mode].severity ?? 99)));
const controlsLast = (first, second) => first.control - second.control;
const ORDERS = {
  name: (first, second) => controlsLast(first, second) || compareText(first.kernel, second.kernel),
  problems: (first, second) =>
    controlsLast(first, second) || worstSeverity(first) - worstSeverity(second) || first.index - second.index,
};
const compareRows = ({key, column, mode}) => (first, second) => {
  if (first.control !== second.control) return controlsLast(first, second);
  const [one, two] = [first, second].map((row) => row.cells[column][mode][SORT_FIELDS[key]]);
  if (one === undefined || two === undefined) return Number(one === undefined) - Number(two === undefined);
  return DESCENDING.includes(key) ? two - one : one - two;
};
const sortButtons = [];
const applySort = () => {
  const sort = currentSort();
  const order = sort.key ? compareRows(sort) : ORDERS[filterField("order").value];
  orderedRows = order ? [...rows].sort(order) : rows;
  if (order) table.append(...orderedRows.map((row) => rowBodies[row.index]));
  else {
    for (const head of familyHeads) {
      const members = rows.filter((row) => row.family === head.dataset.family);
      table.append(head, ...members.map((row) => rowBodies[row.index]));
    }
  }
  for (const {head, button, column, mode, name} of sortButtons) {
    const active = sort.key && sort.column === column && sort.mode === mode;
    if (active) head.setAttribute("aria-sort", DESCENDING.includes(sort.key) ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    button.textContent = active ? `${name} (${sort.key})` : name;
  }
};
// Turn a head into a button; each click takes the next sort key, and after the last one the original order.
const addSortButton = (head, column, mode) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  const name = head.firstChild.data.trim();
  head.firstChild.remove();
  head.prepend(button);
  const keys = ["", ...sortKeys(mode)];
  button.addEventListener("click", () => {
    const sort = currentSort();
    const active = sort.column === column && sort.mode === mode ? sort.key || "" : "";
    const next = keys[(keys.indexOf(active) + 1) % keys.length];
    setAddress("sort", next && `${next}.${column}.${mode}`);
    applySort();
    applyFilter();
  });
  sortButtons.push({head, button, name, column, mode});
};
