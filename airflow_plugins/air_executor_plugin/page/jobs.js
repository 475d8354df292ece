// The list of jobs: all of them, or those of one DAG or DAG run.

import { getJobs, getManager } from "./api.js";
import { h, setAttribute, setClass, setText } from "./dom.js";
import { NOTHING, formatAgo, formatDuration, formatNumber, formatPercent, formatRate, plural } from "./format.js";
import { nameLine, originLine } from "./origin.js";
import { JOB_STATES, describeError, emptyState, filterButtons, notice, progressBar, searchField, stateMark } from "./parts.js";
import { adjustPlace, linkTo, readPlace, scope, scopeName } from "./place.js";
import { poll } from "./poll.js";

const PAGE = 50;
const PAUSE_MS = 2000;
const KINDS = [["", "All kinds"], ["hand-over", "Handed over by DAGs"], ["task", "Airflow's own tasks"]];

/** Show the list in `root`; return {stop}. */
export function showJobs(root) {
  const asked = { state: "", q: "", kind: "", page: 0, ...readPlace() };
  asked.page = Math.max(0, Number.parseInt(asked.page, 10) || 0);
  const rows = new Map();

  const trouble = notice("error");
  const warning = notice("warning");
  const manager = h("span", { class: "manager" });
  const states = filterButtons("Jobs by state", [["", "All"], ...JOB_STATES.map((state) => [state, state])], asked.state,
    (state) => ask({ state, page: 0 }));
  const kinds = h("select", { "aria-label": "Kind of job", onchange: () => ask({ kind: kinds.value, page: 0 }) },
    KINDS.map(([value, text]) => h("option", { value, selected: value === asked.kind }, text)));
  const search = searchField("Find jobs", asked.q, (q) => ask({ q, page: 0 }));
  const body = h("tbody");
  const table = h("table", { class: "jobs" },
    h("thead", {}, h("tr", {},
      h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, "Progress"),
      h("th", { scope: "col", class: "number" }, "Tasks"), h("th", { scope: "col", class: "number", title: "Tasks that run now, each a process of its own" }, "Runners"),
      h("th", { scope: "col", class: "number" }, "Failed"), h("th", { scope: "col", class: "number" }, "Rate"),
      h("th", { scope: "col", class: "number" }, "Time left"), h("th", { scope: "col", class: "number" }, "Changed"))),
    body);
  const nothing = h("div", {});
  const range = h("span", {});
  const earlier = h("button", { type: "button", onclick: () => ask({ page: asked.page - 1 }) }, "Newer");
  const later = h("button", { type: "button", onclick: () => ask({ page: asked.page + 1 }) }, "Older");
  const pager = h("div", { class: "pager", hidden: true }, range, earlier, later);

  root.append(h("div", { class: "page" },
    h("header", { class: "title" }, h("h1", {}, scopeName ? `Jobs of this ${scopeName}` : "Air-Executor"), manager),
    warning.element, trouble.element,
    h("div", { class: "tools" }, states.element, h("span", { class: "ask" }, kinds, search)),
    h("div", { class: "sheet" }, table, nothing), pager));

  function ask(changes) {
    Object.assign(asked, changes);
    adjustPlace({ ...asked, page: asked.page || "" });
    states.mark(asked.state);
    watch.now();
  }

  async function look(signal) {
    const labels = scope.map(([name, value]) => `${name}:${value}`);
    if (asked.kind) labels.push(`kind:${asked.kind}`);
    const [answer, status] = await Promise.all([
      getJobs({ state: asked.state, q: asked.q, label: labels, offset: asked.page * PAGE, limit: PAGE }, signal),
      getManager(signal),
    ]);
    if (answer.jobs.length === 0 && asked.page > 0) {
      asked.page = 0;
      return 0;
    }
    showManager(status);
    showAnswer(answer);
    return PAUSE_MS;
  }

  function describeSlots({ attempts, attempts_announced: ofAirflow, slots }) {
    const busy = `${formatNumber(attempts - ofAirflow)} of ${plural(slots, "slot")} busy`;
    return ofAirflow ? `${busy}, ${formatNumber(ofAirflow)} of ${formatNumber(slots)} for Airflow` : busy;
  }

  function showManager(status) {
    setAttribute(manager, "data-state", status.running ? "completed" : "failed");
    setText(manager, !status.running ? "No manager runs"
      : `Manager ${status.is_draining ? "drains" : "runs"} · ${describeSlots(status)} · ${plural(status.jobs, "job")} open`);
    warning.say(status.running ? (status.is_draining ? "The manager drains: what runs ends, nothing new starts." : "")
      : "No manager runs, so nothing starts. Airflow's scheduler starts one when Air-Executor is its executor; elsewhere run: air-executor manager start");
  }

  function showAnswer({ jobs, total, counts }) {
    states.count(counts, Object.values(counts).reduce((sum, number) => sum + number, 0));
    for (const [name, row] of rows) {
      if (!jobs.some((job) => job.name === name)) {
        row.element.remove();
        rows.delete(name);
      }
    }
    jobs.forEach((job, index) => {
      let row = rows.get(job.name);
      if (!row) rows.set(job.name, (row = jobRow(job)));
      row.update(job);
      // Moved only where the order has changed: focus and selection stay where they are.
      if (body.children[index] !== row.element) body.insertBefore(row.element, body.children[index] ?? null);
    });
    table.hidden = jobs.length === 0;
    nothing.replaceChildren(...(jobs.length ? [] : [describeNothing()]));
    pager.hidden = total <= PAGE;
    setText(range, `${formatNumber(asked.page * PAGE + 1)}–${formatNumber(asked.page * PAGE + jobs.length)} of ${formatNumber(total)}`);
    earlier.disabled = asked.page === 0;
    later.disabled = (asked.page + 1) * PAGE >= total;
  }

  function describeNothing() {
    if (asked.state || asked.q || asked.kind) {
      return emptyState("No job matches", "None has this state, kind and text.", h("button", {
        type: "button",
        onclick: () => { search.value = kinds.value = ""; ask({ state: "", q: "", kind: "", page: 0 }); },
      }, "Show all jobs"));
    }
    return scopeName
      ? emptyState(`No job of this ${scopeName}`, "A job appears here when a task hands work over or runs with Air-Executor.")
      : emptyState("No jobs yet", "A job appears here when a DAG hands work over, when Airflow runs a task with Air-Executor, or after: air-executor run -- COMMAND");
  }

  const watch = poll(look, (error, pauseMs) => trouble.say(describeError(error, pauseMs)));
  return { stop: watch.stop };
}

function jobRow(job) {
  const state = stateMark(job.state);
  const bar = progressBar();
  const cell = (text = "") => h("td", { class: "number" }, text);
  const [percent, tasks, running, failed, rate, left, changed] = [h("span", { class: "percent" }), cell(), cell(), cell(), cell(), cell(), cell()];
  const place = linkTo({ job: job.name });
  const element = h("tr", {
    onclick: (event) => { if (!event.target.closest("a") && !String(getSelection())) location.hash = place; },
  },
    h("td", {}, state.element),
    h("td", { class: "name" }, h("a", { href: place, title: job.name }, nameLine(job)), originLine(job)),
    h("td", { class: "progress" }, h("div", {}, bar.element, percent)),
    tasks, running, failed, rate, left, changed);
  return {
    element,
    update(now) {
      state.update(now.state);
      bar.update(now);
      setText(percent, `${formatPercent(now.percent)} %`);
      setText(tasks, now.total_tasks ? `${formatNumber(now.total_tasks - now.pending - now.running)} / ${formatNumber(now.total_tasks)}` : NOTHING);
      setText(running, now.running ? formatNumber(now.running) : NOTHING);
      setText(failed, now.failed ? formatNumber(now.failed) : NOTHING);
      setClass(failed, "bad", now.failed > 0);
      setAttribute(element, "title", now.error || null);
      setText(rate, formatRate(now.tasks_per_s));
      setText(left, now.time_left_s ? formatDuration(now.time_left_s) : NOTHING);
      setText(changed, formatAgo(now.updated_at));
      setAttribute(changed, "title", now.updated_at);
    },
  };
}
