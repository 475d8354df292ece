// Asks again and again, one question at a time: slower after an error, not at all while nobody looks.
// A stream would hold one of the six connections that a browser allows for each host, in every open tab, and starve
// Airflow's own pages of them.

const LONGEST_PAUSE_MS = 30_000;

/**
 * Call `look(signal)` now and then again after what it returns in milliseconds (null: no more), or after an error, ever
 * later. `report(error, pauseMs)` hears of errors, and null when the next look went well.
 * Return {now, stop}: look at once; end it.
 */
export function poll(look, report) {
  let timer = 0, failures = 0, controller = null, isStopped = false, isDue = false;

  async function run() {
    if (isStopped || controller) return;
    if (document.hidden) { isDue = true; return; }
    controller = new AbortController();
    let pauseMs;
    try {
      pauseMs = await look(controller.signal);
      failures = 0;
      if (!isStopped) report(null, 0);
    } catch (error) {
      if (error.name === "AbortError") pauseMs = 0;
      else {
        failures += 1;
        pauseMs = Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** Math.min(failures, 5));
        if (!(error.status >= 0)) console.error(error);
        if (!isStopped) report(error, pauseMs);
      }
    }
    controller = null;
    if (!isStopped && pauseMs !== null) timer = setTimeout(run, pauseMs);
  }

  function now() {
    clearTimeout(timer);
    if (controller) controller.abort();
    else run();
  }

  function onVisibility() {
    if (!document.hidden && isDue) { isDue = false; now(); }
  }

  document.addEventListener("visibilitychange", onVisibility);
  run();
  return {
    now,
    stop() {
      isStopped = true;
      clearTimeout(timer);
      controller?.abort();
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };
}
