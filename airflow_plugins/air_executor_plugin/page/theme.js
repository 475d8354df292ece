// Dark or light as Airflow around this page is; without Airflow, as the system is.

const system = matchMedia("(prefers-color-scheme: dark)");

function surroundings() {
  try {
    return parent === window ? null : parent.document;
  } catch {
    return null; // Somebody else's page shows this one.
  }
}

function isDark(around) {
  const classes = around?.documentElement.classList;
  if (classes?.contains("dark")) return true;
  if (classes?.contains("light")) return false;
  return system.matches;
}

function groundOf(element) {
  const colour = element && parent.getComputedStyle(element).backgroundColor;
  return colour && !/^(transparent|rgba\(.*, 0\))$/.test(colour) ? colour : null;
}

/** Follow Airflow's theme, and call `changed` after each change. */
export function followTheme(changed) {
  const around = surroundings();
  function apply() {
    document.documentElement.dataset.theme = isDark(around) ? "dark" : "light";
    // Ground and type are Airflow's own, so that no seam shows; sites may have themes of their own.
    const ground = [around?.body, around?.documentElement].map(groundOf).find(Boolean);
    if (ground) document.documentElement.style.setProperty("--ground", ground);
    else document.documentElement.style.removeProperty("--ground");
    if (around) document.documentElement.style.setProperty("--font", parent.getComputedStyle(around.body).fontFamily);
    changed();
  }
  apply();
  system.addEventListener("change", apply);
  if (around) new MutationObserver(apply).observe(around.documentElement, { attributeFilter: ["class"] });
}
