// An evaluation: its overview, and what is derived of its answers once.

/** @type {(run: Run, suite: string, name: string) => MeasureValues | undefined} */
const measureOf = (run, suite, name) => run.evaluation?.measures.find((m) => m.suite === suite && m.measure === name);

/** A value as it is measured: a share of yes as percent, all else with three decimals at most. @type {(kind: string, value: number | null) => string} */
const measured = (kind, value) => value === null ? "–" : kind === "share" ? percent(value) : String(Number(value.toFixed(Math.abs(value) < 10 ? 3 : 1)));

/** @type {(kind: string, low: number | null, high: number | null) => string} */
const interval = (kind, low, high) => low === null || high === null ? "" : `${measured(kind, low)} to ${measured(kind, high)}`;

/** A difference of two such values: of shares in points. @type {(kind: string, value: number | null) => string} */
const difference = (kind, value) => value === null ? "–" : kind === "share" ? `${Math.round(100 * value)}\u00a0points` : measured(kind, value);

/** What the suite's measure says of an answer, in a few words. @type {(run: Run, item: AnswerItem) => string} */
function saying(run, item) {
  const value = item.measured[item.by];
  if (value === undefined || value === null) return "not measured";
  const measure = measureOf(run, item.suite, item.by);
  if (measure?.kind === "share") return value > 0.5 ? measure.yes : measure.no;
  return `${measure?.yes || run.evaluation?.values[item.by] || item.by} ${measured("", value)}`;
}

/** What the list filters answers by. @type {(run: Run) => void} */
function addAnswerTraits(run) {
  const base = run.evaluation?.models[0];
  for (const item of run.answers) {
    run.answersOf.set(item.prompt_id, [...(run.answersOf.get(item.prompt_id) || []), item]);
  }
  for (const item of run.answers) {
    const first = run.answersOf.get(item.prompt_id)?.find((other) => other.model === base);
    const comparable = first && first !== item && first.good !== null && item.good !== null;
    Object.assign(item.traits, {
      suite: [item.suite], model: [item.model], type: item.type ? [item.type] : [],
      outcome: [item.good === null ? "no verdict" : item.good ? "good" : "bad",
        ...(disagree(item) ? ["rule and judge disagree"] : [])],
      against: comparable ? [item.good === first.good ? "the same" : item.good ? "better" : "worse"] : [],
      did: Object.entries(item.measured).flatMap(([name, value]) => {
        const measure = measureOf(run, item.suite, name);
        return measure?.kind === "share" && value !== null && value > 0.5 ? [measure.yes] : [];
      }),
      said: [saying(run, item)],
    });
  }
}

/** @type {(item: AnswerItem) => boolean} */
const disagree = (item) => item.by !== "violation" && item.good !== null && item.judged !== null && item.good !== item.judged;

/** @type {(overview: Overview) => Child} */
function evaluated(overview) {
  const { state } = overview, { run } = state, { evaluation } = run;
  if (!evaluation) return null;
  const { models, suites, changes } = evaluation;
  const sure = changes.filter((c) => c.adjusted_p !== null && c.adjusted_p < 0.05);
  const opposed = run.answers.filter(disagree).length;
  return [
    h("div", { class: "lead" },
      h("p", {}, h("b", {}, plural(models.length, "model")), ` gave ${plural(run.answers.length, "answer")} to `, h("b", {}, plural(suites.length, "suite")), ". ",
        changes.length ? [h("b", {}, `${number(sure.length)} of ${plural(changes.length, "change")}`), " against ", textNodes(models[0]), ` ${sure.length === 1 ? "is" : "are"} beyond chance.`] : ""),
      opposed ? h("p", {}, "Rule and judge disagree on ", h("button", { type: "button", class: "link", "data-act": "opposed",
        onclick: () => state.only({ outcome: "rule and judge disagree" }) }, h("b", {}, plural(opposed, "answer"))), ".") : null,
      evaluation.set_aside ? h("p", { class: "warn" }, `${plural(evaluation.set_aside, "item")} could not be asked; evaluation.json has the reasons.`) : null,
      evaluation.warnings.map((text) => h("p", { class: "warn" }, textNodes(text))), overview.note()),
    overview.progress(),
    results(state, evaluation),
    changed(state, evaluation),
    h("div", { class: "two even" }, overview.first(), h("div", { class: "stack" }, judgesAgree(state, evaluation), winRates(evaluation), rulesWrong(evaluation))),
    broken(overview, evaluation),
  ];
}

/** A table that scrolls by itself where it is too wide. @type {(title: string, note: Child, heads: Child[], rows: Child[]) => Child} */
function tabular(title, note, heads, rows) {
  return h("section", { class: "principles" }, h("h2", {}, title), note ? h("p", { class: "muted" }, note) : null,
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, h("table", { class: "measures" },
      h("thead", {}, h("tr", {}, heads.map((text, n) => h("th", { scope: "col", class: n ? "n" : "" }, text)))), h("tbody", {}, rows))));
}

/** @type {(state: State, evaluation: EvaluationResults) => Child} */
function results(state, evaluation) {
  const models = [...new Set([...evaluation.models, ...evaluation.results.map((r) => r.model)])];
  const rows = evaluation.suites.flatMap((suite) => {
    const some = evaluation.results.filter((r) => r.suite === suite.id);
    const measure = some.length ? measureOf(state.run, suite.id, some[0].measure) : undefined;
    if (!measure) return [];
    return [h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", title: suite.about, "data-suite": suite.id, onclick: () => state.only({ suite: suite.id }) }, textNodes(suite.id)),
        h("span", { class: "sub" }, textNodes(measure.title), measure.better ? `, ${measure.better} is better` : "")),
      models.map((model) => {
        const r = some.find((one) => one.model === model);
        return h("td", { class: "n" }, r ? [
          h("button", { type: "button", class: "link", "aria-label": `${model} on ${suite.id}: ${measured(measure.kind, r.value)}`, onclick: () => state.only({ suite: suite.id, model }) }, measured(measure.kind, r.value)),
          h("span", { class: "sub", title: plural(r.n, "item") }, interval(measure.kind, r.low, r.high))] : "–");
      }))];
  });
  return rows.length ? tabular("Results", "The main measure of each suite, with its 95 % interval. A number leads to its answers.",
    ["Suite", ...models.map((m, n) => [textNodes(m), n || models.length < 2 ? "" : " (baseline)"])], rows) : null;
}

/** Against the first model, the worst first. @type {(state: State, evaluation: EvaluationResults) => Child} */
function changed(state, evaluation) {
  if (!evaluation.changes.length) return null;
  const sign = (/** @type {string} */ text) => (/^([-–]|0$|0\s)/.test(text) ? text : "+" + text);
  const some = (/** @type {ChangeValues} */ c) => state.run.answers.some((a) => a.suite === c.suite && a.model === c.model && a.traits.against[0] === "worse");
  const verdict = (/** @type {ChangeValues} */ c) => {
    const word = c.better === null ? "no direction" : c.better ? "better" : "worse";
    const beyond = c.adjusted_p !== null && c.adjusted_p < 0.05;
    return h("span", { class: beyond && c.better !== null ? (c.better ? "good" : "bad") : "muted" }, c.change === 0 ? "the same" : beyond ? word : `${word}, may be chance`);
  };
  return tabular(`Changes against ${evaluation.models[0]}`, `The worst first, item by item. p-values are adjusted for ${plural(evaluation.changes.length, "comparison")}.`,
    ["Suite", "Model", "Before", "After", "Change", "95 % interval", "p", "Verdict"],
    evaluation.changes.map((c) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", "data-change": `${c.suite} ${c.model}`,
        onclick: () => state.only({ suite: c.suite, model: c.model, ...(some(c) ? { against: "worse" } : {}) }) }, textNodes(c.suite)),
      h("span", { class: "sub" }, textNodes(c.title))),
      h("td", { class: "n" }, textNodes(c.model)),
      h("td", { class: "n" }, measured(c.kind, c.before)), h("td", { class: "n" }, measured(c.kind, c.after)),
      h("td", { class: "n" }, sign(difference(c.kind, c.change))),
      h("td", { class: "n" }, c.low === null || c.high === null ? "–" : `${difference("", c.kind === "share" ? Math.round(100 * c.low) : c.low)} to ${difference(c.kind, c.high)}`),
      h("td", { class: "n" }, c.adjusted_p === null ? "–" : c.adjusted_p < 0.001 ? "< 0.001" : measured("", c.adjusted_p)),
      h("td", { class: "n" }, verdict(c)))));
}

/** @type {(state: State, evaluation: EvaluationResults) => Child} */
function judgesAgree(state, evaluation) {
  const two = (/** @type {number | null} */ value) => (value === null ? "–" : fixed(value, 2));
  if (!evaluation.agreement.length) return null;
  return tabular("Agreement of judges", "Whether they call the same replies good. κ is 1 where they always agree, 0 where chance would do as well.",
    ["Suite", "Agree", "κ", "95 % interval"], evaluation.agreement.map((row) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => state.only({ suite: row.suite }) }, textNodes(row.suite)),
        h("span", { class: "sub" }, textNodes(row.judges.join(" and ")))),
      h("td", { class: "n" }, `${percent(row.agreed)} of ${number(row.n)}`), h("td", { class: "n" }, two(row.kappa)),
      h("td", { class: "n" }, row.low === null || row.high === null ? "–" : `${two(row.low)} to ${two(row.high)}`))));
}

/** @type {(evaluation: EvaluationResults) => Child} */
function winRates(evaluation) {
  if (!evaluation.win_rates.length) return null;
  const rate = (/** @type {IntervalValues | null} */ one) => one ? [percent(one.value), h("span", { class: "sub" }, interval("share", one.low, one.high))] : "–";
  return tabular("Win rates", `How often the judge prefers a model's reply to that of ${evaluation.models[0]}; and the same at equal lengths.`,
    ["Suite", "Model", "Preferred", "At equal lengths"], evaluation.win_rates.map((row) => h("tr", {},
      h("th", { scope: "row" }, textNodes(row.suite)), h("td", { class: "n" }, textNodes(row.model)),
      h("td", { class: "n" }, rate(row.win_rate)), h("td", { class: "n" }, rate(row.length_controlled)))));
}

/** How often the rules are wrong that the results rest on. @type {(evaluation: EvaluationResults) => Child} */
function rulesWrong(evaluation) {
  if (!evaluation.rules.length) return null;
  return tabular("How far the rules can be believed", "On labelled replies. Precision: of those that a rule names, how many are so; recall: of those that are so, how many it names.",
    ["Rule", "Replies", "Precision", "Recall"], evaluation.rules.map((row) => h("tr", {},
      h("th", { scope: "row" }, textNodes(evaluation.values[row.rule] || row.rule), h("span", { class: "sub" }, row.source === "written" ? "replies written for this" : ["replies of ", textNodes(row.source)])),
      h("td", { class: "n" }, number(row.replies)), h("td", { class: "n" }, percent(row.precision)), h("td", { class: "n" }, percent(row.recall)))));
}

/** Under which principles the judge finds replies broken. @type {(overview: Overview, evaluation: EvaluationResults) => Child} */
function broken(overview, evaluation) {
  const judged = overview.state.run.answers.filter((item) => item.checks.length);
  const ids = [...new Set(judged.flatMap((item) => item.checks.map((c) => c.principle)))];
  const count = (/** @type {string} */ id, /** @type {AnswerItem[]} */ items) => items.filter((item) => item.principles.includes(id)).length;
  const total = new Map(ids.map((id) => [id, count(id, judged)]));
  if (!ids.length) return null;
  return tabular("Principles broken, by the judge", "Replies in which it finds a problem more likely than not.",
    ["Principle", ...evaluation.models.map((m) => textNodes(m))],
    ids.sort((a, b) => (total.get(b) || 0) - (total.get(a) || 0) || (a > b ? 1 : -1)).map((id) => h("tr", {}, overview.leading(id),
      evaluation.models.map((model) => {
        const own = judged.filter((item) => item.model === model);
        return h("td", { class: "n" }, own.length ? `${number(count(id, own))} of ${number(own.length)}` : "–");
      }))));
}

/** An answer in the reader. @type {(reader: Reader, item: AnswerItem) => Child} */
function answered(reader, item) {
  const others = (reader.state.run.answersOf.get(item.prompt_id) || []).filter((one) => one !== item);
  return [
    item.task === "text" ? reader.text("Text", item.prompt[0].content, { tone: "prompt" }) : reader.prompt(item),
    reply(reader, item, ""),
    findings(reader, item),
    reader.checks(item, "The judge", "probability that nothing is wrong with the reply"),
    preferences(reader, item),
    others.length ? h("section", { class: "round" }, h("h2", {}, "Other models on this item"),
      h("div", { class: "sides" }, others.map((one) => h("div", {}, reply(reader, one, one.model),
        h("p", {}, h("button", { type: "button", class: "link", "data-act": "other", onclick: () => reader.state.open(one) }, "Open this answer")))))) : null,
  ];
}

/**
 * Which of two replies to this item the judge prefers: of the first model's answer all pairs, of another's its own.
 * @type {(reader: Reader, item: AnswerItem) => Child}
 */
function preferences(reader, item) {
  const { run } = reader.state;
  const first = run.evaluation?.models[0] || "";
  const pairs = (run.evaluation?.preferences || []).filter((p) => p.item === item.prompt_id && (item.model === first || p.model === item.model));
  return pairs.map((pair) => {
    const sure = percent(Math.max(pair.p, 1 - pair.p));
    const title = isNearTie(pair.p) ? `The judge finds the replies of ${first} and ${pair.model} even`
      : `The judge prefers the reply of ${pair.p > 0.5 ? pair.model : first}: ${sure}`;
    const orders = pair.p_ab === null || pair.p_ba === null ? ""
      : `${first} shown first ${percent(pair.p_ab)}, shown second ${percent(pair.p_ba)}`;
    return h("section", { class: "judged preference" }, h("h2", {}, textNodes(title),
      h("span", { class: "notes" }, textNodes([`${pair.model} against ${first}`, orders].filter(Boolean).join(" · ")))),
    pair.principles.length ? h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Preference under each principle, ${pair.model}` }, h("table", {},
      h("thead", {}, h("tr", {}, ["Principle", `${first} ← → ${pair.model}`, `for ${pair.model}`].map((text, n) => h("th", { scope: "col", class: n > 1 ? "n" : "" }, textNodes(text))))),
      h("tbody", {}, pair.principles.map((one) => h("tr", {}, h("th", { scope: "row" }, run.title(one.principle)),
        h("td", {}, meter(one.p, "")), h("td", { class: "n" }, one.p.toFixed(2))))))) : null);
  });
}

/** What a model said, or chose. @type {(reader: Reader, item: AnswerItem, name: string) => Child} */
function reply(reader, item, name) {
  const notes = name ? [item.traits.said[0]] : [];
  const tone = name && item.good !== null ? (item.good ? "chosen" : "rejected") : "response";
  if (item.choices.length) return choices(reader, item, name || `${item.task === "stance" ? "Agreement with the statement" : "Choices"} of ${item.model}`, tone, notes);
  if (item.task === "text") return name ? h("p", {}, textNodes(name), ": ", item.traits.said[0]) : null;
  return reader.text(name || (item.task === "style" ? "Reply with its style changed" : `Reply of ${item.model}`), item.response, { tone, notes });
}

/** @type {Record<string, string>} */
const STANCES = { "alone": "asked alone", "user for": "asked by a user who is for it", "user against": "asked by a user who is against it" };

/** @type {(reader: Reader, item: AnswerItem, title: string, tone: string, notes: string[]) => HTMLElement} */
function choices(reader, item, title, tone, notes) {
  const mark = reader.state.run.evaluation?.suites.find((s) => s.id === item.suite)?.mark || "right";
  const stance = item.task === "stance";
  const said = (/** @type {ChoiceValues} */ c) => [c.text === item.response.text && !stance ? "chosen" : "", c.right ? mark : ""].filter(Boolean).join(", ");
  return h("section", { class: "block options " + tone }, h("h3", {}, textNodes(title), h("span", { class: "notes" }, notes.join(" · "))),
    item.response.reasoning ? reader.reasoning(item.response.reasoning) : null,
    reader.cover(item.choices.reduce((n, c) => n + c.text.length, 0), () => h("ul", {}, item.choices.map((c) => h("li", { class: c.right ? "right" : "" },
      h("span", { class: "option" }, textNodes(stance ? STANCES[c.text] || c.text : c.text, reader.query),
        said(c) ? h("span", { class: "sub" + (c.right ? " good" : item.choices.some((one) => one.right) ? " bad" : "") }, said(c)) : null),
      meter(c.p, c.right ? "good" : ""), h("b", {}, c.p.toFixed(2))))), "div", {}));
}

/** All that was measured of an answer. @type {(reader: Reader, item: AnswerItem) => Child} */
function findings(reader, item) {
  const { run } = reader.state;
  const shown = (/** @type {string} */ name, /** @type {number | null} */ value) => value === null ? "–"
    : measureOf(run, item.suite, name)?.kind === "share" ? (value > 0.5 ? "yes" : "no") : measured("", value);
  return h("section", { class: "judged" },
    h("h2", {}, textNodes(item.traits.said[0]), item.good === null ? null : h("span", { class: "found " + (item.good ? "no" : "bad") }, item.good ? "good" : "bad"),
      h("span", { class: "notes" }, textNodes([item.model, item.suite, item.type].filter(Boolean).join(" · ")))),
    disagree(item) ? h("p", { class: "warn" }, item.good ? "The rule calls this answer good; the judge finds a principle broken." : "The rule calls this answer bad; the judge finds no principle broken.") : null,
    h("dl", { class: "numbers" }, Object.entries(item.measured).map(([name, value]) => pairOf(
      run.evaluation?.values[name] || measureOf(run, item.suite, name)?.title || name, shown(name, value)))));
}
