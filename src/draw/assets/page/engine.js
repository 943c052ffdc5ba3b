/** The page's side of the worker: a run is an asynchronous iterator over its parts. */

export class Engine {
  constructor() {
    this.listeners = new Map(); // id of a run -> what hears its messages
    this.runs = 0;
    this.failure = null; // what the worker ended of
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.listeners.get(data.id)?.(data);
    this.worker.onerror = (event) => {
      this.failure = event.message ?? "the worker cannot be started";
      for (const listener of [...this.listeners.values()]) listener({ error: this.failure });
    };
  }

  /** Loads a model; its name is that of its folder. */
  async load(model) {
    await this.run("load", model).next(); // which has no parts, so this waits for its end
  }

  /** Parts of a run, as they come; ends early, in silence, when the signal aborts. */
  async *run(task, model, args, signal) {
    const id = ++this.runs;
    const inbox = [];
    let wake = () => {};
    const deliver = (message) => {
      inbox.push(message);
      wake();
    };
    const stop = () => {
      this.worker.postMessage({ id, stop: true });
      deliver({ done: true });
    };
    if (signal?.aborted) return;
    if (this.failure) throw new Error(this.failure);
    this.listeners.set(id, deliver);
    signal?.addEventListener("abort", stop);
    this.worker.postMessage({ id, task, model, args });
    try {
      for (;;) {
        while (!inbox.length) await new Promise((resolve) => (wake = resolve));
        if (signal?.aborted) return;
        const { part, error, done } = inbox.shift();
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
