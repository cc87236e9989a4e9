// The charts: the heat map is one stop of the tab key with arrow keys inside it, and every chart can be saved.
const startHeatMap = (map) => {
  const tiles = findAll("a", map).map((link) => {
    const rect = find("rect", link);
    return {link, x: Number(rect.getAttribute("x")), y: Number(rect.getAttribute("y"))};
  });
  const nearest = (from, place, direction) => {
    const distance = (tile) => [Math.abs(tile[place] - from[place]), Math.abs(tile.x - from.x)];
    return tiles.filter((tile) => (tile[place] - from[place]) * direction > 0 && (place === "y" || tile.y === from.y))
      .sort((a, b) => distance(a)[0] - distance(b)[0] || distance(a)[1] - distance(b)[1])[0];
  };
  const activate = (tile) => {
    for (const {link} of tiles) link.tabIndex = link === tile.link ? 0 : -1;
  };
  if (tiles.length) activate(tiles.find(({link}) => !link.matches(".good")) || tiles[0]);
  map.addEventListener("focusin", ({target}) => activate(tiles.find(({link}) => link === target)));
  map.addEventListener("keydown", (event) => {
    const from = tiles.find(({link}) => link === event.target);
    const step = CELL_STEPS[event.key] || Math.sign(LINE_STEPS[event.key] || 0);
    if (!from || !step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    nearest(from, event.key in CELL_STEPS ? "x" : "y", step)?.link.focus();
  });
};
// A file has no style sheet, so a saved chart carries the styles that it has on the page, in the theme of the page.
const SHAPE_STYLES = [
  "fill", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "opacity",
];
const TEXT_STYLES = ["fill", "font-family", "font-size", "font-weight", "text-anchor"];
const TITLE_HEIGHT = 58;
const KEY_HEIGHT = 16;
const standaloneChart = (chart, title, about, names) => {
  const copy = chart.cloneNode(true);
  const shapes = "text,rect,path,circle,polyline";
  const copied = findAll(shapes, copy);
  findAll(shapes, chart).forEach((element, place) => {
    const style = getComputedStyle(element);
    const names = element.matches("text") ? TEXT_STYLES : SHAPE_STYLES;
    copied[place].setAttribute("style", names.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  for (const link of findAll("a", copy)) link.removeAttribute("href");  // it leads to a place in this page
  const {width, height} = chart.viewBox.baseVal;
  const svg = (name, values) => {
    const element = document.createElementNS(chart.namespaceURI, name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    return element;
  };
  const colors = getComputedStyle(document.body);
  const text = (content, y, size, x = 0) => {
    const element = svg("text", {x, y, style: `fill:${colors.color};font-family:${colors.fontFamily};font-size:${size}`});
    element.textContent = content;
    return element;
  };
  const full = height + TITLE_HEIGHT + KEY_HEIGHT * names.length;
  copy.prepend(
    svg("rect", {y: -TITLE_HEIGHT, width, height: full, style: `fill:${colors.backgroundColor}`}),
    text(title, 16 - TITLE_HEIGHT, "15px"),
    text(about || "", 32 - TITLE_HEIGHT, "11px"),
    text(`${DATA.run}, ${DATA.measured}`, 47 - TITLE_HEIGHT, "11px"));
  names.forEach((name, place) => {
    const y = height + KEY_HEIGHT * place;
    const style = find(`.line${place}`, copy).getAttribute("style");
    copy.append(svg("path", {d: `M0,${y + 4}h32`, style}), text(name, y + 8, "11px", 40));
  });
  copy.setAttribute("viewBox", `0 ${-TITLE_HEIGHT} ${width} ${full}`);
  copy.setAttribute("width", width);
  copy.setAttribute("height", full);
  return new XMLSerializer().serializeToString(copy);
};
const saveChart = async (figure, format) => {
  const chart = findAll(".chart", figure).find((element) => element.checkVisibility());
  const title = find(".chart-head > :first-child", figure).textContent;
  const link = document.createElement("a");
  const about = (find("summary", chart.closest("details") || figure) || find(".chart-about", figure))?.textContent;
  const names = findAll(".curve-name", figure).map((name) => name.textContent.trim());
  link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standaloneChart(chart, title, about, names))}`;
  link.download = `${DATA.run}-${title.toLowerCase().replaceAll(/\W+/g, "-")}.${format}`;
  if (format === "png") {
    const image = new Image();
    image.src = link.href;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];  // sharp on dense screens and in slides
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    link.href = canvas.toDataURL("image/png");
  }
  link.click();
};
// A list to pick one of many plots from; a few stay below each other, each with its summary.
const MANY_PLOTS = 5;
const startPicker = (figure) => {
  const plots = findAll("details", figure);
  if (plots.length < MANY_PLOTS) return;
  const picker = document.createElement("select");
  picker.setAttribute("aria-label", find("h2", figure).textContent);
  picker.append(...plots.map((plot, index) => new Option(find("summary", plot).textContent, index)));
  const show = () => plots.forEach((plot, index) => {
    plot.hidden = index !== Number(picker.value);
    plot.open = !plot.hidden;
  });
  for (const plot of plots) find("summary", plot).hidden = true;  // the list has the same words
  picker.addEventListener("change", show);
  find(".chart-head", figure).after(picker);
  show();
};
const startCharts = () => {
  for (const map of findAll(".heat-map")) startHeatMap(map);
  for (const figure of findAll(".plots")) startPicker(figure);
  for (const buttons of findAll(".save-chart")) {
    buttons.hidden = false;
    buttons.addEventListener("click", ({target}) => {
      if (target.dataset.save) saveChart(buttons.closest("figure"), target.dataset.save);
    });
  }
};
