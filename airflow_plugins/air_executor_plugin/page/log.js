// The log of one attempt: its end first, what comes after it as it is written, what was before it when asked for.

import { getLog } from "./api.js";
import { h, setText } from "./dom.js";
import { formatBytes } from "./format.js";
import { describeError, notice } from "./parts.js";
import { poll } from "./poll.js";

const PIECE = 65_536;
/** Characters kept in the page; the rest is asked for again when it is wanted. */
const MOST_SHOWN = 2_000_000;
const NEW_LINE = 10;

// Colours and cursor moves mean nothing here; of what a progress bar overwrote only its last word counts.
const plain = (text) => text.replace(/\u001b(\[[0-?]*[ -/]*[@-~]|\][^\u0007]*\u0007|[@-_])/g, "").replace(/[^\n]*\r(?=[^\n])/g, "").replaceAll("\r", "");

/** Show the log of an attempt in `root`; return {setEnded, stop}. */
export function logView(root, job, task, attempt) {
  const trouble = notice("error");
  const follow = h("input", { type: "checkbox", checked: true, onchange: () => { if (follow.checked) toEnd(); } });
  const wrap = h("input", { type: "checkbox", checked: true, onchange: () => text.classList.toggle("wrap", wrap.checked) });
  const size = h("span", { class: "hint" });
  const before = h("button", { type: "button", class: "before", hidden: true, onclick: showBefore }, "Show what was before");
  const output = h("code", {});
  const text = h("pre", { class: "wrap", tabindex: "0", "aria-label": "Log", onscroll: onScroll }, before, output);
  const decoder = new TextDecoder();
  let start = 0, next = null, isEnded = false, shown = 0;

  root.append(
    h("div", { class: "tools" }, h("strong", {}, "Log"), size, h("span", { class: "gap" }),
      h("label", {}, follow, "Follow"), h("label", {}, wrap, "Wrap")),
    trouble.element, text);

  async function look(signal) {
    const piece = await getLog(job, task, next === null
      ? { attempt, offset: -PIECE, limit: PIECE } : { attempt, offset: next, limit: PIECE }, signal);
    let { bytes } = piece;
    if (next === null) {
      const cut = piece.start > 0 ? bytes.indexOf(NEW_LINE) + 1 : 0;
      start = piece.start + cut;
      bytes = bytes.subarray(cut);
    }
    const hasMore = piece.next < piece.size;
    next = piece.next;
    if (bytes.length) append(plain(decoder.decode(bytes, { stream: true })));
    before.hidden = start <= 0;
    setText(size, piece.size ? formatBytes(piece.size) : isEnded ? "It wrote nothing." : "Nothing yet.");
    if (hasMore) return 0;
    return isEnded ? null : 1000;
  }

  function append(words) {
    output.append(words);
    shown += words.length;
    while (shown > MOST_SHOWN && output.childNodes.length > 1) {
      const oldest = output.firstChild;
      shown -= oldest.data.length;
      start += new TextEncoder().encode(oldest.data).length;
      oldest.remove();
      before.hidden = true; // Its place is no longer known to the byte.
    }
    if (follow.checked) toEnd();
  }

  async function showBefore() {
    before.disabled = true;
    try {
      const from = Math.max(0, start - PIECE);
      const { bytes } = await getLog(job, task, { attempt, offset: from, limit: start - from });
      const cut = from > 0 ? bytes.indexOf(NEW_LINE) + 1 : 0;
      const fromEnd = text.scrollHeight - text.scrollTop;
      follow.checked = false;
      const words = plain(new TextDecoder().decode(bytes.subarray(cut)));
      output.prepend(words);
      shown += words.length;
      start = from + cut;
      before.hidden = start <= 0;
      text.scrollTop = text.scrollHeight - fromEnd;
      trouble.say("");
    } catch (error) {
      trouble.say(describeError(error, 0));
    }
    before.disabled = false;
  }

  function toEnd() {
    requestAnimationFrame(() => { text.scrollTop = text.scrollHeight; });
  }

  function onScroll() {
    // Who scrolls up wants to read; who comes back to the end wants to follow.
    const isAtEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 8;
    if (follow.checked !== isAtEnd) follow.checked = isAtEnd;
  }

  // What stands above it comes and goes, and so does its height.
  const resized = new ResizeObserver(() => { if (follow.checked) toEnd(); });
  resized.observe(text);
  const watch = poll(look, (error, pauseMs) => trouble.say(describeError(error, pauseMs)));
  return {
    /** Say whether the attempt writes no more; what it wrote last is read once more. */
    setEnded(value) {
      if (value === isEnded) return;
      isEnded = value;
      watch.now();
    },
    stop() {
      watch.stop();
      resized.disconnect();
    },
  };
}
