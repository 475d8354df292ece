// Makes elements. Names, commands and errors come from strangers: text goes in as text, never as markup.

/** Make an element. `class`, `title`, `role`, `aria-...` are attributes; `onclick` and the like are listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set an element's text, but only where it differs: what has not changed is not laid out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set or, with null, remove an attribute, but only where it differs. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Set a class to what `isSet` says. */
export function setClass(element, name, isSet) {
  if (element.classList.contains(name) !== isSet) element.classList.toggle(name, isSet);
}
