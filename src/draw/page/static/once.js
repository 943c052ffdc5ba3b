/** Caches the promise that `make` returns under a name, until it fails. */
export function once(cache, name, make) {
  if (!cache.has(name)) {
    const promise = make();
    promise.catch(() => cache.delete(name));
    cache.set(name, promise);
  }
  return cache.get(name);
}
