// Starts the page and shows the view that the address asks for.

import { getJobs } from "./api.js";
import { h } from "./dom.js";
import { showJob } from "./job.js";
import { showJobs } from "./jobs.js";
import { describeError, emptyState, notice } from "./parts.js";
import { readPlace, scope, scopeName } from "./place.js";
import { poll } from "./poll.js";
import { followTheme } from "./theme.js";

const view = document.getElementById("view");
let shown = null;

function show(name, make) {
  if (shown?.name === name) {
    shown.follow?.();
    return;
  }
  shown?.stop();
  view.replaceChildren();
  view.setAttribute("aria-busy", "false");
  shown = { name, ...make(view) };
}

/** In the tab of a task instance its own job is what people want to see: open it without a list before it. */
function showOnlyJob(root) {
  const trouble = notice("error");
  const place = h("div", {});
  root.append(trouble.element, place);
  let inner = null;
  const labels = scope.map(([name, value]) => `${name}:${value}`);
  const search = poll(
    async (signal) => {
      // What was handed over says more than the job that ran the task itself.
      const handedOver = await getJobs({ label: [...labels, "kind:hand-over"], limit: 100 }, signal);
      const own = await getJobs({ label: [...labels, "kind:task"], limit: 100 }, signal);
      const jobs = [...handedOver.jobs, ...own.jobs];
      if (jobs.length === 0) {
        if (!place.firstChild) {
          place.append(emptyState(`No job for this ${scopeName} yet`,
            "It appears here when the task hands work over or starts with Air-Executor. Jobs that ended long ago have been removed."));
        }
        return 2000;
      }
      if (!inner) {
        place.replaceChildren();
        inner = showJob(place, readPlace().job ?? jobs[0].name, jobs);
      } else inner.offer(jobs);
      return 5000;
    },
    (error, pauseMs) => trouble.say(describeError(error, pauseMs)),
  );
  return {
    follow: () => {
      const job = readPlace().job;
      if (inner && job && job !== inner.job) {
        inner.stop();
        inner = null;
        place.replaceChildren();
        search.now();
      }
    },
    stop: () => { search.stop(); inner?.stop(); },
  };
}

function route() {
  const { job } = readPlace();
  if (scopeName === "task instance") show("only", showOnlyJob);
  else if (job) show(`job ${job}`, (root) => showJob(root, job));
  else show("jobs", showJobs);
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const field = document.querySelector(".search");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});

followTheme(() => document.dispatchEvent(new Event("themechange")));
addEventListener("hashchange", route);
route();
