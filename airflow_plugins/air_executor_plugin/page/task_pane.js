// One task: what it is, why it failed or waits, and its log.

import { getTask } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { commandLine, formatBytes, formatDuration, formatTime, taskSeconds } from "./format.js";
import { logView } from "./log.js";
import { describeError, notice, stateMark } from "./parts.js";
import { poll } from "./poll.js";

/** Show a task in `root`; `close` is called when the reader is done. Return {stop}. */
export function taskPane(root, job, id, close) {
  const state = stateMark();
  const trouble = notice("error");
  const failure = notice("failure");
  const explanation = h("p", { class: "explanation" });
  const hint = h("p", { class: "explanation" });
  const command = h("code", { class: "command" });
  const facts = h("dl", { class: "facts" });
  const attempts = h("select", { "aria-label": "Attempt", hidden: true, onchange: () => showLog(Number(attempts.value)) });
  const logPlace = h("div", { class: "log" });
  let log = null, newest = 0, shownFacts = "";

  root.append(
    h("header", { class: "title" }, h("h2", { title: id }, id), state.element, h("span", { class: "gap" }), attempts,
      h("button", { type: "button", class: "close", "aria-label": "Close", title: "Close (Escape)", onclick: close }, "✕")),
    trouble.element, failure.element, explanation, hint, command, facts, logPlace);
  root.onkeydown = (event) => { if (event.key === "Escape") close(); };

  async function look(signal) {
    const task = await getTask(job, id, signal);
    state.update(task.status);
    failure.say(task.error ?? "");
    // What the error says already is not said twice.
    setText(explanation, task.error || task.status === "running" ? "" : task.explanation ?? "");
    // It reports to Airflow how the task ended, and exits with 0 then.
    setText(hint, task.runner === "airflow" ? "This process ran a task for Airflow, which knows how the task ended and keeps its log." : "");
    setText(command, commandLine(task));
    showFacts(task);
    if (task.attempt !== newest) {
      newest = task.attempt;
      attempts.hidden = newest < 2;
      attempts.replaceChildren(...Array.from({ length: newest }, (_, place) =>
        h("option", { value: place + 1, selected: place + 1 === newest }, `Attempt ${place + 1}`)));
      if (newest) showLog(newest);
    }
    if (!newest && !logPlace.firstChild) logPlace.append(h("p", { class: "hint" }, "It has no log: it has not started."));
    log?.setEnded(task.status !== "running" || Number(attempts.value) !== newest);
    return task.status === "running" ? 1000 : task.status === "pending" ? 2000 : 10_000;
  }

  function showLog(attempt) {
    log?.stop();
    logPlace.replaceChildren();
    log = logView(logPlace, job, id, attempt);
  }

  function showFacts(task) {
    const lines = [
      ["Started", task.started_at && formatTime(task.started_at)],
      ["Took", task.started_at && formatDuration(taskSeconds(task))],
      ["Exit code", task.exit_code],
      ["Signal", task.signal],
      ["CPU", task.cpu_s !== undefined && task.cpu_s !== null ? formatDuration(task.cpu_s) : null],
      ["Peak memory", task.peak_memory_bytes ? formatBytes(task.peak_memory_bytes) : null],
      ["Needs", task.dependencies?.length ? task.dependencies.slice(0, 20).join(", ") : null],
      ["Next try", task.status === "pending" && task.retry_at ? formatTime(task.retry_at) : null],
      ["Ended with it", task.killed?.length ? task.killed.join(", ") : null],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    const now = JSON.stringify(lines);
    if (now === shownFacts) return;
    shownFacts = now;
    facts.replaceChildren(...lines.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
    setAttribute(facts, "hidden", lines.length ? null : "");
  }

  const watch = poll(look, (error, pauseMs) => trouble.say(describeError(error, pauseMs)));
  return {
    stop() {
      watch.stop();
      log?.stop();
      root.onkeydown = null;
    },
  };
}
