// The menu of jobs that belong together, as the tries of a task instance.

import { h, setText } from "./dom.js";
import { formatTime } from "./format.js";

/** Make the menu in which the job called `name` is chosen; `choose(name)` is called for another. Return {element, offer}. */
export function jobChooser(name, choose) {
  const element = h("select", { class: "chooser", "aria-label": "Job", hidden: true, onchange: () => choose(element.value) });
  return {
    element,
    /** Say which jobs there are, and how they are now. */
    offer(jobs) {
      element.hidden = jobs.length < 2;
      const options = [...element.children];
      if (options.length === jobs.length && jobs.every((job, at) => job.name === options[at].value)) {
        jobs.forEach((job, at) => setText(options[at], describe(job)));
      } else if (document.activeElement !== element) {
        // A menu that is open stays as it is under the reader's hand.
        element.replaceChildren(...jobs.map((job) => h("option", { value: job.name, selected: job.name === name }, describe(job))));
      }
    },
  };
}

function describe(job) {
  const { kind, try_number } = job.labels;
  const what = kind === "hand-over" ? "Handed over" : kind === "task" ? "The task itself" : kind ?? "Job";
  return `${what}${try_number ? `, try ${try_number}` : ""} · ${job.state} · ${formatTime(job.created_at)}`;
}
