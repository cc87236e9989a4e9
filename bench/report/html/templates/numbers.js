// What the records say, and the sums of bench/verdict/ratio.py: the same, so that the digits are.
const DATA = JSON.parse(document.getElementById("data").textContent);
const CODE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MODES = ["off", "on"];

const text = (number) => DATA.texts[number];
const status = (number) => {
  const [name, symbol, word, tone, priced, answer, unmeasured] = DATA.statuses[number];
  return {number, name, symbol, word, tone, priced, answer, unmeasured};
};
const columns = DATA.columns.map((one, place) => {
  const [column, label, tf, cuda, device, model, blocked, why, here, away, machine, facts, asked, threads, chips, shared] = one;
  const fact = (title) => text(facts[DATA.titles.indexOf(title)]);
  return {place, column, label, tf, cuda, device, model, why, here, away, machine, asked, threads, shared, fact,
    blocked: blocked < 0 ? null : status(blocked), chips: chips.map(text)};
});

const unpack = (packed) => {
  if (!packed) return null;
  if (packed[0] === "=") return packed.slice(1).split(" ").map(Number);
  const scale = 10 ** CODE.indexOf(packed[0]);
  return packed.slice(1).match(/.../g).map((one) => [...one].reduce((sum, sign) => sum * 64 + CODE.indexOf(sign), 0) / scale);
};
const numbers = (told) => typeof told === "string" ? [...told].map((sign) => CODE.indexOf(sign)) : told;

const kernels = DATA.kernels.map((one, row) => {
  const [name, family, index, control, portable, larger, facts, digests, times, apart] = one;
  return {row, name, family, index, control, portable, larger, apart, facts: numbers(facts), digests: numbers(digests),
    times: times.split(",")};
});
const planned = kernels.filter((one) => !one.control).sort((one, other) => one.index - other.index);

// The headline of a kernel in a column, and what the first variation gave; null where it was not planned.
const head = (kernel, place, mode) => {
  const told = DATA.facts[kernel.facts[2 * place + mode]];
  return told ? {status: status(told[0]), variation: text(told[1]), compared: told[2], percent: told[3]} : null;
};
const result = (kernel, place, mode) => {
  const at = 2 * place + mode;
  const told = DATA.facts[kernel.facts[at]];
  if (!told || told.length < 5) return null;
  const [number, state, error, work, timed, kind, prime, endings, varies] = told.slice(4);
  return {status: status(number), state: text(state), error, work: DATA.works[work], timed, kind, prime, endings, varies,
    digest: kernel.digests[at], times: unpack(kernel.times[at])};
};

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const memo = (make) => {
  const known = new Map();
  return (key) => known.has(key) ? known.get(key) : known.set(key, make(key)).get(key);
};
const ways = (n, k) => {
  let found = 1;
  for (let i = 1; i <= k; i++) found = found * (n - k + i) / i;
  return Math.round(found);
};
const atLeast = (need, n, chance) => {
  let sum = 0;
  for (let some = need; some <= n; some++) sum += ways(n, some) * chance ** some * (1 - chance) ** (n - some);
  return sum;
};
const shares = memo((n) => {
  const found = [];
  const half = n >> 1;
  const need = n % 2 ? half + 1 : half;
  const upTo = [...Array(n + 1).keys()].map((i) => atLeast(need, n, i / n));
  const ends = [...Array(n).keys()].map((i) => ((i + 1) / n) ** half - (i / n) ** half);
  for (let i = 0; i < n; i++) {
    let apart = 0;
    if (n % 2 === 0) {
      for (let j = i + 1; j < n; j++) {
        const often = ways(n, half) * ends[i] * ends[n - 1 - j];
        apart += often;
        found.push([i, j, often]);
      }
    }
    found.push([i, i, upTo[i + 1] - upTo[i] - apart]);
  }
  return found.filter((one) => one[2] > 1e-9).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
});
const interval = (dear, cheap) => {
  if (Math.min(dear.length, cheap.length) < 3) return [null, null];
  const [ours, theirs] = [dear, cheap].map((side) => {
    const sorted = [...side].sort((a, b) => a - b);
    return shares(side.length).map(([i, j, often]) => [(sorted[i] + sorted[j]) / 2, often]);
  });
  const all = ours.flatMap(([a, often]) => theirs.map(([b, other]) => [a / b, often * other])).sort((a, b) => a[0] - b[0]);
  let sum = 0;
  const below = all.map((one) => sum += one[1]);
  const tail = (1 - 0.95) / 2;
  return [tail, 1 - tail].map((share) => all[below.findIndex((one) => one >= share * sum)][0]);
};
// Two-sided p of the exact Mann-Whitney test, ties by their middle ranks, as SciPy has it.
const chance = (dear, cheap) => {
  const [n, m] = [dear.length, cheap.length];
  let wins = 0;
  for (const a of dear) for (const b of cheap) wins += a > b ? 1 : a === b ? 0.5 : 0;
  const least = Math.floor(Math.max(wins, n * m - wins));
  let often = [1];
  for (let i = 1; i <= n; i++) {
    const next = Array(i * m + 1).fill(0);
    often.forEach((one, at) => { next[at] += one; });
    for (let at = next.length - 1; at >= m + i; at--) next[at] -= next[at - m - i];
    for (let at = i; at < next.length; at++) next[at] += next[at - i];
    often = next;
  }
  const all = often.reduce((a, b) => a + b);
  return Math.min(1, 2 * often.slice(least).reduce((a, b) => a + b, 0) / all);
};
const ratio = (dear, cheap) => {
  const [low, high] = interval(dear, cheap);
  const clear = low !== null && high <= low * 2 && !(low <= 1 && high >= 1);
  return {value: median(dear) / median(cheap), low, high, resolved: clear && chance(dear, cheap) <= 0.01};
};
// The overhead of one result against another: steady times of both, or first calls of both.
const overheadOf = (dear, cheap) => {
  if (!dear || !cheap || !(dear.status.priced && cheap.status.priced && dear.timed && cheap.timed)) return null;
  return dear.times && cheap.times && dear.kind === cheap.kind ? ratio(dear.times, cheap.times) : null;
};
const overhead = memo((key) => {
  const [row, place] = key.split(" ").map(Number);
  return overheadOf(result(kernels[row], place, 1), result(kernels[row], place, 0));
});

// As Python rounds: what lies in the middle goes to the even digit.
const fixed = (value, digits) => {
  const twice = value * 2 ** (digits + 1);
  if (!Number.isInteger(twice) || twice % 2 === 0) return value.toFixed(digits);
  const whole = Math.floor(value * 10 ** digits);
  return ((whole + whole % 2) / 10 ** digits).toFixed(digits);
};
const significant = (value) => fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
const span = (one) => `(${significant(one.low)}–${significant(one.high)})`;
const count = (number, thing) => `${number} ${thing}${number === 1 ? "" : /s$/.test(thing) ? "es" : "s"}`;
const listed = (names, most = 3) => {
  const shown = names.length <= most ? names : [...names.slice(0, most - 1), `${names.length - most + 1} more`];
  return [shown.slice(0, -1).join(", "), ...shown.slice(-1)].filter(Boolean).join(" and ");
};
const tally = (values) => {
  const found = new Map();
  for (const one of values) found.set(one, (found.get(one) || 0) + 1);
  return found;
};
