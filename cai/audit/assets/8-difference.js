// The overview of two runs: how they differ.

/** @type {(overview: Overview) => Child} */
function differences(overview) {
  const { state } = overview, { run } = state;
  const items = run.pairs;
  const differ = items.filter((i) => !i.same).length;
  const a = tally(items.map((i) => i.a)), b = tally(items.map((i) => i.b));
  const alike = items.filter(sameResponses);
  const moved = alike.filter((i) => i.traits.label[0] === "the other side is better").length;
  return [
    h("div", { class: "lead" },
      h("p", {}, h("b", {}, plural(items.length, "record")), ` ${items.length === 1 ? "stands" : "stand"} in both `, textNodes(run.names[0]), " and ", textNodes(run.names[1]), "; ",
        differ ? [h("b", {}, number(differ)), ` ${differ === 1 ? "differs" : "differ"}.`] : "they are the same."),
      alike.length ? h("p", {}, `${plural(alike.length, "pair")} ${alike.length === 1 ? "is" : "are"} the same two responses in both; the better side changed in `,
        moved ? h("button", { type: "button", class: "link", "data-act": "moved", onclick: () => state.only({ label: "the other side is better" }) }, h("b", {}, number(moved))) : h("b", {}, "none"), ".") : null,
      overview.note()),
    differ ? h("p", {}, h("button", { type: "button", class: "primary", onclick: () => state.only({ change: "differs" }) }, "Read what differs")) : null,
    h("div", { class: "two even" }, whatMoved(run, a, b), flagsMoved(state)),
    principlesMoved(overview),
  ];
}

/**
 * A table whose last columns are the two runs. rows: [head, value in one, value in the other].
 * @type {(title: string, run: Run, first: string, rows: [Child, string, string][]) => Child}
 */
function beside(title, run, first, rows) {
  return h("section", { class: "principles" }, h("h2", {}, title),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, h("table", { class: "beside-runs" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, first), run.names.map((n) => h("th", { scope: "col", class: "n" }, textNodes(n))))),
      h("tbody", {}, rows.map(([head, one, other]) => h("tr", {}, head,
        h("td", { class: "n" }, one), h("td", { class: "n" + (one === other ? " muted" : " moved") }, other)))))));
}

/** @type {(text: string, title?: string | null) => Child} */
const head = (text, title = null) => h("th", { scope: "row", title }, text);

/** @type {(run: Run, a: Tally, b: Tally) => Child} */
function whatMoved(run, a, b) {
  const of = (/** @type {number} */ hits, /** @type {number} */ n) => (n ? `${number(hits)} of ${number(n)}` : "–");
  const mean = (/** @type {number} */ sum, /** @type {number} */ n) => (n ? (sum / n).toFixed(0) : "–");
  /** @type {[keyof Tally, string, (t: Tally) => string][]} */
  const rows = [
    ["traces", "Critiques that found a problem", (t) => of(t.found, t.critiques)],
    ["traces", "Responses that changed", (t) => of(t.changed, t.traces)],
    ["traces", "Words of a first response", (t) => mean(t.before, t.traces)],
    ["traces", "Words of a final response", (t) => mean(t.after, t.traces)],
    ["judged", "Labels that depend on the order", (t) => of(t.flips, t.both)],
    ["judged", "Pairs that are nearly a tie", (t) => of(t.ties, t.judged)],
  ];
  return beside("Counts", run, "", rows.filter(([name]) => a[name] || b[name])
    .map(([, text, value]) => [head(text), value(a), value(b)]));
}

/** @type {(state: State) => Child} */
function flagsMoved(state) {
  const { run } = state;
  const count = (/** @type {"a" | "b"} */ which, /** @type {string} */ code) =>
    run.pairs.filter((i) => i[which].flags.includes(code)).length;
  const rows = run.flags.map((flag) => ({ flag, one: count("a", flag.code), other: count("b", flag.code) }))
    .filter(({ one, other }) => one || other);
  if (!rows.length) return h("section", { class: "principles" }, h("h2", {}, "Flags"), h("p", { class: "muted" }, "No record of either carries a flag."));
  return beside("Flags", run, "", rows.map(({ flag: f, one, other }) => [
    h("th", { scope: "row", title: f.meaning }, h("button", { type: "button", class: "link", "data-flag": f.code, onclick: () => state.only({ flag: f.code }) }, `${f.code} ${f.name}`)),
    number(one), number(other)]));
}

/** Principle by principle: how often a critique found something, in each run. @type {(overview: Overview) => Child} */
function principlesMoved(overview) {
  const { run } = overview.state;
  const a = tallyByPrinciple(run.pairs.map((i) => i.a)), b = tallyByPrinciple(run.pairs.map((i) => i.b));
  const ids = [...new Set([...a.keys(), ...b.keys()])].filter((id) => a.get(id)?.asked || b.get(id)?.asked);
  if (!ids.length) return null;
  const rounds = (/** @type {string} */ id) => (a.get(id)?.asked || 0) + (b.get(id)?.asked || 0);
  const cell = (/** @type {PrincipleTally | undefined} */ row) => (row?.asked ? `${number(row.found)} of ${number(row.asked)}` : "not drawn");
  return beside("Problems found, by principle", run, "Principle",
    ids.sort((x, y) => rounds(y) - rounds(x) || (x > y ? 1 : -1)).map((id) => [overview.leading(id), cell(a.get(id)), cell(b.get(id))]));
}
