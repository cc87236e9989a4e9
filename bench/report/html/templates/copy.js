// Copy the visible cells as CSV, JSON or Markdown.
const visibleRecords = () => visible.rows.flatMap((row) => visible.columns.flatMap((column) => visible.modes.map((mode) => ({
  kernel: row.kernel, family: row.family, column: column.id, label: column.label, device: column.device, mode,
  ...Object.fromEntries(DATA.cell_fields.map((name) => [name, row.cells[column.index][mode][name] ?? null])),
  run: DATA.run, measured: DATA.measured,
}))));
const asText = (value) => value === null ? "" : typeof value === "number" ? String(Number(value.toPrecision(5))) : value;
const csvField = (value) => {
  // A spreadsheet would run text that starts like a formula.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : asText(value);
  return /[",;\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const markdownField = (value) => asText(value).replace(/[\\`*_[\]<>|~&]/g, (sign) => `\\${sign}`);
const COPY_FORMATS = {
  CSV: (records) => [Object.keys(records[0]), ...records.map(Object.values)]
    .map((record) => record.map(csvField).join(",") + "\r\n").join(""),
  JSON: (records) => JSON.stringify(records, null, 1) + "\n",
  Markdown: (records) => {
    const names = Object.keys(records[0]);
    const body = records.map((record) => names.map((name) => markdownField(record[name])));
    return [names, names.map(() => "---"), ...body].map((line) => `| ${line.join(" | ")} |\n`).join("");
  },
};
const clearCopy = () => {
  byId("copy-status").textContent = "";
  byId("copy-text").hidden = true;
};
const copyVisible = async (format) => {
  const records = visibleRecords();
  const box = byId("copy-text");
  const status = byId("copy-status");
  const report = (outcome) => {
    status.textContent = fillText(status.dataset[outcome], {count: records.length, format});
  };
  clearCopy();
  if (!records.length) return report("empty");
  const text = COPY_FORMATS[format](records);
  try {
    await navigator.clipboard.writeText(text);
    report("copied");
  } catch {  // a page opened from a file often may not write to the clipboard
    box.hidden = false;
    box.value = text;
    box.focus();
    box.select();
    report("refused");
  }
};
