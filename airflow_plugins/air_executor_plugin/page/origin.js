// What a job belongs to in Airflow, from its labels.

import { h } from "./dom.js";

const isMapped = (index) => index !== undefined && index !== "-1";

function instanceName({ dag_id, task_id, map_index }) {
  return task_id ? `${dag_id} › ${task_id}${isMapped(map_index) ? ` [${map_index}]` : ""}` : dag_id;
}

/** Claim that a job's name was made from the task instance, by the executor or by an operator. */
const isNamedAfterTask = ({ name, labels }) =>
  Boolean(labels?.dag_id) && (labels.kind === "task" || name.startsWith(`${labels.dag_id}-${labels.task_id}-`));

/** What people call a job: its name, but the task's where nobody gave it a name of its own. */
export const nameLine = (job) => (isNamedAfterTask(job) ? instanceName(job.labels) : job.name);

/** What in Airflow a job belongs to, in one line; null for a job of nobody's. */
export function originLine(job) {
  const { labels } = job;
  const { kind, dag_id, run_id, try_number } = labels ?? {};
  const again = try_number && try_number !== "1" ? `try ${try_number}` : null;
  const words = isNamedAfterTask(job) ? [run_id, again] : [dag_id && instanceName(labels), run_id, again];
  const tag = kind === "hand-over" ? h("em", { class: "kind" }, "handed over") : !dag_id && kind ? h("em", { class: "kind" }, kind) : null;
  const text = words.filter(Boolean).join(" · ");
  return tag || text ? h("small", { class: "origin", title: text }, tag, text) : null;
}
