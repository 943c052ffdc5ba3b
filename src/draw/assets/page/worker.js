/**
 * Runs models off the page's own thread, so that a film never falters while another is computed.
 *
 * In: `{id, task, model, args}` starts a run, `{id, stop: true}` ends it. Out: `{id, part}` for
 * each part, then `{id, done: true}`, or `{id, error}`.
 */

import { DRAW } from "./model.js";
import * as runs from "./runs.js";
import { parseSafetensors } from "./safetensors.js";

const models = new Map(); // name -> promise of a model
const running = new Set(); // ids

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded (${response.status})`);
  return response;
}

async function load(name) {
  const [config, weights] = await Promise.all([
    fetched(`models/${name}/config.json`).then((response) => response.json()),
    fetched(`models/${name}/model.safetensors`).then((response) => response.arrayBuffer()),
  ]);
  return new DRAW(config, parseSafetensors(weights));
}

function loaded(name) {
  if (!models.has(name)) {
    const promise = load(name);
    promise.catch(() => models.delete(name)); // the next run tries again
    models.set(name, promise);
  }
  return models.get(name);
}

/** Lets the messages that have come in meanwhile be heard. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

async function start({ id, task, model: name, args }) {
  running.add(id);
  try {
    const model = await loaded(name);
    if (task !== "load") {
      for (const part of runs[task](model, args)) {
        await pause();
        if (!running.has(id)) break;
        postMessage(
          { id, part },
          part.films.map(({ means }) => means.buffer),
        );
      }
    }
    postMessage({ id, done: true });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  running.delete(id);
}

onmessage = ({ data }) => (data.stop ? running.delete(data.id) : start(data));
