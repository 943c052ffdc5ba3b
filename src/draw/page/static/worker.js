/**
 * Runs models in a worker, so that films play smoothly while others are computed.
 *
 * The message `{id, task, model, args}` starts a run and `{id, stop: true}` ends it. The worker
 * answers `{id, part}` for each part, then `{id, done: true}` or `{id, error}`.
 */

import { fetchFile, fetchJson, once } from "./loading.js";
import { DRAW } from "./model.js";
import * as runs from "./runs.js";
import { parseSafetensors } from "./safetensors.js";

const models = new Map(); // name -> promise of a model
const running = new Set(); // ids of runs

async function load(name) {
  const [config, weights] = await Promise.all([
    fetchJson(`models/${name}/config.json`),
    fetchFile(`models/${name}/model.safetensors`).then((response) => response.arrayBuffer()),
  ]);
  return new DRAW(config, parseSafetensors(weights));
}

async function start({ id, task, model: name, args }) {
  running.add(id);
  try {
    const model = await once(models, name, () => load(name));
    const parts = task === "load" ? [].values() : runs[task](model, args);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve)); // handles messages that have arrived
      const { value: part, done } = running.has(id) ? parts.next() : { done: true };
      if (done) break;
      postMessage(
        { id, part },
        part.films.map(({ means }) => means.buffer),
      );
    }
    postMessage({ id, done: true });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  running.delete(id);
}

onmessage = ({ data }) => (data.stop ? running.delete(data.id) : start(data));
