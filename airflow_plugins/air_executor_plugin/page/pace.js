// When something that costs much to draw is drawn again: not too often, and never left out of date.

/** Return {isDue, drawn} for something that is drawn at most once in `pauseMs`. */
export function makePace(pauseMs, clock = Date.now) {
  let isStale = true, dueAt = 0;
  return {
    /** Claim that it is to be drawn now. `hasChanged`: since the last call; `isFinal`: it is not to wait. */
    isDue(hasChanged, isFinal) {
      isStale ||= hasChanged;
      if (!isStale || (clock() < dueAt && !isFinal)) return false;
      dueAt = clock() + pauseMs;
      return true;
    },
    /** Take note that it is drawn; until then, as after an error, it is out of date. */
    drawn() { isStale = false; },
  };
}
