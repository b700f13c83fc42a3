// How the principles relate: a matrix with words, their contradictions, and what each of them adds.

/** The whole interval says so: amber where one may do for both, red where they pull apart. @type {Record<string, string>} */
const RELATION_TONES = { "the same": "near", "opposed": "against", "rather opposed": "against" };
/** @type {Record<string, string>} */
const STANDINGS = {
  "idle": "it decided no pair and found no problem",
  "redundant": "another principle, or the others together, say the same",
  "light": "labels hardly depend on it",
  "matters": "labels depend on it",
  "unclear": "the data do not tell",
  "too few": "too few verdicts to say",
};

/** @type {(estimate: EstimateValues | null, write: (value: number) => string) => string} */
function estimated(estimate, write) {
  if (!estimate || estimate.value === null) return "–";
  const ends = estimate.low === null || estimate.high === null ? "" : ` (${write(estimate.low)} to ${write(estimate.high)})`;
  return write(estimate.value) + ends;
}

/** @type {(relation: RelationValues) => boolean} */
const tells = (relation) => relation.word !== "too few" && relation.kappa.value !== null;

/** @type {(value: number) => string} */
const hundredths = (value) => fixed(value, 2);

/** @type {(overview: Overview) => Child} */
function related(overview) {
  const { state } = overview, { map } = state.run;
  if (!map) return null;
  const enough = `A word holds for the whole 95 % interval of Cohen's κ, over prompts; less than ${map.bounds.units} cases that both decide, or ${map.bounds.prompts} prompts, are too few. Of many intervals one in twenty misses.`;
  return [
    map.on_pairs.length ? matrix(overview, "How principles relate on pairs", [`Which response is better, where both decide: ${plural(map.pairs, "pair")}. `, enough], map.on_pairs) : null,
    oppositions(state, map),
    adds(overview, map),
    map.on_responses.length ? h("details", { class: "principles" }, h("summary", {}, `Whether something is wrong: how they relate on ${plural(map.responses, "response")}`),
      matrix(overview, "How principles relate on responses", ["Where both find a problem, or neither does. ", enough], map.on_responses)) : null,
  ];
}

/** @type {(overview: Overview, title: string, note: Child, relations: RelationValues[]) => Child} */
function matrix(overview, title, note, relations) {
  const { run } = overview.state;
  const asked = (run.map?.principles || []).map((p) => p.id).filter((id) => relations.some((r) => r.a === id || r.b === id));
  const ids = asked.filter((id) => relations.some((r) => (r.a === id || r.b === id) && tells(r)));
  const of = new Map(relations.flatMap((r) => [[`${r.a} ${r.b}`, r], [`${r.b} ${r.a}`, r]]));
  const cell = (/** @type {string} */ a, /** @type {string} */ b) => {
    const r = of.get(`${a} ${b}`);
    if (!r) return h("td", { class: "muted" }, a === b ? "" : "–");
    const told = tells(r);
    return h("td", { class: RELATION_TONES[r.word] || (told ? "" : "muted"), "data-relation": `${a} ${b}`,
      title: `${run.title(a)} and ${run.title(b)}: ${plural(r.agree.n, "case")} that both decide, ${estimated(r.agree, percent)} equal; κ ${estimated(r.kappa, hundredths)}; correlation ${estimated(r.correlation, hundredths)}` },
    r.word, h("span", { class: "sub" }, told ? `κ ${estimated({ ...r.kappa, low: null }, hundredths)}` : number(r.agree.n)));
  };
  return h("section", { class: "principles" }, h("h2", {}, title), h("p", { class: "muted" }, note),
    ids.length < asked.length ? h("p", {}, `${number(asked.length - ids.length)} of ${plural(asked.length, "principle")} ${asked.length - ids.length === 1 ? "is" : "are"} left out: too few cases, or one and the same answer to all.`) : null,
    !ids.length ? null : h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), ids.map((id, n) => h("th", { scope: "col", title: run.title(id) }, String(n + 1), h("span", { class: "hidden" }, textNodes(` ${run.title(id)}`)))))),
      h("tbody", {}, ids.map((a, n) => h("tr", {}, h("th", { scope: "row" }, `${n + 1}  `, h("button", { type: "button", class: "link", onclick: () => overview.state.only({ principle: a }) }, textNodes(run.title(a)))),
        ids.map((b) => cell(a, b))))))));
}

/** Which principles contradict each other, and on which pairs. @type {(state: State, map: MapValues) => Child} */
function oppositions(state, map) {
  if (!map.pairs) return null;
  const { run } = state, byId = new Map(run.items.map((item) => [item.id, item]));
  const verdict = (/** @type {ContradictionValues} */ c) => `${hundredths(c.p_a)} and ${hundredths(c.p_b)}; ${isNearTie(c.label) ? "label a near tie" : `label ${hundredths(c.label)}`}`;
  const place = (/** @type {ContradictionValues} */ c) => {
    const item = byId.get(c.record), text = textNodes(oneLine(c.prompt));
    return item ? h("button", { type: "button", class: "link", "data-record": c.record, onclick: () => state.open(item) }, text)
      : h("span", {}, text, h("span", { class: "muted" }, ` ${c.record}, not on this page`));
  };
  return h("section", { class: "principles" }, h("h2", {}, "Contradictions"),
    h("p", { class: "muted" }, `Pairs that two principles decide clearly (${map.bounds.clear} or more) and oppositely. Numbers: the probability that A is better, under each of the two; and the label.`),
    map.contradictions.length ? h("ul", { class: "against-list" }, map.contradictions.map((o, n) => h("li", {}, h("details", { open: n === 0 },
      h("summary", {}, h("b", {}, textNodes(run.title(o.a))), " against ", h("b", {}, textNodes(run.title(o.b))),
        h("span", { class: "muted" }, ` ${number(o.count)} of ${plural(o.share.n, "clear pair")}, ${estimated(o.share, percent)}`)),
      h("ul", {}, o.items.map((c) => h("li", {}, place(c), h("span", {}, verdict(c)))),
        o.items.length < o.count ? h("li", { class: "muted" }, `The clearest ${o.items.length} are listed; cai map --json has all.`) : null)))))
      : h("p", {}, "There is none."));
}

/** @type {(overview: Overview, map: MapValues) => Child} */
function adds(overview, map) {
  const of = (/** @type {number} */ hits, /** @type {number} */ n) => (n ? `${number(hits)} of ${number(n)}` : "");
  return tabular("What each principle adds", ["Labels that change where it is left out of the feedback, and how well the others predict its verdict on prompts that were not fitted (R²; 1: they say it all).",
    map.drawn ? " Principles were drawn for each pair, so what their absence changes is not in the run." : ""],
  ["Principle", "It is", "Pairs decided", "Labels changed", "R²", "Problems", "In critiques"],
  map.principles.map((p) => h("tr", {}, overview.leading(p.id),
    h("td", { class: "n", title: STANDINGS[p.standing] || "" }, h("b", {}, p.standing), p.same.length ? h("span", { class: "sub" }, "as ", textNodes(p.same.map((id) => overview.state.run.title(id)).join(", "))) : null),
    h("td", { class: "n" }, of(p.decided, p.pairs)),
    h("td", { class: "n" }, estimated(p.labels_changed, percent)),
    h("td", { class: "n" }, estimated(p.pairs ? p.pairs_r2 : p.responses_r2, hundredths)),
    h("td", { class: "n" }, of(p.problems, p.responses)),
    h("td", { class: "n" }, of(p.found, p.critiques)))));
}
