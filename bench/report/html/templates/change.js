// What changes from one column to another: the questions of bench/verdict/comparison.py and sides.py, in their order.
const EVENTS = DATA.events;
const gravity = (word) => EVENTS.findIndex((one) => one[0] === word);
const SIDES = ["before", "after"];

const named = (sides, bad) => sides.flatMap((one, at) => bad(one) ? [`${one.status.name} ${SIDES[at]}`] : []).join(" and ");
const firstOf = (checks) => (checks.find((one) => one[0]) || ["", ""])[1];
const differs = (sides, title) => sides[0].fact(title) !== sides[1].fact(title);

const otherWork = (kernel, mode, pair, sides) => {
  const [[oldCode, oldSeeds, oldShapes], [code, seeds, shapes]] = sides.map((one) => one.work || []);
  const cpu = pair.map((one) => one.model === "cpu");
  return firstOf([
    [pair[0].asked[mode] !== pair[1].asked[mode], `the variation ${DATA.first} was run with other settings`],
    [oldCode && code && oldCode !== code, "the kernel's code differs"],
    [oldSeeds !== seeds, "they ran with other seeds"],
    [cpu[0] !== cpu[1] && (kernel.larger || sides[0].prime !== sides[1].prime) || oldShapes !== shapes,
      "the work is of another size there"],
  ]);
};
const otherBits = (kernel, pair, sides) => {
  const [old, now] = pair.map((one) => one.fact("Keras"));
  if (!kernel.portable && !(old && now)) return "Keras is part of the kernel, and its release is not known";
  if (!kernel.portable && old !== now) return `Keras is part of the kernel, and moves from ${old} to ${now}`;
  return sides[0].work[3] === sides[1].work[3] ? "" : "the outputs have other names";
};
const otherPlace = (mode, pair) => firstOf([
  [differs(pair, "device") || differs(pair, "GPU"), "another device"],
  [pair[0].machine !== pair[1].machine, "another host"],
  [pair.some((one) => one.away) && !pair[0].fact("host"), "the host has no name"],
  [differs(pair, "driver"), "another driver"],
  [pair[1].model !== "cpu" && !(pair[1].fact("GPU") && pair[1].fact("driver")), "the GPU or its driver is not known"],
  [differs(pair, "engine"), "another engine"],
  [pair.some((one) => one.here), "an environment as found is compared with itself only"],
  [pair.every((one) => one.threads[mode]) && pair[0].threads[mode] !== pair[1].threads[mode], "other numbers of threads"],
]);
const bitsOf = (kernel, pair, sides, other) => {
  const why = other || named(sides, (one) => !one.digest) || otherBits(kernel, pair, sides);
  if (why) return ["not compared", why];
  const concerns = named(sides, (one) => one.status.name !== "reproducible");
  if (sides[0].digest === sides[1].digest) return [concerns ? "same so far" : "same bits", concerns];
  if (sides.some((one) => one.status.name === "nan")) return ["not compared", "the outputs have NaN, which hide differences"];
  return ["moved", concerns];
};
const endsOf = ([before, after]) => {
  const [old, now] = [before.state, after.state];
  const ran = {raises: ["starts raising an error", "stops raising"], fails: ["starts failing", "stops failing"]};
  if (old === now) {
    const other = before.status.name !== after.status.name;
    if (old in ran) {
      return [...(before.varies !== after.varies ? [after.varies ? "varies more" : "varies less"] : []),
        ...(other || before.error !== after.error || before.endings !== after.endings ? ["ends differently"] : [])];
    }
    return old === "differs" && other ? [after.status.number < before.status.number ? "varies more" : "varies less"] : [];
  }
  if (now === "unknown") return [old === "reproducible" ? "no longer confirmed reproducible" : "less evidence"];
  if (old === "unknown") return [now in ran ? ran[now][0] : now === "differs" ? "becomes nondeterministic" : "more evidence"];
  if (old in ran || now in ran) {
    return [...(now in ran ? [ran[now][0]] : []), ...(old in ran ? [ran[old][1]] : []),
      ...(now === "differs" && !before.varies ? ["becomes nondeterministic"] : [])];
  }
  if (old === "inconclusive" || now === "inconclusive") {
    return [old === "inconclusive" ? "more evidence" : "less evidence",
      ...(now === "differs" ? ["varies more"] : old === "differs" ? ["varies less"] : [])];
  }
  return [old === "reproducible" ? "no longer reproducible" : "becomes reproducible"];
};
const SAME_RECORDS = "these are the same records, not measured again";
const toldOf = (events, bits, why, sides) => {
  if (events.length) return "changed";
  if (bits === "same bits") return "kept";
  if (bits === "same so far") return bits;
  const without = sides.filter((one) => ["differs", "raises", "fails"].includes(one.state));
  const one = new Set(without.map((side) => side.status.name)).size === 1 && sides[0].state === sides[1].state;
  const nan = sides.some((side) => side.status.name === "nan");
  return one && !nan && why !== SAME_RECORDS ? "as before" : "not compared";
};
const change = (kernel, mode, pair) => {
  const sides = pair.map((one) => result(kernel, one.place, mode));
  if (!sides[0] || !sides[1]) return sides[0] || sides[1] ? {kernel, mode, sides, events: [sides[0] ? "gone" : "new"]} : null;
  const repeated = pair[0].shared[mode].some((one) => pair[1].shared[mode].includes(one)) ? SAME_RECORDS : "";
  const silent = named(sides, (one) => ["unknown", "raises", "fails"].includes(one.state));
  const other = repeated || silent || otherWork(kernel, mode, pair, sides);
  const [bits, why] = bitsOf(kernel, pair, sides, other);
  const untimed = other || otherPlace(mode, pair);
  const cost = untimed ? null : overheadOf(sides[1], sides[0]);
  const events = [...endsOf(sides), ...(bits === "moved" ? ["bits changed"] : [])];
  if (cost && cost.resolved) events.push(cost.value > 1 ? "slower" : "faster");
  events.sort((one, two) => gravity(one) - gravity(two));
  const far = bits === "moved" ? kernel.apart[`${sides[0].digest} ${sides[1].digest}`] || "" : "";
  const time = !cost ? "" : !cost.resolved ? "not resolved"
    : `×${significant(cost.value)} ${span(cost)} ${cost.value > 1 ? "slower" : "faster"}`;
  const costWhy = untimed || (cost ? "" : "not timed on both sides");
  return {kernel, mode, sides, bits, why, cost, costWhy, events, far, time, told: toldOf(events, bits, why, sides)};
};

const lineOf = (group) => {
  const [first] = group;
  const size = (one) => one.far ? Number((one.far.match(/max diff ([\d.e+-]+)/) || [0, Infinity])[1]) : -1;
  const far = group.reduce((most, one) => size(one) > size(most) ? one : most).far;
  const stated = group.filter((one) => one.cost && one.cost.resolved);
  const events = new Set(group.flatMap((one) => one.events));
  const short = (mode) => DATA.first === "default" ? MODES[mode] : `${DATA.first}, ${MODES[mode]}`;
  const [before, after] = first.sides.map((one) => one.status);
  return {
    kernel: first.kernel.name, before, after,
    where: group.map((one) => one.mode).sort().map((mode) => MODES[mode]).join(" and "),
    events: EVENTS.map((one) => one[0]).filter((word) => events.has(word)),
    bits: first.bits === "same bits" ? first.bits
      : [first.bits + (first.bits === "moved" && far ? `, ${far}` : ""), first.why].filter(Boolean).join("; "),
    time: !stated.length ? (group.find((one) => one.time) || {time: ""}).time
      : group.length === 1 ? stated[0].time : stated.map((one) => `${one.time} (${short(one.mode)})`).join(", "),
  };
};
const summed = (all, mode) => {
  const here = all.filter((one) => one.mode === mode && one.bits);
  const overheads = here.filter((one) => one.cost);
  const shown = (one) => significant(one.cost.value);
  const stated = overheads.filter((one) => one.cost.resolved).sort((a, b) => shown(a) - shown(b) || (a.kernel.name < b.kernel.name ? -1 : 1));
  const [slower, faster] = [stated.filter((one) => one.cost.value > 1), stated.filter((one) => one.cost.value <= 1)];
  const most = (group) => group.map((one) => ` (most: ${one.kernel.name} ×${shown(one)})`).join("");
  const bits = tally(here.map((one) => one.bits));
  const [same, soFar, moved, unknown] = ["same bits", "same so far", "moved", "not compared"].map((one) => bits.get(one) || 0);
  const known = same + soFar + moved;
  const whys = [...tally(here.filter((one) => !one.cost).map((one) => one.costWhy))].sort((a, b) => b[1] - a[1]);
  const untimed = here.length - overheads.length;
  const times = !overheads.length && untimed ? `no time compared (${whys[0][0]})`
    : `${count(slower.length, "kernel")} slower${most(slower.slice(-1))}, ${faster.length} faster${most(faster.slice(0, 1))}, ${overheads.length - stated.length} not resolved`
      + (untimed ? `, ${untimed} not compared` : "");
  return overheads.length || known
    ? `Determinism ${MODES[mode]}: ${times}; bits changed in ${moved} of ${count(known, "kernel")}`
      + (soFar ? ` (${soFar} the same only so far)` : "") + (unknown ? `, ${unknown} not compared` : "") + "."
    : "";
};
const upgrade = (pair) => {
  const all = planned.flatMap((kernel) => [0, 1].map((mode) => change(kernel, mode, pair)).filter(Boolean));
  const both = all.filter((one) => one.bits);
  const happened = both.filter((one) => one.events.length).sort((a, b) => gravity(a.events[0]) - gravity(b.events[0]));
  const alike = new Map();
  for (const one of happened) {
    const events = one.events.filter((word) => word !== "slower" && word !== "faster");
    const key = JSON.stringify([one.kernel.row, one.sides.map((side) => side.status.word), events, one.bits]);
    alike.set(key, [...alike.get(key) || [], one]);
  }
  const told = tally(both.map((one) => one.told));
  const counts = tally(all.flatMap((one) => one.events));
  const whys = [...tally(both.filter((one) => one.told === "not compared").map((one) => one.why))].sort((a, b) => b[1] - a[1]);
  const moved = DATA.titles.filter((title) => differs(pair, title))
    .map((title) => `${title} ${pair[0].fact(title) || "unknown"} to ${pair[1].fact(title) || "unknown"}`);
  const rest = [
    [told.get("kept"), "keep status and bits"],
    [told.get("same so far"), "have the same bits so far, on weak evidence"],
    [told.get("as before"), "still vary, raise or fail"],
    [told.get("not compared"), `not compared (${whys.length ? whys[0][0] : ""}${whys.length > 1 ? ", among others" : ""})`],
    [counts.get("gone"), "are gone"], [counts.get("new"), "are new"],
  ];
  return {
    label: `${pair[0].label} to ${pair[1].label}`,
    moved: DATA.steps[`${pair[0].place} ${pair[1].place}`] || (moved.length > 1 ? `${moved.join(", ")}: they differ together, so what changed is of no one alone.`
      : moved.length ? `${moved[0]} alone.` : "Nothing that is known differs between the two."),
    sentences: [0, 1].map((mode) => summed(all, mode)).filter(Boolean),
    counts: EVENTS.map((one) => [one[0], counts.get(one[0])]).filter((one) => one[1]),
    rest: rest.filter((one) => one[0]).map((one) => one.join(" ")).join("; "),
    lines: [...alike.values()].map(lineOf),
  };
};
