/**
 * Runs models in a worker, so that films play smoothly while others are computed.
 *
 * The message `{id, task, model, args}` starts a run and `{id, stop: true}` ends it. The worker
 * answers `{id, part}` for each part, then `{id, done: true}` or `{id, error}`.
 */

import { DRAW } from "./model.js";
import { once } from "./once.js";
import * as runs from "./runs.js";
import { parseSafetensors } from "./safetensors.js";

const models = new Map(); // name -> promise of a model
const running = new Set(); // ids of runs

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} could not be loaded (HTTP ${response.status})`);
  return response;
}

async function load(name) {
  const [config, weights] = await Promise.all([
    fetchFile(`models/${name}/config.json`).then((response) => response.json()),
    fetchFile(`models/${name}/model.safetensors`).then((response) => response.arrayBuffer()),
  ]);
  return new DRAW(config, parseSafetensors(weights));
}

/** Lets the worker handle messages that have arrived in the meantime. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

async function start({ id, task, model: name, args }) {
  running.add(id);
  try {
    const model = await once(models, name, () => load(name));
    const parts = task === "load" ? [].values() : runs[task](model, args);
    for (;;) {
      await pause();
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
