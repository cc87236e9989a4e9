// Open everything around an element and scroll to it; return it, or null where the page has no such element.
const openElement = (id) => {
  const element = byId(id);
  if (!element) return null;
  for (let parent = element; parent; parent = parent.parentElement) {
    if (parent.tagName === "DETAILS") parent.open = true;
    if (parent.hidden && parent.matches("tbody")) parent.hidden = false;
  }
  // Show the kernel's line of the matrix above its evidence, where both fit into the window.
  const body = element.closest("tbody.kernel-row");
  if (body) find("details", body).open = true;
  const container = body || element;
  const distance = element.getBoundingClientRect().top - container.getBoundingClientRect().top;
  const target = distance < 0.7 * innerHeight ? container : element;
  if (!scroller.contains(target)) {
    target.scrollIntoView();
    return element;
  }
  // Both the window and the matrix scroll: first the matrix comes into view, then the target below its head.
  scroller.scrollIntoView();
  const below = target.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  scroller.scrollTop += below - table.tHead.offsetHeight;
  return element;
};
let lastMatrixLink = null;  // where Escape returns to
const followLink = (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link || link.matches(".skip")) return;
  const id = link.getAttribute("href").slice(1);
  if (!byId(id)) return;
  event.preventDefault();
  if (table.contains(link)) lastMatrixLink = link;
  setAddress("open", id, "pushState");  // before anything scrolls: the Back button returns to where the link was
  const element = openElement(id);
  element.tabIndex = -1;
  element.focus({preventScroll: true});
};
const closeDetails = (event) => {
  if (event.key !== "Escape") return;
  const body = event.target.closest("tbody.kernel-row");  // its evidence is a row below the one that unfolds it
  const details = event.target.closest("details[open]") || (body && find("details[open]", body));
  if (!details) return;
  details.open = false;
  if (!lastMatrixLink || !table.contains(details)) {
    find("summary", details).focus();
    return;
  }
  setAddress("open", "");
  lastMatrixLink.focus();
  lastMatrixLink.closest("th,td").scrollIntoView({block: "center", inline: "nearest"});
};

// The comparison of two columns: show the chosen one of those that the page contains.
const comparisonForm = byId("comparison-form");
const showComparison = () => {
  if (!comparisonForm) return;
  const {from, to} = comparisonForm.elements;
  const [before, after] = [from, to].map((select) => select.selectedOptions[0].dataset.index);
  const isChosen = Boolean(before && after && before !== after);
  const chosen = isChosen ? byId(`compare-${before}-${after}`) : null;
  for (const section of findAll(".comparison")) section.hidden = isChosen && section !== chosen;
  const others = byId("other-comparisons");
  if (others) {
    others.hidden = isChosen && !others.contains(chosen);
    others.open = others.open || others.contains(chosen);
  }
  if (chosen) chosen.open = true;
  const missing = byId("comparison-missing");
  missing.hidden = !isChosen || Boolean(chosen);
  if (!missing.hidden) {
    const command = find("code", missing);
    command.textContent = fillText(command.dataset.text,
      {before: columns[before].argument, after: columns[after].argument});
  }
};
const chooseComparison = () => {
  for (const name of ["from", "to"]) setAddress(name, comparisonForm.elements[name].value);
  showComparison();
};

const loadAddress = (event) => {
  const fragment = location.hash.slice(1);
  const anchor = fragment.includes("=") ? "" : fragment;  // a plain link to a place on the page
  if (!anchor) readAddress(fragment);
  for (const name of FILTERS) setField(filterForm, name);
  if (comparisonForm) for (const name of ["from", "to"]) setField(comparisonForm, name);
  setRequirements();
  applySort();
  applyFilter();
  showComparison();
  const open = address.get("open") || "";
  if (anchor) openElement(anchor);
  else if (open) {
    if (!openElement(open)) setAddress("open", "");  // a link from another page, or a mistyped one
  } else if (event) return;  // after Back, the browser restores the place
  else if (REQUIREMENTS.some((name) => address.has(name))) byId("choose").scrollIntoView();
  else if (address.size) byId("matrix").scrollIntoView();
};

const addOptions = (name, values) => {
  const select = filterField(name);
  for (const value of new Set(values)) select.append(new Option(value));
};
const startFilter = () => {
  addOptions("family", rows.map((row) => row.family));
  addOptions("tf", columns.map((column) => column.tensorflow));
  addOptions("cuda", columns.map((column) => column.cuda));
  addOptions("device", columns.map((column) => column.device));
  for (const name of ["family", "tf", "cuda", "device", "status"]) {
    filterField(name).parentElement.hidden = filterField(name).options.length < 3;  // "all" and one value
  }
  modeHeads.forEach((group, column) => {
    if (group.length === 2) group.forEach((head, mode) => addSortButton(head, column, MODES[mode]));
  });
  filterForm.hidden = false;
  filterForm.addEventListener("submit", (event) => event.preventDefault());
  filterForm.addEventListener("input", (event) => {
    if (!FILTERS.includes(event.target.name)) return;
    setAddress(event.target.name, event.target.value);
    if (event.target.name === "order") {
      setAddress("sort", "");
      applySort();
    }
    applyFilter();
  });
  filterForm.addEventListener("reset", () => setTimeout(() => {  // after the fields were reset
    for (const name of [...FILTERS, "sort"]) setAddress(name, "");
    openFamilies();
    applySort();
    applyFilter();
  }));
  for (const button of findAll("[data-copy]", filterForm)) {
    button.addEventListener("click", () => copyVisible(button.dataset.copy));
  }
};
const startComparison = () => {
  if (!comparisonForm) return;
  const {from, to} = comparisonForm.elements;
  comparisonForm.hidden = false;
  comparisonForm.addEventListener("submit", (event) => event.preventDefault());
  comparisonForm.addEventListener("change", chooseComparison);
  find("button", comparisonForm).addEventListener("click", () => {
    [from.value, to.value] = [to.value, from.value];
    chooseComparison();
  });
};
startFolding();
startFilter();
startComparison();
startTheme();
startKeyboard();
startCharts();
startChoose();
document.addEventListener("click", followLink);
document.addEventListener("keydown", closeDetails);
addEventListener("hashchange", loadAddress);
loadAddress();
