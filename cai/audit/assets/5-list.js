// Filters and the list. The list draws only the rows in sight, whatever the size of the run.

/** @type {Record<string, string>} */
const GLYPH = { accept: "✓", reject: "✕", unsure: "?" };
const ROW = 62; // px, as in the style sheet
const MOST_VALUES = 8; // of a facet, before "more"

class Listing {
  /** @param {State} state @param {Verdicts} verdicts @param {() => boolean} covered */
  constructor(state, verdicts, covered) {
    this.covered = covered;
    this.state = state;
    this.verdicts = verdicts;
    this.box = $("list");
    this.space = h("div", { class: "space", role: "presentation" });
    this.box.append(this.space);
    this.box.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  /** Draw again; bring the item into sight. */
  show() {
    const { items, run } = this.state;
    const all = run.items.length;
    $("count").textContent = items.length === all ? `${number(all)} items` : `${number(items.length)} of ${number(all)}`;
    this.space.style.height = items.length * ROW + "px";
    const at = this.state.place();
    if (at >= 0) {
      const top = at * ROW;
      if (top < this.box.scrollTop) this.box.scrollTop = top;
      else if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    }
    this.draw();
  }

  draw() {
    const { items, item: now } = this.state;
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 4);
    const last = Math.min(items.length, first + Math.ceil(this.box.clientHeight / ROW) + 9);
    const rows = [];
    for (let n = first; n < last; n++) rows.push(this.row(items[n], n, items[n] === now));
    this.space.replaceChildren(...rows);
    const open = now && this.state.place() >= first && this.state.place() < last;
    if (open) this.box.setAttribute("aria-activedescendant", "row-" + now.key);
    else this.box.removeAttribute("aria-activedescendant");
  }

  /** @type {(item: AnyItem, n: number, open: boolean) => HTMLElement} */
  row(item, n, open) {
    const mine = this.verdicts.mine(item);
    const verdict = mine?.verdict && mine.verdict !== "none" ? mine.verdict : "";
    const others = this.verdicts.others(item).length;
    const row = h("div", {
      class: "row" + (open ? " open" : "") + (this.verdicts.readKeys.has(item.key) ? " seen" : ""),
      role: "option", id: "row-" + item.key, "aria-selected": String(open),
      "aria-posinset": n + 1, "aria-setsize": this.state.items.length,
      onclick: () => this.state.open(item),
    },
    h("div", { class: "row-title" },
      this.state.run.mode === "diff" ? null : h("span", { class: "glyph " + verdict, title: verdict || "to do" }, GLYPH[verdict] || "",
        verdict ? h("span", { class: "hidden" }, verdict) : null),
      h("span", { class: "row-text" }, textNodes(this.covered() ? item.prompt_id : title(item))),
      mine?.flagged ? h("span", { class: "pin", title: "flagged by you" }, "⚑") : null),
    h("div", { class: "row-notes" },
      h("span", { class: "what" }, notes(item)),
      item.flags.map((f) => h("span", { class: "flag", title: this.state.run.flag(f).name }, f)),
      others ? h("span", { class: "others", title: "verdicts of others" }, `+${others}`) : null));
    row.style.top = n * ROW + "px";
    return row;
  }
}

/** What the item answers to, in one line; of a document, its own words. @type {(item: AnyItem) => string} */
const title = (item) => item.kind === "trace" && item.explained ? oneLine(item.response.text.slice(0, 400)) : oneLine((item.prompt.at(item.kind === "answer" && item.task === "flip" ? 0 : -1) || { content: item.prompt_id }).content.slice(0, 400));

/** What kind of item it is, in a few words. @type {(item: AnyItem) => string} */
function notes(item) {
  if (item.kind === "trace") {
    const problems = item.rounds.filter((r) => r.critique && r.found).length;
    const rounds = item.rounds.length;
    if (item.explained) return `${item.explained.kind} on ${item.explained.principle}`;
    return rounds ? `${problems} of ${rounds} rounds found something` : "no rounds";
  }
  if (item.kind === "comparison" && item.contrast) return "contrast pair · label by construction";
  if (item.kind === "comparison") return `comparison · ${percent(Math.max(item.probability, 1 - item.probability))} sure`;
  if (item.kind === "rollout") return `update ${item.update} · score ${item.score.toFixed(2)} · KL ${fixed(item.kl, 1)}`;
  if (item.kind === "answer") return `${item.traits.said[0]} · ${item.suite} · ${item.model}`;
  return `${kindOf(item.a)} · ${item.same ? "the same in both runs" : "differs"}`;
}

/** @type {(n: number) => string} */
const number = (n) => n.toLocaleString("en");
/** @type {(p: number | null) => string} */
const percent = (p) => (p === null || Number.isNaN(p) ? "–" : Math.round(p * 100) + "\u00a0%");
/** @type {(value: number, digits: number) => string} */
const fixed = (value, digits) => value.toFixed(digits).replace(/^-(0(?:\.0*)?)$/, "$1"); // no -0.0
/** @type {(n: number, one: string, many?: string) => string} */
const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`;

/**
 * The filters, with how many items each would leave.
 * @type {(state: State, box: HTMLElement, all: Set<string>) => void}
 */
function drawFacets(state, box, all) {
  const counts = state.counts;
  const parts = [];
  const active = state.filters.size || state.query;
  parts.push(h("div", { class: "facets-head" }, h("h2", {}, "Filters"),
    active ? h("button", { type: "button", class: "link", onclick: () => state.clear() }, "clear all") : null));
  for (const [facet, name] of FACETS) {
    const values = counts.get(facet) || new Map();
    if (values.size < (facet === "reason" ? 1 : 2) && !state.filters.has(facet)) continue;
    const order = [...values].sort((a, b) => facet === "flag" ? (a[0] > b[0] ? 1 : -1)
      : facet === "verdict" || facet === "length" || facet === "found" ? place(facet, a[0]) - place(facet, b[0]) || (a[0] > b[0] ? 1 : -1)
      : b[1] - a[1] || (a[0] > b[0] ? 1 : -1));
    const selection = state.filters.get(facet) || new Set();
    const few = all.has(facet) || order.length <= MOST_VALUES + 1; // "1 more" would hide one line behind another
    const visible = few ? order : order.filter(([v], n) => n < MOST_VALUES || selection.has(v));
    parts.push(h("fieldset", { class: "facet" }, h("legend", {}, name),
      visible.map(([value, count]) => h("label", { class: "value" + (count ? "" : " empty") },
        h("input", { type: "checkbox", checked: selection.has(value), onchange: () => state.toggle(facet, value),
          "data-facet": facet, value }),
        h("span", { class: "value-name", title: describe(state, facet, value) }, textNodes(label(state, facet, value))),
        h("span", { class: "value-count" }, number(count)))),
      visible.length < order.length
        ? h("button", { type: "button", class: "link", onclick: () => { all.add(facet); drawFacets(state, box, all); } },
          `${order.length - visible.length} more`)
        : null));
  }
  box.replaceChildren(...parts);
}

/** @type {Record<string, string[]>} */
const ORDERED = {
  verdict: ["to do", "accept", "reject", "unsure", "flagged by me", "rejected by others", "auditors disagree"],
  length: ["under half", "shorter", "about the same", "longer", "over double"],
  found: ["nothing"],
};
/** @type {(facet: string, value: string) => number} */
const place = (facet, value) => {
  const at = (ORDERED[facet] || []).indexOf(value);
  return at < 0 ? 50 : at;
};

/** @type {(state: State, facet: string, value: string) => string} */
function label(state, facet, value) {
  if (facet === "principle") return state.run.title(value);
  if (facet === "flag" && value !== "none") return `${value} ${state.run.flag(value).name}`;
  return value;
}

/** @type {(state: State, facet: string, value: string) => string | null} */
function describe(state, facet, value) {
  if (facet === "flag") return state.run.flag(value).meaning || "no flag at all";
  return facet === "principle" ? value : null;
}
