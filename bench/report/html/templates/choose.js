// Choose: show the ranking of one family, and the command that answers what the page has no ranking for.
const shellWord = (text) => /^[\w.,%@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
const startChoose = () => {
  const form = byId("choose-form");
  if (!form) return;
  const answer = byId("choose-command");
  const update = () => {
    const value = (name) => form.elements[name]?.value.trim() || "";
    const family = value("family");
    byId("choose-all").hidden = family !== "";
    for (const panel of findAll(".family-ranking")) {
      panel.open = panel.dataset.family === family;
      panel.hidden = family !== "" && !panel.open;
    }
    const overhead = value("overhead");
    const others = [["--max-overhead", overhead && `${overhead}%`], ["--gpu", value("gpu")], ["--driver", value("driver")],
      ["--variation", value("variation")]].filter(([, text]) => text);
    const options = [...(family ? [["--families", family]] : []), ...others];
    answer.hidden = others.length === 0;
    find(".command", answer).textContent =
      `nox -s choose -- ${options.map(([name, text]) => `${name} ${shellWord(text)}`).join(" ")}`;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));  // after the fields were reset
};
