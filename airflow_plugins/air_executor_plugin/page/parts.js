// The pieces that several views show: states, progress bars, filters, notices.

import { h, setAttribute, setClass, setText } from "./dom.js";
import { capitalize, formatNumber, formatPercent } from "./format.js";

export const TASK_STATUSES = ["running", "failed", "pending", "completed", "skipped", "cancelled"];
export const JOB_STATES = ["working", "waiting", "failed", "completed", "cancelled"];
export const isOver = (state) => state === "completed" || state === "failed" || state === "cancelled";

/** A state as a coloured dot and its name. */
export function stateMark(state = "") {
  const text = h("span", {}, capitalize(state));
  const element = h("span", { class: "state", "data-state": state }, h("i", { class: "dot", "aria-hidden": "true" }), text);
  return {
    element,
    update(next) {
      setAttribute(element, "data-state", next);
      setText(text, capitalize(next));
    },
  };
}

/** How far a job is, as a bar of its parts. */
export function progressBar() {
  const parts = ["completed", "failed", "skipped", "cancelled", "running"].map((status) => [
    status, h("i", { "data-state": status }),
  ]);
  const element = h("div", { class: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" },
    parts.map(([, part]) => part));
  return {
    element,
    update(job) {
      for (const [status, part] of parts) {
        const share = job.total_tasks ? (job[status] / job.total_tasks) * 100 : 0;
        const width = share > 0 ? `max(2px, ${share.toFixed(2)}%)` : "0";
        if (part.style.width !== width) part.style.width = width;
      }
      setAttribute(element, "aria-valuenow", formatPercent(job.percent));
      setAttribute(element, "aria-label", `${formatPercent(job.percent)} percent of ${job.total_tasks} tasks have ended`);
      setClass(element, "live", job.state === "working");
    },
  };
}

/** Buttons of which one is on: `choices` are [value, label] pairs; counts are shown beside them. */
export function filterButtons(label, choices, chosen, onChoose) {
  const buttons = choices.map(([value, text]) => {
    const count = h("b", {});
    const button = h("button", { type: "button", class: "pill", "data-state": value, onclick: () => onChoose(value) },
      value ? h("i", { class: "dot", "aria-hidden": "true" }) : null, text, count);
    return { value, button, count };
  });
  const element = h("div", { class: "pills", role: "group", "aria-label": label }, buttons.map(({ button }) => button));
  const mark = (value) => buttons.forEach((item) => setAttribute(item.button, "aria-pressed", item.value === value));
  mark(chosen);
  return {
    element,
    mark,
    /** Show how many there are of each; `all` is the number without a filter. */
    count(counts, all) {
      for (const { value, button, count } of buttons) {
        const number = value ? counts[value] ?? 0 : all;
        setText(count, formatNumber(number));
        // Nothing to choose is not shown; what is chosen stays.
        button.hidden = !number && Boolean(value) && button.getAttribute("aria-pressed") !== "true";
        setClass(button, "none", !number);
      }
    },
  };
}

/** A search field that tells of its text when the person has stopped typing. */
export function searchField(label, value, onSearch) {
  let timer = 0;
  const input = h("input", {
    type: "search", class: "search", placeholder: label, "aria-label": label, value, spellcheck: "false", autocomplete: "off",
    maxlength: "200", title: `${label} (press / to get here)`,
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => onSearch(input.value.trim()), 200);
    },
    onkeydown: (event) => {
      if (event.key === "Escape" && input.value) {
        event.stopPropagation();
        input.value = "";
        onSearch("");
      }
    },
  });
  return input;
}

/** A box that says what is wrong and what helps; hidden while there is nothing to say. */
export function notice(kind) {
  const element = h("p", { class: `notice ${kind}`, role: "status", hidden: true });
  return {
    element,
    say(text) {
      element.hidden = !text;
      setText(element, text || "");
    },
  };
}

/** Return what to say of an error that a look ended with; empty without one. */
export function describeError(error, pauseMs) {
  if (!error) return "";
  const message = error.status >= 0 ? error.message : "This page made a mistake; the browser's console has it.";
  return `${message} Next look in ${Math.round(pauseMs / 1000)} s.`;
}

/** What stands where there is nothing to list. */
export const emptyState = (title, text, ...more) => h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, text), more);
