// One job: how far it is, when its tasks ran, which tasks it has, and the one that is opened.

import { getJob, getTimeline } from "./api.js";
import { h, setAttribute, setClass, setText } from "./dom.js";
import { NOTHING, formatDuration, formatNumber, formatPercent, formatRate } from "./format.js";
import { jobChooser } from "./job_chooser.js";
import { nameLine, originLine } from "./origin.js";
import { makePace } from "./pace.js";
import { describeError, isOver, notice, progressBar, stateMark } from "./parts.js";
import { adjustPlace, linkTo, readPlace, scopeName } from "./place.js";
import { poll } from "./poll.js";
import { taskList } from "./task_list.js";
import { taskPane } from "./task_pane.js";
import { timeline } from "./timeline.js";

const PAUSE_MS = 1000;
const PAUSE_AFTER_END_MS = 10_000; // A person may have tasks run again.
const TIMELINE_PAUSE_MS = 3000;

/** Show a job in `root`. `siblings` are the other jobs that the reader may want; return {job, offer, stop}. */
export function showJob(root, name, siblings = []) {
  const state = stateMark();
  const bar = progressBar();
  const percent = h("strong", { class: "percent" });
  const title = h("h1", { title: name });
  const origin = h("div", { class: "under" });
  const trouble = notice("error");
  const failure = notice("failure");
  const figures = makeFigures();
  const chooser = jobChooser(name, (job) => { location.hash = linkTo({ job }); });
  const chart = timeline(openTask);
  const list = taskList(name, openTask);
  const panel = h("aside", { class: "panel", "aria-label": "Task", hidden: true });
  const split = h("div", { class: "split" }, list.element, panel);
  const timelinePace = makePace(TIMELINE_PAUSE_MS);
  let pane = null, last = "", isFirst = true;

  root.append(h("div", { class: "page job" },
    h("header", { class: "title" },
      scopeName === "task instance" ? null : h("a", { class: "back", href: linkTo({}), title: "Back to the list" }, "‹ Jobs"),
      title, state.element, h("span", { class: "gap" }), chooser.element),
    origin, trouble.element, failure.element,
    h("section", { class: "sheet summary", "aria-label": "Progress" },
      h("div", { class: "overall" }, bar.element, percent), figures.element),
    chart.element, split));
  chooser.offer(siblings);

  function openTask(id) {
    pane?.stop();
    pane = null;
    panel.replaceChildren();
    adjustPlace({ job: name, task: id });
    panel.hidden = !id;
    setClass(split, "open", Boolean(id));
    list.choose(id);
    if (id) pane = taskPane(panel, name, id, () => { openTask(null); list.focus(); });
  }

  async function look(signal) {
    const job = await getJob(name, signal);
    const now = JSON.stringify([job.state, job.total_tasks, job.completed, job.failed, job.running, job.cancelled, job.skipped, job.updated_at]);
    const hasChanged = now !== last;
    if (hasChanged) await list.refresh(signal);
    else list.tick();
    show(job);
    if (timelinePace.isDue(hasChanged, isOver(job.state))) {
      chart.show(await getTimeline(name, signal), job);
      timelinePace.drawn();
    }
    chart.tick(job);
    last = now;
    return isOver(job.state) ? PAUSE_AFTER_END_MS : PAUSE_MS;
  }

  function show(job) {
    state.update(job.state);
    bar.update(job);
    setText(percent, `${formatPercent(job.percent)} %`);
    figures.update(job);
    setText(title, nameLine(job));
    if (!origin.firstChild) origin.append(originLine(job) ?? "");
    // Where there is one task only, it is what the reader came for.
    if (job.total_tasks === 1 && isFirst && !pane) list.openFirst();
    isFirst = false;
    failure.say(job.error ?? "");
    setAttribute(failure.element, "data-state", job.state);
    list.count(job);
  }

  const watch = poll(look, (error, pauseMs) => trouble.say(describeError(error, pauseMs)));
  if (readPlace().task) openTask(readPlace().task);
  return {
    job: name,
    offer: chooser.offer,
    stop() {
      watch.stop();
      pane?.stop();
      list.stop();
      chart.stop();
    },
  };
}

function makeFigures() {
  const made = {};
  const figure = (key, label, title) => {
    made[key] = h("dd", {});
    return h("div", { class: "figure", "data-figure": key, title }, h("dt", {}, label), made[key]);
  };
  const element = h("dl", { class: "figures" },
    figure("total_tasks", "Tasks", "As known now; running tasks may add more"), figure("completed", "Completed"), figure("running", "Running", "Each is a process of its own"),
    figure("pending", "Pending"), figure("failed", "Failed"), figure("skipped", "Skipped", "A task that they need did not complete"), figure("cancelled", "Cancelled"),
    figure("rate", "Rate", "Tasks ended over the last seconds"), figure("left", "Time left", "For the tasks known now, at that rate"), figure("took", "Elapsed"));
  return {
    element,
    update(job) {
      for (const key of ["total_tasks", "completed", "running", "pending", "failed", "skipped", "cancelled"]) {
        setText(made[key], formatNumber(job[key]));
        setClass(made[key].parentElement, "none", !job[key]);
        if (key === "skipped" || key === "cancelled") made[key].parentElement.hidden = !job[key];
      }
      setText(made.rate, formatRate(job.tasks_per_s));
      setText(made.left, job.time_left_s ? formatDuration(job.time_left_s) : NOTHING);
      const end = isOver(job.state) ? Date.parse(job.updated_at) : Date.now();
      setText(made.took, formatDuration((end - Date.parse(job.created_at)) / 1000));
    },
  };
}
