// When the tasks of a job ran, drawn on a canvas: each a bar, in the first row that was free when it started.

import { h, setText } from "./dom.js";
import { formatDuration, formatNumber, taskSeconds } from "./format.js";
import { isOver } from "./parts.js";

const MOST_PX = 68;
const MOST_PX_WHERE_SHORT = 40;
const BAR_PX = 12;
const AXIS_PX = 16;
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800];

/** Make the timeline; `open(id)` is called for the task that is clicked. Return {element, show, tick, stop}. */
export function timeline(open) {
  const canvas = h("canvas", { role: "img", "aria-label": "When the tasks ran" });
  const caption = h("span", { class: "hint" });
  const tip = h("div", { class: "tip", hidden: true });
  const frame = h("div", { class: "frame" }, canvas, tip);
  const element = h("section", { class: "sheet timeline", "aria-label": "Timeline", hidden: true },
    h("div", { class: "tools" }, h("strong", {}, "Timeline"), caption), frame);
  let bars = [], lanes = 1, height = AXIS_PX, from = 0, to = 1, isLive = false, scheduled = 0, hovered = null;

  function show({ tasks, total }, job) {
    element.hidden = tasks.length === 0;
    isLive = !isOver(job.state);
    bars = tasks.map((task) => ({ task, start: Date.parse(task.started_at), end: task.completed_at ? Date.parse(task.completed_at) : null, lane: 0 }));
    lanes = arrange(bars);
    height = AXIS_PX + Math.min(innerHeight < 760 ? MOST_PX_WHERE_SHORT : MOST_PX, lanes * (BAR_PX + 1));
    canvas.style.height = `${height}px`;
    from = bars.reduce((least, bar) => Math.min(least, bar.start), Infinity);
    setText(caption, tasks.length < total ? `${formatNumber(tasks.length)} of ${formatNumber(total)} tasks that started` : "");
    draw();
  }

  function draw() {
    if (!scheduled) scheduled = requestAnimationFrame(() => { scheduled = 0; drawNow(); });
  }

  function drawNow() {
    const width = frame.clientWidth;
    if (!width || !bars.length) return;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const ends = bars.reduce((latest, bar) => Math.max(latest, bar.end ?? bar.start), from);
    to = Math.max(from + 100, isLive ? Math.max(ends, Date.now()) : ends);
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const colours = { running: colour("running"), completed: colour("completed"), failed: colour("failed"), cancelled: colour("cancelled"), skipped: colour("skipped"), pending: colour("failed") };
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    drawAxis(pen, width, colour("line"), colour("muted"), style.fontFamily);
    const high = (height - AXIS_PX) / lanes;
    const gap = high > 4 ? 1 : 0;
    for (const bar of bars) {
      const left = x(bar.start, width);
      const wide = Math.max(1, x(bar.end ?? to, width) - left - (high > 4 ? 0.5 : 0));
      pen.fillStyle = colours[bar.task.status] ?? colours.pending;
      pen.globalAlpha = hovered && hovered !== bar ? 0.45 : 1;
      pen.fillRect(left, bar.lane * high, wide, Math.max(1, Math.min(high - gap, BAR_PX)));
    }
    pen.globalAlpha = 1;
  }

  const x = (time, width) => ((time - from) / (to - from)) * width;

  function drawAxis(pen, width, line, ink, font) {
    const seconds = (to - from) / 1000;
    const step = STEPS_S.find((size) => (size / seconds) * width >= 90) ?? STEPS_S.at(-1);
    pen.font = `10px ${font}`;
    pen.textBaseline = "bottom";
    for (let tick = 0; tick <= seconds; tick += step) {
      const place = Math.round((tick / seconds) * width) + 0.5;
      pen.fillStyle = line;
      pen.fillRect(place, 0, 1, height - AXIS_PX + 3);
      pen.fillStyle = ink;
      if (place < width - 40) pen.fillText(formatTick(tick, step), place + 3, height);
    }
  }

  function barAt(event) {
    const box = canvas.getBoundingClientRect();
    const time = from + ((event.clientX - box.left) / box.width) * (to - from);
    const lane = Math.floor((event.clientY - box.top) / ((height - AXIS_PX) / lanes));
    const slack = ((to - from) / box.width) * 3;
    let best = null;
    for (const bar of bars) {
      if (bar.lane !== lane) continue;
      const distance = Math.max(0, bar.start - time, time - (bar.end ?? to));
      if (distance <= slack && (!best || distance < best.distance)) best = { bar, distance };
    }
    return best?.bar ?? null;
  }

  canvas.addEventListener("pointermove", (event) => {
    const bar = barAt(event);
    if (bar !== hovered) { hovered = bar; draw(); }
    canvas.style.cursor = bar ? "pointer" : "";
    tip.hidden = !bar;
    if (!bar) return;
    setText(tip, `${bar.task.id} · ${bar.task.status} · ${formatDuration(taskSeconds(bar.task))}`);
    const left = Math.min(event.offsetX + 12, frame.clientWidth - tip.offsetWidth - 4);
    tip.style.transform = `translate(${Math.max(0, left)}px, ${height - AXIS_PX}px)`;
  });
  canvas.addEventListener("pointerleave", () => { hovered = null; tip.hidden = true; draw(); });
  canvas.addEventListener("click", (event) => { const bar = barAt(event); if (bar) open(bar.task.id); });
  const resized = new ResizeObserver(draw);
  resized.observe(frame);
  document.addEventListener("themechange", draw);

  return {
    element,
    show,
    /** Let the bars of running tasks grow. */
    tick(job) {
      isLive = !isOver(job.state);
      if (isLive) draw();
    },
    stop() {
      resized.disconnect();
      document.removeEventListener("themechange", draw);
      cancelAnimationFrame(scheduled);
    },
  };
}

function formatTick(seconds, step) {
  if (seconds < 60) return seconds ? `${Number(seconds.toFixed(1))} s` : "0";
  if (step < 60) return `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Number((seconds / 3600).toFixed(1))} h` : `${Math.round(seconds / 86_400)} d`;
}

/** Give each bar the first row that is free at its start; return the number of rows. The bars come in order of start. */
export function arrange(bars) {
  const free = []; // Rows that are free again, the lowest first.
  const busy = []; // [end, row], the earliest end first.
  let rows = 0;
  const insert = (list, item, key) => {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(list[middle]) < key(item)) low = middle + 1;
      else high = middle;
    }
    list.splice(low, 0, item);
  };
  for (const bar of bars) {
    while (busy.length && busy[0][0] <= bar.start) insert(free, busy.shift()[1], (row) => row);
    bar.lane = free.length ? free.shift() : rows++;
    insert(busy, [bar.end ?? Infinity, bar.lane], (item) => item[0]);
  }
  return Math.max(rows, 1);
}
