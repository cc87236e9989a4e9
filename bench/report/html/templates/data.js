// Filter and sort the matrix. Everything shown was computed before: this script only hides and moves rows and columns.
const DATA = JSON.parse(document.getElementById("data").textContent);
const MODES = ["off", "on"];
const columns = DATA.columns.map((column, index) => ({...column, index}));
const rows = DATA.rows.map((row, index) => ({...row, index}));
