/** What `make` promises, made once for each name; again if it failed. */
export function once(made, name, make) {
  if (!made.has(name)) {
    const promise = make();
    promise.catch(() => made.delete(name));
    made.set(name, promise);
  }
  return made.get(name);
}
