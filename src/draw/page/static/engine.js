/** The page's interface to the worker: each run is an asynchronous iterator over its parts. */

export class Engine {
  constructor() {
    this.listeners = new Map(); // run id -> handler of its messages
    this.runs = 0;
    this.failure = null; // the error that ended the worker
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.listeners.get(data.id)?.(data);
    this.worker.onerror = (event) => {
      this.failure = event.message ?? "the worker could not be started";
      for (const listener of [...this.listeners.values()]) listener({ error: this.failure });
    };
  }

  /**
   * Yields the parts of a run as they arrive; returns without an error if the signal aborts. Calls
   * `onprogress(loaded, total)` while the run loads its model.
   */
  async *run(task, model, args, signal, onprogress = () => {}) {
    const id = ++this.runs;
    const inbox = [];
    let wake = () => {};
    const deliver = (message) => {
      inbox.push(message);
      wake();
    };
    const stop = () => {
      this.worker.postMessage({ id, stop: true });
      wake();
    };
    if (signal?.aborted) return;
    if (this.failure) throw new Error(this.failure);
    this.listeners.set(id, deliver);
    signal?.addEventListener("abort", stop);
    this.worker.postMessage({ id, task, model, args });
    try {
      for (;;) {
        if (!inbox.length) await new Promise((resolve) => (wake = resolve));
        if (signal?.aborted) return;
        const { part, progress, error, done } = inbox.shift();
        if (progress) {
          onprogress(...progress);
          continue;
        }
        if (error) throw new Error(error);
        if (done) return;
        yield part;
      }
    } finally {
      this.listeners.delete(id);
      signal?.removeEventListener("abort", stop);
    }
  }
}
