/** Records drawings as SVG. */

const probe = new OffscreenCanvas(1, 1).getContext("2d"); // measures text

/**
 * The part of the canvas API that pictures, sheets and diagrams use. Lines and text remain vectors, and
 * images are embedded as PNG. With `href`, a text is a link.
 */
export class SvgContext {
  constructor(width, height) {
    this.canvas = { width, height };
    this.parts = []; // text, or promises of text
    this.clips = 0;
    this.open = [0]; // groups that each `save` must close
    this.states = [];
    this.style = { globalAlpha: 1, lineWidth: 1, dash: [] };
  }

  save() {
    this.states.push({ ...this.style });
    this.open.push(0);
  }

  restore() {
    this.style = this.states.pop();
    this.parts.push("</g>".repeat(this.open.pop()));
  }

  group(attributes) {
    this.parts.push(`<g ${attributes}>`);
    this.open.push(this.open.pop() + 1);
  }

  translate(x, y) {
    this.group(`transform="translate(${x} ${y})"`);
  }

  beginPath() {}

  rect(...place) {
    this.path = place;
  }

  clip() {
    const id = `clip-${(this.clips += 1)}`;
    this.parts.push(`<clipPath id="${id}"><rect ${rectangle(...this.path)}/></clipPath>`);
    this.group(`clip-path="url(#${id})"`);
  }

  drawImage(image, x, y, width, height) {
    const copy = new OffscreenCanvas(image.width, image.height); // callers reuse the image
    copy.getContext("2d").drawImage(image, 0, 0);
    const element = async () => {
      const url = await dataUrl(await copy.convertToBlob());
      const sharp = 'preserveAspectRatio="none" style="image-rendering:pixelated"';
      return `<image ${rectangle(x, y, width, height)} ${sharp} href="${url}"/>`;
    };
    this.parts.push(element());
  }

  setLineDash(dash) {
    this.style.dash = dash;
  }

  get line() {
    const { strokeStyle, lineWidth, globalAlpha, dash } = this.style;
    const line = `stroke="${strokeStyle}" stroke-width="${lineWidth}" stroke-opacity="${globalAlpha}"`;
    return dash.length ? `${line} stroke-dasharray="${dash.join(" ")}"` : line;
  }

  strokeRect(...place) {
    this.parts.push(`<rect ${rectangle(...place)} fill="none" ${this.line}/>`);
  }

  /** The path is a string. */
  stroke(path) {
    this.parts.push(`<path d="${path}" fill="none" ${this.line}/>`);
  }

  fillRect(...place) {
    this.parts.push(`<rect ${rectangle(...place)} fill="${this.style.fillStyle}"/>`);
  }

  measureText(text) {
    probe.font = this.style.font;
    return probe.measureText(text);
  }

  /** The baseline must be "middle". */
  fillText(text, x, y) {
    const { font, fillStyle, textAlign, href } = this.style;
    const anchor = { left: "start", center: "middle", right: "end" }[textAlign];
    const style = `style="font:${escaped(font)};text-anchor:${anchor};dominant-baseline:central"`;
    const element = `<text x="${x}" y="${y}" fill="${fillStyle}" ${style}>${escaped(text)}</text>`;
    this.parts.push(href ? `<a href="${escaped(href)}">${element}</a>` : element);
  }

  /** Returns the finished file. */
  async blob() {
    const { width, height } = this.canvas;
    const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const content = (await Promise.all(this.parts)).join("\n");
    const file = `<svg xmlns="http://www.w3.org/2000/svg" ${size}>\n${content}\n</svg>\n`;
    return new Blob([file], { type: "image/svg+xml" });
  }
}

for (const name of ["strokeStyle", "fillStyle", "lineWidth", "globalAlpha", "font", "textAlign", "href"]) {
  Object.defineProperty(SvgContext.prototype, name, {
    set(value) {
      this.style[name] = value;
    },
  });
}

const rectangle = (x, y, width, height) => `x="${x}" y="${y}" width="${width}" height="${height}"`;

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (letter) => ENTITIES[letter]);

async function dataUrl(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const letters = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return `data:${blob.type};base64,${btoa(letters)}`;
}
