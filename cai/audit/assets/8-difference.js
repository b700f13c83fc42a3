// The first look at two runs: what one did and the other did not.

function differences(overview) {
  const { state } = overview, { run } = state;
  const differ = run.items.filter((i) => !i.same).length;
  const [a, b] = ["a", "b"].map((side) => tally(run.items.map((i) => i[side])));
  const pairs = run.items.filter((i) => i.a.kind === "comparison");
  const alike = pairs.filter((i) => i.a.responses.every((r, n) => r.text === i.b.responses[n].text));
  const moved = alike.filter((i) => i.traits.label[0] === "the other side is better").length;
  return [
    h("div", { class: "lead" },
      h("p", {}, h("b", {}, plural(run.items.length, "record")), ` ${run.items.length === 1 ? "stands" : "stand"} in both `, marked(run.names[0]), " and ", marked(run.names[1]), "; ",
        differ ? [h("b", {}, number(differ)), ` ${differ === 1 ? "differs" : "differ"}.`] : "they are the same."),
      alike.length ? h("p", {}, `${plural(alike.length, "pair")} ${alike.length === 1 ? "is" : "are"} the same two responses in both; the better side changed in `,
        moved ? h("button", { type: "button", class: "link", "data-act": "moved", onclick: () => state.only({ label: "the other side is better" }) }, h("b", {}, number(moved))) : h("b", {}, "none"), ".") : null,
      overview.note()),
    differ ? h("p", {}, h("button", { type: "button", class: "primary", onclick: () => state.only({ change: "differs" }) }, "Read what differs")) : null,
    h("div", { class: "two even" }, whatMoved(run, a, b), flagsMoved(state)),
    principlesMoved(overview),
  ];
}

/** A table whose last columns are the two runs. rows: [head, value in one, value in the other]. */
function beside(title, run, first, rows) {
  return h("section", { class: "principles" }, h("h2", {}, title),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, h("table", { class: "beside-runs" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, first), run.names.map((n) => h("th", { scope: "col", class: "n" }, marked(n))))),
      h("tbody", {}, rows.map(([head, one, other]) => h("tr", {}, head,
        h("td", { class: "n" }, one), h("td", { class: "n" + (one === other ? " muted" : " moved") }, other)))))));
}

const head = (text, title = null) => h("th", { scope: "row", title }, text);

function whatMoved(run, a, b) {
  const of = (hits, n) => (n ? `${number(hits)} of ${number(n)}` : "–");
  const mean = (sum, n) => (n ? (sum / n).toFixed(0) : "–");
  const rows = [
    ["traces", "Critiques that found a problem", (t) => of(t.found, t.critiques)],
    ["traces", "Responses that changed", (t) => of(t.changed, t.traces)],
    ["traces", "Words of a first response", (t) => mean(t.before, t.traces)],
    ["traces", "Words of a final response", (t) => mean(t.after, t.traces)],
    ["judged", "Labels that depend on the order", (t) => of(t.flips, t.both)],
    ["judged", "Pairs that are nearly a tie", (t) => of(t.ties, t.judged)],
  ].filter(([name]) => a[name] || b[name]);
  return beside("What they did", run, "", rows.map(([, text, value]) => [head(text), value(a), value(b)]));
}

function flagsMoved(state) {
  const { run } = state;
  const count = (side, code) => run.items.filter((i) => i[side].flags.includes(code)).length;
  const rows = run.flags.map((f) => [f, count("a", f.code), count("b", f.code)]).filter(([, one, other]) => one || other);
  if (!rows.length) return h("section", { class: "principles" }, h("h2", {}, "Flags"), h("p", { class: "muted" }, "No record of either carries a flag."));
  return beside("Flags", run, "", rows.map(([f, one, other]) => [
    h("th", { scope: "row", title: f.meaning }, h("button", { type: "button", class: "link", "data-flag": f.code, onclick: () => state.only({ flag: f.code }) }, `${f.code} ${f.name}`)),
    number(one), number(other)]));
}

/** Principle by principle: how often a critique found something, in each run. */
function principlesMoved(overview) {
  const { run } = overview.state;
  const [a, b] = ["a", "b"].map((side) => tallyByPrinciple(run.items.map((i) => i[side])));
  const ids = [...new Set([...a.keys(), ...b.keys()])].filter((id) => a.get(id)?.asked || b.get(id)?.asked);
  if (!ids.length) return null;
  const asked = (id) => (a.get(id)?.asked || 0) + (b.get(id)?.asked || 0);
  const told = (row) => (row?.asked ? `${number(row.found)} of ${number(row.asked)}` : "not drawn");
  return beside("Problems found, by principle", run, "Principle",
    ids.sort((x, y) => asked(y) - asked(x) || (x > y ? 1 : -1)).map((id) => [overview.leading(id), told(a.get(id)), told(b.get(id))]));
}
