// The address, links to evidence, the comparison of two columns, the theme, and the start of it all.

// The fragment of the address holds every choice, so that a link brings it back.
const address = new URLSearchParams();
const setAddress = (name, value, method = "replaceState") => {
  if (value) address.set(name, value);
  else address.delete(name);
  const text = address.toString();
  history[method](null, "", text ? `#${text}` : location.pathname + location.search);
};
