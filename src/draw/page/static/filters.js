/** Draws the filters of a window with SVG. */

/** Draws the filters' weights as bars, F_X along the picture's width and F_Y along its height. */
export function drawFilters(svg, F, size, picked) {
  const upright = svg.classList.contains("y");
  const largest = Math.max(...F);
  const paths = Array.from({ length: F.length / size }, (_, i) => {
    const points = Array.from({ length: 2 * size }, (_, end) => {
      const along = Math.ceil(end / 2) / size; // start and end of a bar
      const high = F[i * size + (end >> 1)] / largest;
      return upright ? `${1 - high} ${along}` : `${along} ${1 - high}`;
    });
    const d = `M${[upright ? "1 0" : "0 1", ...points, "1 1"].join("L")}`;
    const emphasis = i === picked ? "picked" : "faint";
    return create("path", { d, class: picked === undefined ? "" : emphasis });
  });
  svg.replaceChildren(...paths);
}

export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export const create = (name, attributes) =>
  setAttributes(document.createElementNS("http://www.w3.org/2000/svg", name), attributes);
