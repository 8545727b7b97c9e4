// Work that is done again and again while its page is shown.

/** Call `work` at once and `every()` milliseconds after it has ended, until stopped. Hidden tabs wait; after
 *  failures the pauses grow; when the network goes or comes back, `work` is called at once. `now()` of the answer brings the next call forward. */
export function poll(work, every) {
  let timer = null;
  let stopped = false;
  let failures = 0;
  let controller = new AbortController();

  async function turn() {
    clearTimeout(timer);
    controller.abort(); // of two turns the later one counts: what it asks may have changed
    const { signal } = (controller = new AbortController());
    if (!document.hidden) {
      try {
        await work(signal);
        failures = 0;
      } catch (error) {
        if (error.name !== "AbortError") failures += 1;
      }
    }
    if (!stopped && !signal.aborted)
      timer = setTimeout(turn, Math.min(30_000, every() * 2 ** Math.min(failures, 4)));
  }

  const shown = () => !document.hidden && turn();
  document.addEventListener("visibilitychange", shown);
  for (const event of ["online", "offline"]) window.addEventListener(event, shown);
  turn();
  return {
    now: turn,
    stop() {
      stopped = true;
      controller.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
      for (const event of ["online", "offline"]) window.removeEventListener(event, shown);
    },
  };
}

/** Something that a page reads: its value, and how that went. */
export class Loaded {
  constructor(app, read) {
    Object.assign(this, { app, read, value: null, error: null, loading: true });
  }

  /** Read again; the old value stays until the new one is there. Raises what reading raises. */
  async load(signal) {
    try {
      const value = await this.read(signal);
      signal?.throwIfAborted();
      this.value = value;
      this.error = null;
    } catch (error) {
      if (error.name !== "AbortError") this.error = error;
      throw error;
    } finally {
      this.loading = false;
      this.app.refresh();
    }
    return this.value;
  }
}
