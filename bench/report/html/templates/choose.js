// Which columns fit a question: the rules of bench/verdict/ranking.py, which stand on the page too.
const FITS = ["fits", "unknown", "does not fit"];
const SIGNS = [["✓", "good"], ["?", "control-failed"], ["✗", "bad"]];
const NEVER = ["not-run", "outdated", "mismatch", "image-missing", "build-failed", "gpu-not-visible"];
const NOT_RUN = DATA.statuses.findIndex((one) => one[0] === "not-run");

// A glob as Python's fnmatchcase reads it.
const glob = (pattern) => {
  const told = pattern.replace(/\[!?\]?[^\]]*\]|[^]/g, (one) => {
    if (one === "*") return "[^]*";
    if (one === "?") return "[^]";
    if (one.length < 3) return one.replace(/[^\w]/, "\\$&");
    const inside = one.slice(1, -1);
    return `[${inside.replace(/^!/, "").replace(/[\\\]^[]/g, "\\$&").replace(/^/, inside[0] === "!" ? "^" : "")}]`;
  });
  try {
    return new RegExp(`^(?:${told})$`);
  } catch {
    return /^(?!)/;
  }
};
const asked = (question) => {
  const globs = question.kernels.map(glob);
  const meant = (one) => question.needs.includes(one.family) || globs.some((fits) => fits.test(one.name));
  if (!question.needs.length && !globs.length) return {kernels: planned, absent: []};
  return {
    kernels: planned.filter(meant),
    absent: question.kernels.filter((_, at) => !planned.some((one) => globs[at].test(one.name))),
  };
};
const CHIP = /^(pcie|sxm\d?|nvl|hbm\d?e?|\d+gb|[0-9a-f]{8})$/;
const isOne = (model, device) => model === device
  || model.startsWith(`${device}-`) && model.slice(device.length + 1).split("-").every((part) => CHIP.test(part));
const elsewhere = (column, device) => {
  if (device === "cpu") return column.model === "cpu" ? "" : `measured on ${column.model}, which says nothing about a CPU`;
  if (column.model === "cpu") return device ? "measured on a CPU, which says nothing about a GPU" : "";
  if (device && !device.startsWith("sm_") && !isOne(column.model, device)) return `measured on ${column.model}, not on ${device}`;
  if (device.startsWith("sm_") && column.chips.join() !== device) {
    return `measured on ${column.model} (${column.chips.join(", ") || "compute capability not recorded"}), not on ${device}`;
  }
  return "";
};
const bill = (place, wanted) => {
  const paid = wanted.map((one) => [one.name, overhead(`${one.row} ${place}`)]).filter((one) => one[1]);
  const stated = paid.filter((one) => one[1].resolved).sort((a, b) => a[1].value - b[1].value);
  const low = paid.length ? median(paid.map((one) => one[1].low || 0)) : 0;
  const high = paid.length ? median(paid.map((one) => one[1].high || Infinity)) : Infinity;
  const bound = low > 0 && high < Infinity;
  return {
    priced: paid.length, resolved: stated.length, dearest: stated[stated.length - 1], low: bound ? low : null,
    high: bound ? high : null, median: paid.length ? median(paid.map((one) => one[1].value)) : null,
  };
};
// Overheads under the variations behind the first one that were timed, too.
const otherOverheads = (kernel, place) => (DATA.overheads[`${kernel.row} ${place}`] || [])
  .map(([low, high, resolved]) => ({low, high, resolved}));
const candidate = (column, question, wanted) => {
  const {place} = column;
  const heads = wanted.kernels.map((kernel) => ({kernel, ...(head(kernel, place, 1) || {status: status(NOT_RUN), variation: ""})}));
  const measured = heads.some((one) => !one.status.unmeasured);
  const found = {column, exact: 0, kernels: heads.length, rank: null, tied: false, reasons: [], unknowns: [], percent: 100, bill: bill(place, [])};
  let other = elsewhere(column, question.device);
  if (other && !measured) other = "not run on the device asked about";
  if (other) return {...found, fit: 1, unknowns: [{kind: "elsewhere", told: other}]};
  const exact = heads.filter((one) => one.status.name === "reproducible");
  const concern = (one) => (one.answer ? found.reasons : found.unknowns).push(one);
  if (column.blocked) concern({kind: column.blocked.name, answer: column.blocked.answer, told: column.blocked.word + (column.why ? `: ${column.why}` : "")});
  else {
    DATA.statuses.forEach((_, number) => {
      const group = heads.filter((one) => one.status.number === number);
      if (!group.length || group[0].status.name === "reproducible") return;
      const names = group.map((one) => one.kernel.name + (one.variation ? ` (${one.variation})` : ""));
      concern({kind: group[0].status.name, answer: group[0].status.answer, told: `${group[0].status.word} (${names.length}): ${listed(names, 4)}`});
    });
  }
  if (question.most !== null) {
    const paid = heads.map((one) => [one.kernel.name, overhead(`${one.kernel.row} ${place}`), one.status.name === "reproducible", otherOverheads(one.kernel, place)]);
    const over = (one) => one && one.resolved && one.low > question.most;
    const under = (one) => one && one.high !== null && one.high <= question.most;
    const dear = paid.filter((one) => over(one[1]) || one[3].some(over));
    const unsure = paid.filter((one) => one[2] && !dear.includes(one) && !(under(one[1]) && one[3].every(under)));
    const names = (group) => `×${question.most} (${group.length}): ${listed(group.map((one) => one[0]), 4)}`;
    if (dear.length) found.reasons.push({kind: "dear", told: `dearer than ${names(dear)}`});
    if (unsure.length) found.unknowns.push({kind: "overhead", told: `overhead not known to be within ${names(unsure)}`});
  }
  if (wanted.absent.length) found.unknowns.push({kind: "absent", told: `not in this run (${wanted.absent.length}): ${listed(wanted.absent, 4)}`});
  if (!heads.length && !wanted.absent.length) found.unknowns.push({kind: "nothing", told: "no kernel is asked for"});
  return {
    ...found, fit: found.reasons.length ? 2 : found.unknowns.length ? 1 : 0, rank: measured ? 1 : null, exact: exact.length,
    compared: Math.min(...exact.map((one) => one.compared)), percent: Math.max(0, ...exact.map((one) => one.percent)) || 100,
    bill: bill(place, wanted.kernels),
  };
};
const ranked = (found) => {
  const measured = found.filter((one) => one.rank !== null);
  const order = (a, b) => (a.fit > 0) - (b.fit > 0) || b.reproducible - a.reproducible || a.fit - b.fit;
  const lower = (a, b) => a.high !== null && b.low !== null && a.high < b.low;
  const ahead = (one, other) => (order(other, one) || (lower(other.bill, one.bill) ? -1 : 0)) < 0;
  for (const one of measured) one.rank = 1 + measured.filter((other) => ahead(one, other)).length;
  for (const one of measured) one.tied = measured.some((other) => other !== one && other.rank === one.rank);
  return [...found].sort((a, b) => (a.rank === null) - (b.rank === null) || a.rank - b.rank || a.fit - b.fit);
};
const billText = (found) => {
  if (!found.priced) return "no overhead";
  const bound = found.low !== null;
  const clear = bound && !(found.low <= 1 && found.high >= 1) && found.high <= found.low * 2;
  const number = clear ? `×${significant(found.median)} ${span(found)}` : `not resolved${bound ? ` ${span(found)}` : ""}`;
  const told = `median of ${count(found.priced, "overhead")} ${number}`;
  if (!found.dearest) return `${told}; none stated`;
  return `${told}; ${found.resolved} stated, dearest ×${significant(found.dearest[1].value)} ${found.dearest[0]}`;
};
const quote = (one) => one && !/[^\w@%+=:,./-]/.test(one) ? one : `'${one.replaceAll("'", `'"'"'`)}'`;
const missing = (question, found, wanted) => {
  const known = found.filter((one) => !one.column.here);
  const stems = (group) => [...new Set(group.map((one) => one.column.column.split("@")[0]))];
  const narrow = question.needs.length || question.kernels.length;
  const names = narrow ? [...wanted.kernels.map((one) => one.name), ...wanted.absent] : [];
  const own = narrow && wanted.absent.length;
  const told = [];
  const lack = (why, pairs, flags = "") => told.push({
    why: why + (own ? ` FILE is the one that declares ${listed(wanted.absent)}.` : ""),
    command: ["nox -s matrix --", ["", "standard"].includes(DATA.profile) ? "" : `--profile ${quote(DATA.profile)}`,
      pairs.length ? `--env ${quote(pairs.join(","))}` : "", names.length ? `--kernels ${quote(names.join(","))}` : "",
      own ? "--kernel-file FILE" : "", flags].filter(Boolean).join(" "),
  });
  const has = (one, kinds) => one.unknowns.some((concern) => kinds.includes(concern.kind));
  const why = `${DATA.rounds} processes a mode bring the bound to ${DATA.goal} % where none differs, and narrow overheads.`;
  const groups = [
    [known.filter((one) => one.fit === 1 && has(one, ["inconclusive", "overhead"])), "Too little evidence"],
    [known.filter((one) => one.fit === 0 && one.percent > DATA.goal), "Exact, but on few processes"],
  ];
  for (const [group, what] of groups) {
    const best = stems(group).slice(0, 5);
    if (best.length) lack(`${what}: ${listed(best, 5)}. ${why}`, best, `--rounds ${DATA.rounds}`);
  }
  const never = stems(known.filter((one) => has(one, NEVER))).slice(0, 5);
  if (never.length) lack(`Not measured to the end: ${listed(never, 5)}.`, never);
  if (wanted.absent.length && known.some((one) => has(one, ["absent"]))) lack(`Not in this run: ${listed(wanted.absent)}.`, stems(known).slice(0, 5));
  const gpu = question.device !== "cpu";
  const there = stems(known.filter((one) => has(one, ["elsewhere"]))).filter((one) => one.includes("-cuda") === gpu);
  if (there.length) {
    const where = gpu ? ` Run it on a host with ${question.device || "a GPU"}.` : "";
    const few = there.slice(0, 5);
    const rest = there.length > 5 ? `; ${there.length - 5} more could be` : "";
    lack(`Not run: ${listed(few, 5)}${rest}.${where}`, few, `--device ${gpu ? "gpu" : "cpu"}`);
  }
  return told;
};
const choice = (question) => {
  const wanted = asked(question);
  const found = ranked(columns.map((one) => candidate(one, question, wanted)));
  const fitting = found.filter((one) => one.fit === 0);
  const best = fitting.filter((one) => one.rank === 1).map((one) => one.column.label);
  const unknown = found.filter((one) => one.fit === 1).length;
  const rest = unknown ? ` Unknown: ${unknown} of ${found.length}.` : "";
  const number = count(wanted.kernels.length + wanted.absent.length, "kernel");
  const words = [...question.needs, ...question.kernels];
  const named = words.length ? `${listed(words, 8)}: ${number}` : kernels.length ? `All ${number} of the run` : "All kernels";
  return {
    sentence: !found.length ? "There is no pair." : !fitting.length ? `No pair is known to fit.${rest}`
      : `${fitting.length} of ${count(found.length, "pair")} ${fitting.length === 1 ? "fits" : "fit"}; the best: ${listed(best)}${best.length > 1 ? " (a tie)" : ""}.${rest}`,
    question: `${named}, determinism on, ${question.most === null ? "at any overhead" : `at most ×${question.most} each`}, `
      + `${question.device ? `on ${question.device}` : "each pair on its own device"}.`,
    candidates: found.slice(0, 20).map((one) => ({
      label: one.column.label, fit: FITS[one.fit], symbol: SIGNS[one.fit][0], tone: SIGNS[one.fit][1],
      rank: one.rank === null ? "" : `${one.rank}${one.tied ? " (tie)" : ""}`,
      evidence: one.rank === null ? "nothing was measured for this" : `${one.reproducible} of ${count(one.kernels, "kernel")} exact`
        + (one.reproducible ? `; weakest: 0 of ${one.compared} differed, ≤ ${one.percent} %` : ""),
      overhead: one.rank === null ? "" : billText(one.bill),
      reasons: one.reasons.map((concern) => concern.told), unknowns: one.unknowns.map((concern) => concern.told),
    })),
    more: found.length > 20 ? `${count(found.length - 20, "pair")} more, not better than these.` : "",
    missing: missing(question, found, wanted),
  };
};
