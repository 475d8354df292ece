// The tasks of a job. Only the rows in sight exist, and only their pages are fetched: ten thousand tasks cost what thirty do.

import { getTasks } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { commandLine, formatDuration, formatTime, shortError, taskSeconds } from "./format.js";
import { TASK_STATUSES, emptyState, filterButtons, searchField, stateMark } from "./parts.js";
import { adjustPlace, readPlace } from "./place.js";

const ROW_PX = 30;
const PAGE = 100;
const SPARE_ROWS = 6;
/** Browsers cannot scroll further than this. */
const MOST_ROWS = 500_000;
const COLUMNS = [["position", "Task"], ["", "Command, or why it failed"], ["started", "Started"], ["duration", "Duration"]];

/** Make the list of a job's tasks; `open(id)` is called for the one that a person chooses. */
export function taskList(job, open) {
  const { status = "", find = "", order = "position", down = "" } = readPlace();
  const asked = { status, q: find, order, descending: down === "1" };
  let pages = new Map(), total = 0, chosen = null, cursor = -1, generation = 0, frame = 0, fetchTimer = 0, isStopped = false;
  const waiting = new Set();
  const rows = [];

  const filters = filterButtons("Tasks by status", [["", "All"], ...TASK_STATUSES.map((name) => [name, name])], asked.status,
    (value) => ask({ status: value }));
  const search = searchField("Find tasks", asked.q, (q) => ask({ q }));
  const headings = COLUMNS.map(([key, text]) => key
    ? h("button", { type: "button", "data-order": key, onclick: () => ask({ order: key, descending: asked.order === key && !asked.descending }) }, text)
    : h("span", {}, text));
  const sizer = h("div", { class: "sizer" });
  const nothing = h("div", {});
  const scroller = h("div", { class: "scroller", tabindex: "0", role: "listbox", "aria-label": "Tasks", onscroll: draw, onkeydown: onKey }, sizer, nothing);
  const element = h("section", { class: "sheet tasks", "aria-label": "Tasks" },
    h("div", { class: "tools" }, filters.element, search),
    h("div", { class: "task heading" }, h("span", {}), headings), scroller);
  const resized = new ResizeObserver(draw);
  resized.observe(scroller);
  markOrder();

  function ask(changes) {
    Object.assign(asked, changes);
    adjustPlace({ job, status: asked.status, find: asked.q, order: asked.order === "position" ? "" : asked.order, down: asked.descending ? "1" : "" });
    filters.mark(asked.status);
    markOrder();
    generation += 1;
    waiting.clear();
    pages = new Map();
    cursor = -1;
    scroller.scrollTop = 0;
    draw();
  }

  function markOrder() {
    for (const heading of headings) {
      const isOn = heading.dataset.order === asked.order;
      const way = isOn ? (asked.descending ? "descending" : "ascending") : null;
      setAttribute(heading, "data-sorted", way);
      if (heading.dataset.order) setAttribute(heading, "aria-label", `Sort by ${heading.textContent}${way ? `, now ${way}` : ""}`);
    }
  }

  async function fetchPage(index, signal) {
    const mine = generation;
    waiting.add(index);
    try {
      const answer = await getTasks(job, { ...asked, offset: index * PAGE, limit: PAGE }, signal);
      if (mine !== generation || isStopped) return;
      pages.set(index, answer.tasks);
      setTotal(answer.total);
    } finally {
      if (mine === generation) waiting.delete(index);
    }
  }

  function setTotal(number) {
    total = Math.min(number, MOST_ROWS);
    const height = `${total * ROW_PX}px`;
    if (sizer.style.height !== height) sizer.style.height = height;
    nothing.replaceChildren(...(total ? [] : [asked.status || asked.q
      ? emptyState("No task matches", "None has this status and text.")
      : emptyState("No tasks yet", "A running task may queue some.")]));
  }

  function inSight() {
    const first = Math.floor(scroller.scrollTop / ROW_PX);
    return [Math.max(0, first - SPARE_ROWS), first + Math.ceil(scroller.clientHeight / ROW_PX) + SPARE_ROWS];
  }

  const taskAt = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

  function draw() {
    // Once a frame, however many events come.
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; if (!isStopped) drawNow(); });
  }

  function drawNow() {
    const [first, end] = inSight();
    const last = pages.size ? Math.min(end, total) : 0;
    while (rows.length < last - first) {
      const row = taskRow(() => choose(row.index));
      rows.push(row);
      sizer.append(row.element);
    }
    rows.forEach((row, place) => {
      const index = first + place;
      if (index < last) row.show(index, taskAt(index), chosen, total);
      else row.hide();
    });
    setAttribute(scroller, "aria-activedescendant", cursor >= first && cursor < last ? `task-${cursor}` : null);
    const missing = pagesBetween(first, Math.max(last, first + 1)).filter((index) => !pages.has(index) && !waiting.has(index));
    clearTimeout(fetchTimer);
    // Who scrolls far passes many pages; only where one stops is it worth asking.
    if (missing.length) fetchTimer = setTimeout(() => missing.forEach((index) => fetchPage(index).then(draw, () => {})), pages.size ? 80 : 0);
  }

  function pagesBetween(first, last) {
    const found = [];
    for (let index = Math.floor(first / PAGE); index * PAGE < last; index += 1) found.push(index);
    return found;
  }

  function choose(index) {
    const task = taskAt(index);
    if (!task) return;
    cursor = index;
    open(task.id === chosen ? null : task.id);
  }

  function onKey(event) {
    const screen = Math.max(1, Math.floor(scroller.clientHeight / ROW_PX) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -total, End: total };
    if (event.key === "Escape" && chosen) open(null);
    else if (event.key in steps && total) {
      event.preventDefault();
      cursor = Math.min(total - 1, Math.max(0, cursor + steps[event.key]));
      const top = cursor * ROW_PX;
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top + ROW_PX > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + ROW_PX - scroller.clientHeight;
      const task = taskAt(cursor);
      if (task && task.id !== chosen) open(task.id);
      draw();
    }
  }

  return {
    element,
    focus: () => scroller.focus(),
    /** Mark the task that is open. */
    choose(id) {
      chosen = id;
      draw();
    },
    /** Fetch anew what is in sight. */
    async refresh(signal) {
      const wanted = pagesBetween(...inSight()).filter((index) => index === 0 || index * PAGE < total);
      await Promise.all(wanted.map((index) => fetchPage(index, signal)));
      for (const index of pages.keys()) if (!wanted.includes(index)) pages.delete(index);
      draw();
    },
    openFirst() {
      const task = taskAt(0);
      if (task) open(task.id);
    },
    /** Let the durations of running tasks go on. */
    tick: draw,
    count: (progress) => filters.count(progress, progress.total_tasks),
    stop() {
      isStopped = true;
      clearTimeout(fetchTimer);
      resized.disconnect();
    },
  };
}

function taskRow(onclick) {
  const state = stateMark("pending");
  const [id, attempt, what, started, took] = [h("span", { class: "id" }), h("small", { class: "attempt" }), h("span", { class: "what" }), h("span", { class: "number" }), h("span", { class: "number" })];
  const element = h("div", { class: "task", role: "option", onclick }, state.element, h("span", { class: "id-cell" }, id, attempt), what, started, took);
  const row = {
    element,
    index: -1,
    hide() { element.hidden = true; },
    show(index, task, chosen, total) {
      row.index = index;
      element.hidden = false;
      const place = `translateY(${index * ROW_PX}px)`;
      if (element.style.transform !== place) element.style.transform = place;
      setAttribute(element, "id", `task-${index}`);
      setAttribute(element, "aria-posinset", index + 1);
      setAttribute(element, "aria-setsize", total);
      setAttribute(element, "aria-selected", Boolean(task) && task.id === chosen);
      setAttribute(element, "data-state", task?.status ?? "unknown");
      state.update(task?.status ?? "");
      setText(id, task?.id ?? "");
      setAttribute(id, "title", task?.id ?? null);
      setText(attempt, task?.attempt > 1 ? `×${task.attempt}` : "");
      setAttribute(attempt, "title", task?.attempt > 1 ? `Attempt ${task.attempt}` : null);
      const words = !task ? "" : task.error ? shortError(task.error) : commandLine(task);
      setText(what, words);
      setAttribute(what, "title", task?.error || words);
      setText(started, task?.started_at ? formatTime(task.started_at) : "");
      setText(took, task?.started_at ? formatDuration(taskSeconds(task)) : "");
    },
  };
  return row;
}
