// Asks the server. Reads only; the browser sends Airflow's own login along.

/** What went wrong, in words for the person who reads the page. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const EXPLAINED = {
  401: "Your login has ended. Reload Airflow and log in again.",
  403: "You may not see this. Ask an Airflow administrator for the permission.",
};

async function ask(path, parameters, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== "") query.append(name, item);
    }
  }
  const text = query.toString();
  let response;
  try {
    response = await fetch(`api/${path}${text ? `?${text}` : ""}`, { signal, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "Airflow's API server does not answer.");
  }
  if (response.ok) return response;
  let detail = `The server answered ${response.status}.`;
  try {
    const answer = await response.json();
    if (typeof answer.detail === "string") detail = answer.detail;
  } catch { /* Not every proxy answers in JSON. */ }
  throw new ApiError(response.status, EXPLAINED[response.status] ?? detail);
}

export async function getJson(path, parameters = {}, signal = undefined) {
  return (await ask(path, parameters, signal)).json();
}

const jobPath = (job) => `jobs/${encodeURIComponent(job)}`;
const taskPath = (job, task) => `${jobPath(job)}/tasks/${encodeURIComponent(task)}`;

export const getManager = (signal) => getJson("manager", {}, signal);
export const getJobs = (parameters, signal) => getJson("jobs", parameters, signal);
export const getJob = (job, signal) => getJson(jobPath(job), {}, signal);
export const getTasks = (job, parameters, signal) => getJson(`${jobPath(job)}/tasks`, parameters, signal);
export const getTask = (job, task, signal) => getJson(taskPath(job, task), {}, signal);
export const getTimeline = (job, signal) => getJson(`${jobPath(job)}/timeline`, { limit: 2000 }, signal);

/** Return a piece of a log: its bytes, where it starts and ends, and how long the log is. */
export async function getLog(job, task, { attempt, offset, limit }, signal) {
  const response = await ask(`${taskPath(job, task)}/log`, { attempt, offset, limit }, signal);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const next = Number(response.headers.get("X-Next-Offset"));
  return { bytes, start: next - bytes.length, next, size: Number(response.headers.get("X-Log-Size")) };
}
