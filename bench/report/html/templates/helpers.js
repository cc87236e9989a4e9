const byId = (id) => document.getElementById(id);
const find = (selector, parent = document) => parent.querySelector(selector);
const findAll = (selector, parent = document) => [...parent.querySelectorAll(selector)];
// Fill the {names} of a text that the page brings along in a data attribute.
const fillText = (template, values) =>
  template.replace(/\{(\w+)\}/g, (placeholder, name) => Object.hasOwn(values, name) ? values[name] : placeholder);
