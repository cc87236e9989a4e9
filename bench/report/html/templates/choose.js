// Choose: show the ranking of one family or limit, and the command that answers what the page has no ranking for.
const shellWord = (text) => /^[\w.,%@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
const startChoose = () => {
  const form = byId("choose-form");
  if (!form) return;
  const answer = byId("choose-command");
  const update = () => {
    const value = (name) => form.elements[name]?.value.trim() || "";
    const [family, overhead] = [value("family"), value("overhead")];
    const narrowed = family !== "" || overhead !== "";
    byId("choose-all").hidden = narrowed;
    for (const panel of findAll(".narrower-ranking")) {
      panel.open = narrowed && panel.dataset.family === family && (family !== "" || panel.dataset.overhead === overhead);
      panel.hidden = narrowed && !panel.open;
    }
    const others = [["--gpu", value("gpu")], ["--driver", value("driver")], ["--variation", value("variation")]]
      .filter(([, text]) => text);
    const options = [["--families", family], ["--max-overhead", overhead && `${overhead}%`], ...others]
      .filter(([, text]) => text);
    answer.hidden = others.length === 0 && !(family && overhead);
    find(".command", answer).textContent =
      `nox -s choose -- ${options.map(([name, text]) => `${name} ${shellWord(text)}`).join(" ")}`;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));  // after the fields were reset
};
