/** Draws the arrows of a diagram between its boxes, wherever the layout puts them, and a moving dot. */

const SVG = "http://www.w3.org/2000/svg";
const GAP = 5; // pixels between an arrow and a box
const HEAD = 5; // pixels, half the width of an arrow head

export class Flow {
  /** `root` contains an SVG element `.arrows`, which covers it; `links` are pairs of boxes. */
  constructor(root, links) {
    this.root = root;
    this.svg = root.querySelector(".arrows");
    this.dot = root.querySelector(".dot");
    this.links = links.map(([from, to]) => {
      const path = document.createElementNS(SVG, "path");
      this.svg.querySelector("g").append(path);
      return { from, to, path };
    });
  }

  /** Returns the rectangle of a box inside the diagram. */
  place(box) {
    const { left, top } = this.root.getBoundingClientRect();
    const { x, y, width, height } = box.getBoundingClientRect();
    return { x: x - left, y: y - top, width, height, right: x - left + width, bottom: y - top + height };
  }

  /** Draws the arrows again, after the layout may have changed. */
  layout() {
    const isShown = (box) => box.offsetParent !== null;
    for (const { from, to, path } of this.links) {
      path.setAttribute("d", isShown(from) && isShown(to) ? this.arrow(from, to) : "");
    }
  }

  arrow(from, to) {
    const [a, b] = [from, to].map((box) => this.place(box));
    if (b.x >= a.right) {
      const overlap = [Math.max(a.y, b.y), Math.min(a.bottom, b.bottom)];
      const y = Math.round((overlap[0] + overlap[1]) / 2);
      return `M${a.right + GAP} ${y}H${b.x - GAP}${head(b.x - GAP, y, 1, 0)}`;
    }
    const [x0, x1] = [a, b].map(({ x, width }) => Math.round(x + width / 2));
    const [y0, y1] = [a.bottom + GAP, b.y - GAP];
    const middle = Math.round((y0 + y1) / 2);
    return `M${x0} ${y0}V${middle}H${x1}V${y1}${head(x1, y1, 0, 1)}`;
  }

  /**
   * Draws an arc from a box to one to its left, below all boxes, and centres a label on it. There is
   * none unless all boxes are in one row.
   */
  arc(path, label, from, to, depth) {
    const [a, b] = [from, to].map((box) => this.place(box));
    const isRow = b.width > 0 && getComputedStyle(this.root).display === "flex";
    const [x0, x1] = [a, b].map(({ x, width }) => x + width / 2);
    const low = this.root.clientHeight - depth;
    label.setAttribute("x", (x0 + x1) / 2);
    label.setAttribute("y", low + 4);
    label.style.display = isRow ? "" : "none";
    const d = `M${x0} ${a.bottom + 3}V${low - 8}Q${x0} ${low} ${x0 - 8} ${low}H${x1 + 8}Q${x1} ${low} ${x1} ${low - 8}V${b.bottom + 3}`;
    path.setAttribute("d", isRow ? d + head(x1, b.bottom + 3, 0, -1) : "");
  }

  /** Moves the dot along an arrow, from 0 to 1; hides it if there is no such arrow. */
  move(link, along) {
    const path = this.links[link]?.path;
    const isVisible = Boolean(path?.getAttribute("d"));
    this.dot.style.display = isVisible ? "" : "none";
    if (!isVisible) return;
    const length = path.getTotalLength() - 4 * HEAD; // without the head
    const { x, y } = path.getPointAtLength(along * length);
    this.dot.setAttribute("cx", x);
    this.dot.setAttribute("cy", y);
  }
}

const head = (x, y, dx, dy) =>
  `M${x - HEAD * (dx + dy)} ${y - HEAD * (dy + dx)}L${x} ${y}L${x - HEAD * (dx - dy)} ${y - HEAD * (dy - dx)}`;
