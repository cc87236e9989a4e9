// The matrix as a grid for the keyboard: one stop of the tab key, and arrow keys inside it.
const scroller = table.parentElement;
const focusTarget = (cell) => find("a,summary,button", cell) || cell;
let activeCell = null;
const activateCell = (cell, takeFocus) => {
  if (activeCell) focusTarget(activeCell).tabIndex = -1;
  activeCell = cell;
  focusTarget(cell).tabIndex = 0;
  if (!takeFocus) return;
  focusTarget(cell).focus({preventScroll: true});
  // The sticky head and the sticky first column must not cover the cell.
  scroller.style.scrollPadding = `${table.tHead.offsetHeight}px 0 0 ${table.rows[0].cells[0].offsetWidth}px`;
  cell.scrollIntoView({block: "nearest", inline: "nearest", behavior: "instant"});
};
// The visible cells of a line, each with the places that it spans. The second line of heads starts at place 1.
const cellSpans = (line) => {
  let place = line.parentElement === table.tHead && line.rowIndex === 1 ? 1 : 0;
  return [...line.cells].filter((cell) => !cell.hidden)
    .map((cell) => ({cell, from: place, to: place += cell.colSpan}));
};
const LINE_STEPS = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10};
const CELL_STEPS = {ArrowRight: 1, ArrowLeft: -1};
const nextCell = (cell, key, withControl) => {
  const visibleLines = [...table.rows].filter((line) => line.checkVisibility() && !line.matches(".evidence"));
  const spans = cellSpans(cell.parentElement);
  const position = spans.findIndex((span) => span.cell === cell);
  if (key in LINE_STEPS && !withControl) {
    const wanted = visibleLines.indexOf(cell.parentElement) + LINE_STEPS[key];
    const target = cellSpans(visibleLines[Math.min(visibleLines.length - 1, Math.max(0, wanted))]);
    return (target.find((span) => span.to > spans[position].from) || target.at(-1)).cell;
  }
  if (key === "Home") return (withControl ? cellSpans(visibleLines[0]) : spans)[0].cell;
  if (key === "End") return (withControl ? cellSpans(visibleLines.at(-1)) : spans).at(-1).cell;
  if (key in CELL_STEPS) return (spans[position + CELL_STEPS[key]] || spans[position]).cell;
  return null;
};
const startKeyboard = () => {
  table.setAttribute("role", "grid");
  for (const cell of findAll("tr:not(.evidence)>*", table)) focusTarget(cell).tabIndex = -1;
  activateCell(find("tbody[data-row] td", table) || table.rows[0].cells[0], false);
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".matrix>*>tr:not(.evidence)>*");
    const next = cell && !event.altKey && !event.metaKey ? nextCell(cell, event.key, event.ctrlKey) : null;
    if (!next) return;
    event.preventDefault();
    activateCell(next, true);
  });
  table.addEventListener("focusin", (event) => {
    const cell = event.target.closest(".matrix>*>tr:not(.evidence)>*");
    if (cell && cell !== activeCell) activateCell(cell, false);
  });
};
