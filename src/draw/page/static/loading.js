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

export const fetchJson = async (url) => (await fetchFile(url)).json();
