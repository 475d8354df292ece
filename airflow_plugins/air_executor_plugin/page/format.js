// Numbers, times and words as people read them.

const numbers = new Intl.NumberFormat("en-US");
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayAndClock = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

export const NOTHING = "–";

export const formatNumber = (number) => (number === null || number === undefined ? NOTHING : numbers.format(number));

/** 100 only when all have ended: 99.96 shows as 99.9. */
export const formatPercent = (percent) => (percent >= 100 ? "100" : (Math.floor(percent * 10) / 10).toFixed(1));

export function formatRate(perSecond) {
  if (!perSecond) return NOTHING;
  if (perSecond >= 10) return `${numbers.format(Math.round(perSecond))}/s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)}/s`;
  return perSecond * 60 >= 1 ? `${(perSecond * 60).toFixed(1)}/min` : `${(perSecond * 3600).toFixed(1)}/h`;
}

export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return NOTHING;
  const whole = Math.max(0, seconds);
  if (whole < 1) return `${Math.round(whole * 1000)} ms`;
  if (whole < 10) return `${whole.toFixed(1)} s`;
  if (whole < 60) return `${Math.floor(whole)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}m ${String(Math.floor(whole % 60)).padStart(2, "0")}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

export function formatAgo(time) {
  const seconds = Math.floor((Date.now() - Date.parse(time)) / 1000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} days ago`;
}

/** Time of day; with the day where it is not today. */
export function formatTime(time) {
  if (!time) return NOTHING;
  const date = new Date(time);
  return date.toDateString() === new Date().toDateString() ? clock.format(date) : dayAndClock.format(date);
}

export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = bytes, unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${unit && size < 10 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** Seconds that a task has taken until its end, or until now; null if it has not started. */
export function taskSeconds(task) {
  if (!task.started_at) return null;
  const end = task.completed_at ? Date.parse(task.completed_at) : task.status === "running" ? Date.now() : NaN;
  const seconds = (end - Date.parse(task.started_at)) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/** A command as one would type it. */
export function commandLine(task) {
  const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return [task.command, ...(task.args ?? [])].map(quote).join(" ");
}

/** An error in one line: what happened, and the last of what the task wrote, which mostly says why. */
export function shortError(error) {
  const lines = error.trimEnd().split("\n");
  return lines.length === 1 ? error : `${lines[0].split("; last lines:")[0]}: ${lines.at(-1).trim()}`;
}

export const capitalize = (word) => word.charAt(0).toUpperCase() + word.slice(1);
export const plural = (number, word) => `${formatNumber(number)} ${word}${number === 1 ? "" : "s"}`;
