/** Helpers that load files and models. */

/** Caches the promise that `make` returns under a name, until it fails. */
export function once(cache, name, make) {
  if (!cache.has(name)) {
    const promise = make();
    promise.catch(() => cache.delete(name));
    cache.set(name, promise);
  }
  return cache.get(name);
}

/** Fetches a file; returns the response. */
export async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} could not be loaded (HTTP ${response.status})`);
  return response;
}

/** Fetches a file's bytes; calls `progress(loaded, total)` with bytes, total null if unknown. */
export async function fetchBytes(url, progress) {
  const response = await fetchFile(url);
  const { headers } = response;
  const total = headers.get("Content-Encoding") ? null : Number(headers.get("Content-Length")) || null;
  const parts = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    parts.push(value);
    loaded += value.length;
    progress(loaded, total);
  }
  return new Blob(parts).arrayBuffer();
}

export const fetchJson = async (url) => (await fetchFile(url)).json();
