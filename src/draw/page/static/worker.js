/**
 * Runs models in a worker, so that films play smoothly while others are computed.
 *
 * The message `{id, task, model, args}` starts a run and `{id, stop: true}` ends it. The worker
 * answers `{id, part}` for each part, `{id, progress}` while it loads the model, then
 * `{id, done: true}` or `{id, error}`.
 */

import { GlimpseClassifier } from "./classifier.js";
import { loadLayers } from "./layers.js";
import { fetchBytes, fetchJson, once } from "./loading.js";
import { DRAW } from "./model.js";
import * as runs from "./runs.js";
import { parseSafetensors } from "./safetensors.js";

const MAX_TIME = 16; // milliseconds that a run computes before other messages are handled

const NETWORKS = { DRAW, GlimpseClassifier };

const models = new Map(); // name -> promise of a model
const running = new Set(); // ids of runs

async function load(name, progress) {
  const [config, weights, layer] = await Promise.all([
    fetchJson(`models/${name}/config.json`),
    fetchBytes(`models/${name}/model.safetensors`, progress),
    loadLayers(),
  ]);
  return new NETWORKS[config.type](config, parseSafetensors(weights), layer);
}

async function start({ id, task, model: name, args }) {
  running.add(id);
  try {
    const model = await once(models, name, () =>
      load(name, (...bytes) => postMessage({ id, progress: bytes })),
    );
    const parts = task === "load" ? [].values() : runs[task](model, args);
    let since = -Infinity;
    for (;;) {
      if (performance.now() - since > MAX_TIME) {
        await handleMessages();
        since = performance.now();
      }
      const { value: part, done } = running.has(id) ? parts.next() : { done: true };
      if (done) break;
      if (part) post(id, part);
    }
    postMessage({ id, done: true });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  running.delete(id);
}

function post(id, part) {
  const films = part.films ?? [];
  postMessage(
    { id, part },
    films.map(({ means }) => means.buffer),
  );
}

/** Lets the worker handle messages that have arrived; a timer would wait for 4 milliseconds. */
function handleMessages() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

onmessage = ({ data }) => (data.stop ? running.delete(data.id) : start(data));
