/** The guided story on the stage of the first view: a series of cards, each of which sets a scene. */

import { parseInteger } from "./address.js";

export class Story {
  constructor(view) {
    this.view = view;
    this.cards = [...view.root.querySelectorAll(".story article")];
    if (!view.app.pair) this.cards.pop().remove(); // it compares two models
    this.title = view.find("h1").textContent;
    this.number = undefined; // the current card, counted from 1
    const on = (name, action) => view.find(name).addEventListener("click", action);
    on(".tour", () => this.go(1));
    on(".turn .back", () => this.go(this.number - 1));
    on(".turn .forward", () => this.go(this.number + 1));
    on(".turn .end", () => this.go(undefined));
  }

  /** Opens a card, or ends the story. The last card shows the model without attention. */
  go(number) {
    const { app } = this.view;
    if (number > this.cards.length) number = undefined;
    const { name } = this.modelOf(number);
    const model = name === app.models[0].name ? undefined : name;
    app.go({ view: "glimpse", model, story: number });
  }

  /** Returns the model that a card is about. */
  modelOf(number) {
    const { pair, models } = this.view.app;
    const isAttentive = number !== this.cards.length;
    return pair ? pair[isAttentive ? 0 : 1] : models[0];
  }

  /** Shows the card of the address; returns the scene that it sets. */
  open(text) {
    this.number = parseInteger(text, 1, this.cards.length);
    const card = this.cards[this.number - 1];
    const { root } = this.view;
    for (const each of this.cards) each.hidden = each !== card;
    root.classList.toggle("touring", Boolean(card));
    for (const name of [".story", ".turn"]) root.querySelector(name).hidden = !card;
    root.querySelector("h1").textContent = card?.dataset.title ?? this.title;
    if (!card) return {};
    if (this.view.app.model !== this.modelOf(this.number)) this.go(this.number);
    root.querySelector(".turn .back").disabled = this.number === 1;
    const isLast = this.number === this.cards.length;
    root.querySelector(".turn .forward").textContent = isLast ? "Finish" : "Next";
    root.querySelector(".turn .page").textContent = `${this.number} / ${this.cards.length}`;
    const { t, stage, mode, index } = card.dataset;
    return { t, stage, mode, index };
  }
}
