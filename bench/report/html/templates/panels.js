// The upgrade picker and the choice, in the layout that the page has without them.
const chip = (symbol, word, tone) => make("span", {class: `chip ${tone}`}, `${symbol} ${word}`);
const eventChip = (word, number) => {
  const [, symbol, tone] = EVENTS.find((one) => one[0] === word);
  return chip(symbol, word + (number ? ` ${number}` : ""), tone);
};
const spaced = (nodes) => nodes.flatMap((one) => [one, " "]);
const linesTable = (found) => {
  const titles = ["Kernel", "Where", "What happened", "Status", "Bits", "Time"];
  const body = found.lines.map((line) => make("tr", {},
    make("th", {scope: "row"}, line.kernel), make("td", {}, line.where), make("td", {}, ...spaced(line.events.map((one) => eventChip(one)))),
    make("td", {}, ...line.before.word === line.after.word ? [`${line.after.symbol} ${line.after.word}`]
      : [line.before, " to ", line.after].map((one) => one.word ? chip(one.symbol, one.word, one.tone) : one)),
    make("td", {}, line.bits), make("td", {}, line.time)));
  const made = make("table", {class: "plain"}, make("thead", {}, make("tr", {}, ...titles.map((one) => make("th", {scope: "col"}, one)))), make("tbody", {}, ...body));
  return make("div", {class: "roll", tabindex: 0, role: "region", "aria-label": `What changes, ${found.label}`}, made);
};
const shownUpgrade = (pair) => {
  const found = upgrade(pair);
  const scope = DATA.variations > 1 ? ` Under the variation ${DATA.first}; the command has all ${DATA.variations}.` : "";
  const others = found.rest ? ` Of the others: ${found.rest}.` : "";
  return [
    make("p", {class: "picked"}, make("b", {}, found.label), ...found.counts.flatMap(([word, number]) => [" ", eventChip(word, number)])),
    make("p", {}, [found.moved, ...found.sentences].join(" ") + others + scope),
    ...found.lines.length ? [linesTable(found)] : [],
  ];
};
const picker = () => {
  const box = byId("picker");
  if (!box || columns.length < 2) return;
  const select = (name, first) => make("select", {name}, option("", first), ...columns.map((one) => option(one.column, one.label)));
  const ends = [select("from", "choose a pair"), select("to", "choose a pair")];
  const swap = make("button", {type: "button"}, "Swap");
  const out = make("div", {id: "picked", "aria-live": "polite"});
  const show = () => {
    const pair = ends.map((one) => columns.find((column) => column.column === one.value));
    ends.forEach((one) => keep(one.name, one.value));
    if (!pair[0] || !pair[1]) return out.replaceChildren();
    if (pair[0] === pair[1]) return out.replaceChildren(make("p", {}, "Choose two different pairs."));
    out.replaceChildren(...shownUpgrade(pair), make("p", {}, make("code", {}, `python -m bench compare ${pair.map((one) => quote(one.column)).join(" ")}`)));
  };
  swap.addEventListener("click", () => {
    [ends[0].value, ends[1].value] = [ends[1].value, ends[0].value];
    show();
  });
  for (const one of ends) one.addEventListener("change", show);
  box.append(make("div", {class: "pick"}, make("label", {}, "From", ends[0]), make("label", {}, "To", ends[1]), swap), out);
  box.hidden = false;
  loaders.push(() => {
    for (const one of ends) one.value = columns.some((column) => column.column === state.get(one.name)) ? state.get(one.name) : "";
    show();
  });
};

const shownChoice = (found, command) => [
  make("p", {}, make("b", {}, found.sentence), ` ${found.question}`),
  make("ol", {class: "picks"}, ...found.candidates.map((one) => make("li", {},
    make("i", {}, one.rank || "no rank"), make("b", {}, one.label), " ", chip(one.symbol, one.fit, one.tone),
    make("p", {}, one.evidence + (one.overhead ? `; ${one.overhead}` : "")),
    ...one.reasons.length + one.unknowns.length
      ? [make("ul", {}, ...[...one.reasons, ...one.unknowns.map((told) => `Unknown: ${told}`)].map((told) => make("li", {}, told)))] : []))),
  ...found.more ? [make("p", {}, found.more)] : [],
  ...found.missing.length ? [make("h3", {}, "To know more"),
    make("ul", {class: "todo"}, ...found.missing.map((one) => make("li", {}, `${one.why} `, make("code", {}, one.command))))] : [],
  make("p", {class: "soft"}, "The same on a command line: ", make("code", {}, command)),
];
const chooser = () => {
  const form = byId("chooser");
  const out = byId("chosen");
  if (!form || !out) return;
  const given = [...out.childNodes];
  const needs = () => all("input[name=needs]", form);
  // An address may come from anybody: nothing that turns a line around or hides in it gets into a command.
  const list = (told) => told.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").split(",").map((one) => one.trim()).filter(Boolean);
  const {device, kernels: names, overhead: most} = form.elements;
  let strange = [];
  const show = () => {
    // A question that this page cannot ask is not answered as an easier one.
    if (strange.length) {
      return out.replaceChildren(make("p", {}, make("b", {}, "Nothing is ranked."),
        ` The address asks for ${list(strange.join(",")).join(", ")}, which this page does not have.`));
    }
    const typed = most.value.trim().replace(",", ".");
    const limit = typed === "" ? null : typed.endsWith("%") ? 1 + Number(typed.slice(0, -1) || NaN) / 100 : Number(typed);
    const wrong = limit !== null && !(limit > 0 && limit < Infinity);
    most.setAttribute("aria-invalid", wrong);
    const question = {
      device: device.value, kernels: list(names.value), needs: needs().filter((one) => one.checked).map((one) => one.value),
      most: limit === null || wrong ? null : Number(limit.toPrecision(6)),
    };
    [["on", question.device], ["kernels", names.value], ["overhead", most.value], ["needs", question.needs.join(",")]].forEach((one) => keep(...one));
    if (wrong) return out.replaceChildren(make("p", {}, "The greatest overhead is a ratio above 0, such as 1.15, or what it may add: 15%."));
    if (!question.device && !question.kernels.length && !question.needs.length && limit === null) return out.replaceChildren(...given);
    const flag = (name, value) => value ? [`${name} ${quote(value)}`] : [];
    // By name: a family may have kernels that this run has not, and the command line would ask for them.
    const meant = planned.filter((one) => question.needs.includes(one.family)).map((one) => one.name);
    const command = ["nox -s choose --", ...flag("--gpu", question.device), ...flag("--kernels", [...meant, ...question.kernels].join(",")), ...flag("--max-overhead", question.most === null ? "" : String(question.most))].join(" ");
    out.replaceChildren(...shownChoice(choice(question), command));
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  const anew = () => {
    strange = [];
    show();
  };
  form.addEventListener("input", anew);
  form.addEventListener("reset", () => setTimeout(anew));
  loaders.push(() => {
    const wanted = list(state.get("needs") || "");
    const there = [...device.options, ...needs()].map((one) => one.value);
    strange = [...wanted, state.get("on") || ""].filter((one) => one && !there.includes(one));
    device.value = [...device.options].some((one) => one.value === state.get("on")) ? state.get("on") : "";
    names.value = state.get("kernels") || "";
    most.value = state.get("overhead") || "";
    for (const one of needs()) one.checked = wanted.includes(one.value);
    show();
  });
};
picker();
chooser();
start();
load();
