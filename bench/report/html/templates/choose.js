// Choose: show the ranking for a family and a limit; for other requirements, the command that answers them.
const chooseForm = byId("choose-form");
const REQUIREMENTS = ["need-family", "need-overhead", "need-gpu", "need-driver", "need-variation"];
const shellWord = (text) => /^[\w.,%@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
const showRanking = () => {
  if (!chooseForm) return;
  const [family, overhead, ...others] = REQUIREMENTS.map((name) => chooseForm.elements[name]?.value.trim() || "");
  const narrowed = Boolean(family || overhead || others.some(Boolean));
  let found = !narrowed;
  byId("choose-all").hidden = narrowed;
  for (const panel of findAll(".narrower-ranking")) {
    const answers = narrowed && !others.some(Boolean)
      && panel.dataset.family === family && panel.dataset.overhead === overhead;
    found ||= answers;
    panel.open = answers;
    panel.hidden = narrowed ? !answers : Boolean(panel.dataset.family && panel.dataset.overhead);
  }
  const [gpu, driver, variation] = others;
  const options = [["--families", family], ["--max-overhead", overhead && `${overhead}%`], ["--gpu", gpu],
    ["--driver", driver], ["--variation", variation]].filter(([, text]) => text);
  const answer = byId("choose-command");
  answer.hidden = found;
  find(".command", answer).textContent =
    `nox -s choose -- ${options.map(([name, text]) => `${name} ${shellWord(text)}`).join(" ")}`;
};
const setRequirements = () => {
  if (!chooseForm) return;
  for (const name of REQUIREMENTS) if (chooseForm.elements[name]) setField(chooseForm, name);
  showRanking();
};
const startChoose = () => {
  if (!chooseForm) return;
  const update = () => {
    for (const name of REQUIREMENTS) setAddress(name, chooseForm.elements[name]?.value.trim());
    showRanking();
  };
  chooseForm.hidden = false;
  chooseForm.addEventListener("submit", (event) => event.preventDefault());
  chooseForm.addEventListener("input", update);
  chooseForm.addEventListener("reset", () => setTimeout(update));  // after the fields were reset
};
