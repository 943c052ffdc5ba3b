/** Service worker: serves the page and the models used before when the network does not answer. */

const CACHE = "draw";

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", (event) => event.waitUntil(keep(event.data)));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const isOurs = method === "GET" && url.startsWith(registration.scope);
  if (isOurs) event.respondWith(answer(event));
});

/** Adds the files of the page and of one model that are not in the cache yet, one by one. */
async function keep(model) {
  const cache = await caches.open(CACHE);
  const files = await (await fetch("files.json")).json();
  const isNeeded = (file) => !/^(models|traces)\//.test(file) || file.split(/[/]|\.json$/)[1] === model;
  for (const file of ["./", "files.json", ...files.filter(isNeeded)]) {
    if (!(await cache.match(file))) await cache.add(file);
  }
}

/** Answers from the network, or from the cache if the network fails. */
async function answer(event) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(event.request);
    if (response.ok) event.waitUntil(cache.put(withoutQuery(event.request.url), response.clone()));
    return response;
  } catch (error) {
    const kept = await cache.match(withoutQuery(event.request.url));
    if (kept) return kept;
    throw error;
  }
}

const withoutQuery = (url) => url.replace(/[?#].*$/, "");
