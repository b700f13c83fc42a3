// What is shown: a view, filters, an order and an item, all in the address, so that it can be sent.

const FACETS = [
  ["kind", "Kind"], ["verdict", "Verdict"], ["reason", "Reason"], ["sample", "Sample"], ["flag", "Flag"],
  ["principle", "Principle"], ["change", "Text"], ["found", "Problem found in"],
  ["length", "Length after"], ["label", "Label"], ["file", "Row in"],
];
const ORDERS = {
  doubt: "most doubtful first", order: "in the run's order", long: "longest first",
  score: "highest score first", kl: "furthest from the reference first",
};

class State extends EventTarget {
  constructor(run, verdicts) {
    super();
    this.run = run;
    this.verdicts = verdicts;
    this.load();
    addEventListener("hashchange", () => { this.load(); this.changed(); });
  }

  /** Read the address. */
  load() {
    const given = new URLSearchParams(location.hash.slice(1));
    this.view = given.get("view") === "read" ? "read" : "overview";
    this.query = given.get("q") || "";
    this.sort = Object.hasOwn(this.orders(), given.get("sort") || "") ? given.get("sort") : "doubt";
    this.side = given.get("diff") === "side";
    this.chosen = new Map();
    for (const [name] of FACETS) {
      const values = given.getAll(name);
      if (values.length) this.chosen.set(name, new Set(values));
    }
    this.find();
    const item = this.run.byKey.get(given.get("item"));
    this.lost = given.has("item") && !item ? "The item of this address" : this.unknown(); // it is of another page
    this.item = item || this.items[0] || null;
    this.entered = this.view;
  }

  /** A value that is filtered by and that no item can have; null where there is none. */
  unknown() {
    for (const [facet, values] of this.chosen) {
      if (facet === "verdict" || facet === "reason") continue; // what has not been said yet may still be
      const known = new Set(this.run.items.flatMap((item) => this.traits(item, facet)));
      for (const value of values) if (!known.has(value)) return `The filter ${facet} = ${value} of this address`;
    }
    return null;
  }

  /** Write the address; the page does not move. The browser's way back leads to the other view. */
  save() {
    const out = new URLSearchParams();
    if (this.view !== "overview") out.set("view", this.view);
    if (this.query) out.set("q", this.query);
    if (this.sort !== "doubt") out.set("sort", this.sort);
    if (this.side) out.set("diff", "side");
    for (const [name, values] of this.chosen) for (const v of values) out.append(name, v);
    if (this.item && this.view === "read") out.set("item", this.item.key);
    const text = out.toString();
    if (text === location.hash.slice(1)) return;
    const address = text ? "#" + text : location.pathname + location.search;
    if (this.view === this.entered) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.entered = this.view;
  }

  orders() {
    const { score, kl, ...rest } = ORDERS;
    return this.run.run.kind === "rollouts" ? ORDERS : rest;
  }

  // -- filtering ----------------------------------------------------------------------------------

  traits(item, facet) {
    if (facet === "verdict") {
      const mine = this.verdicts.mine(item);
      const out = [mine && mine.verdict !== "none" ? mine.verdict : "to do"];
      if (mine?.flagged) out.push("flagged by me");
      if (this.verdicts.others(item).some((r) => r.verdict === "reject")) out.push("rejected by others");
      if (new Set(this.verdicts.decisions(item)).size > 1) out.push("auditors disagree");
      return out;
    }
    if (facet === "reason") return [...new Set(this.verdicts.chosen(item))];
    if (facet === "sample") {
      const who = this.run.sample?.items[item.key];
      return who ? ["in the sample", ...who.map((name) => "for " + name)] : this.run.sample ? ["not in it"] : [];
    }
    return item.traits[facet] || [];
  }

  /** All items in the chosen order; each order is made once. */
  inOrder() {
    this.made ||= new Map();
    if (!this.made.has(this.sort)) {
      if (this.sort === "long") this.run.fold();
      const by = {
        doubt: (a, b) => b.doubt - a.doubt || a.n - b.n,
        order: (a, b) => a.n - b.n,
        long: (a, b) => b.low.length - a.low.length || a.n - b.n,
        score: (a, b) => b.score - a.score || a.n - b.n,
        kl: (a, b) => b.kl - a.kl || a.n - b.n,
      };
      this.made.set(this.sort, [...this.run.items].sort(by[this.sort]));
    }
    return this.made.get(this.sort);
  }

  /** The items that hold all words; longer words are looked for among what shorter ones found. */
  matching(words) {
    this.run.fold();
    const narrower = this.matched?.words.every((w) => words.some((longer) => longer.includes(w)));
    const found = new Set();
    for (const item of narrower ? this.matched.found : this.run.items) {
      if (words.every((w) => item.low.includes(w))) found.add(item);
    }
    this.matched = { words, found };
    return found;
  }

  /** All items that fit, and facet → value → how many would be left, the other facets as they are. */
  look() {
    const words = sought(this.query);
    const matching = words.length ? this.matching(words) : null;
    const items = [];
    const counts = new Map(FACETS.map(([facet]) => [facet, new Map()]));
    const count = (item, facet) => {
      const values = counts.get(facet);
      for (const v of this.traits(item, facet)) values.set(v, (values.get(v) || 0) + 1);
    };
    for (const item of this.inOrder()) {
      if (matching && !matching.has(item)) continue;
      const against = [];
      for (const [facet, values] of this.chosen) {
        if (!this.traits(item, facet).some((v) => values.has(v))) against.push(facet);
      }
      if (against.length > 1) continue;
      if (against.length) { count(item, against[0]); continue; }
      items.push(item);
      for (const [facet] of FACETS) count(item, facet);
    }
    for (const [facet, values] of this.chosen) {
      for (const v of values) if (!counts.get(facet).has(v)) counts.get(facet).set(v, 0);
    }
    return [items, counts];
  }

  /** Filter and order. */
  find() {
    this.counted = null;
    if (this.query.trim() || this.chosen.size) [this.items, this.counted] = this.look();
    else this.items = this.inOrder();
    this.placeOf = null;
  }

  /** Count again after a verdict; the list stays as it is until the next look. */
  recount() {
    this.counted = null;
  }

  get counts() {
    return (this.counted ||= this.look()[1]);
  }

  /** Where the item stands in the list; -1 where the filters leave it out. */
  place(item = this.item) {
    this.placeOf ||= new Map(this.items.map((it, n) => [it, n]));
    return this.placeOf.get(item) ?? -1;
  }

  // -- changing -----------------------------------------------------------------------------------

  changed() {
    this.save();
    this.dispatchEvent(new Event("change"));
  }

  /** Change what is looked for; keeps the item where it still fits, else takes the first. */
  set(changes) {
    Object.assign(this, changes);
    this.find();
    if (this.place() < 0) this.item = this.items[0] || null;
    this.changed();
  }

  toggle(facet, value) {
    const values = new Set(this.chosen.get(facet));
    if (!values.delete(value)) values.add(value);
    if (values.size) this.chosen.set(facet, values);
    else this.chosen.delete(facet);
    this.set({ view: "read" });
  }

  /** Look at what has these traits alone: facet → value. */
  only(traits) {
    this.chosen = new Map(Object.entries(traits).map(([f, v]) => [f, new Set([v])]));
    this.query = "";
    this.item = null;
    this.set({ view: "read" });
  }

  clear() {
    this.chosen.clear();
    this.set({ query: "" });
  }

  open(item) {
    this.item = item;
    this.view = "read";
    this.changed();
  }

  step(by) {
    const at = this.place();
    const to = at < 0 ? 0 : Math.min(this.items.length - 1, Math.max(0, at + by));
    if (this.items[to]) this.open(this.items[to]);
  }
}
