// The theme is not part of the address: a link must not change the reader's. A page opened from a file may have no
// storage; then the theme lasts until the page is left.
const THEMES = ["", "light", "dark"];
const startTheme = () => {
  const button = byId("theme");
  let theme = "";
  try {
    theme = localStorage.getItem("tfrepro-theme") || "";
  } catch { /* no storage */ }
  const show = () => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = fillText(button.dataset.text, {theme: theme || "auto"});
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem("tfrepro-theme", theme);
    } catch { /* no storage */ }
    show();
  });
  show();
};
