// The fragment of the address holds every choice, so that a link brings it back.
const address = new URLSearchParams();
const setAddress = (name, value, method = "replaceState") => {
  if (value) address.set(name, value);
  else address.delete(name);
  const text = address.toString();
  history[method](null, "", text ? `#${text}` : location.pathname + location.search);
};
const readAddress = (fragment) => {
  for (const name of [...address.keys()]) address.delete(name);
  for (const [name, value] of new URLSearchParams(fragment)) address.set(name, value);
};
// Set a field from the address; a select keeps "all" where it lacks the value.
const setField = (form, name) => {
  const field = form.elements[name];
  const value = address.get(name) || "";
  field.value = field.options && ![...field.options].some((option) => option.value === value) ? "" : value;
  if (!field.value) address.delete(name);
};
