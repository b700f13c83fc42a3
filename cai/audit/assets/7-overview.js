// The overview: the run in numbers, its flags, and where to read first.

/**
 * 95 % interval of a share (Wilson 1927), as `cai.stats.wilson`.
 * @type {(hits: number, n: number) => [number, number]}
 */
function wilson(hits, n) {
  if (!n) return [0, 1];
  const z = 1.96, share = hits / n;
  const middle = (share + z * z / (2 * n)) / (1 + z * z / n);
  const half = z / (1 + z * z / n) * Math.sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** @type {Record<string, string>} */
const JUDGED = { accept: "accepted", reject: "rejected", unsure: "unsure" };

class Overview {
  /** @param {State} state @param {Verdicts} verdicts */
  constructor(state, verdicts) {
    this.state = state;
    this.verdicts = verdicts;
    this.box = $("overview");
    /** @type {TraceItem[]} */
    this.traces = [];
    /** @type {ComparisonItem[]} */
    this.comparisons = [];
  }

  show() {
    const { run } = this.state;
    this.traces = run.items.filter((i) => i.kind === "trace");
    this.comparisons = run.items.filter((i) => i.kind === "comparison");
    const { kind } = run.run;
    this.box.replaceChildren(h("div", { class: "sheet" },
      h("dl", { class: "facts" }, Object.entries(run.run.facts).map(([k, v]) => h("div", {}, h("dt", {}, textNodes(k)), " ", h("dd", {}, textNodes(v))))),
      kind === "build" ? this.build() : kind === "evaluation" ? evaluated(this) : kind === "rollouts" ? this.rollouts() : differences(this)));
  }

  /** @type {() => Child} */
  note() {
    const { run } = this.state;
    return run.note ? h("p", { class: "warn" }, run.note) : null;
  }

  /** @type {() => Child} */
  build() {
    const total = tally([...this.traces, ...this.comparisons]);
    const pairs = this.comparisons.filter((c) => c.judgements.length);
    const alone = this.comparisons.length - pairs.length - total.contrasts;
    return [
      h("div", { class: "lead" },
        total.traces ? h("p", {}, h("b", {}, plural(total.traces, "prompt")), ` ${total.traces === 1 ? "was" : "were"} answered. `,
          total.critiques ? [h("b", {}, `${number(total.found)} of ${plural(total.critiques, "critique")}`), " found a problem; "] : null,
          h("b", {}, plural(total.changed, "response")), ` (${percent(total.changed / total.traces)}) changed.`) : null,
        total.judged ? h("p", {}, h("b", {}, plural(total.judged, "pair")), ` ${total.judged === 1 ? "was" : "were"} compared; `,
          total.both ? ["the verdict depends on the order in ", h("b", {}, number(total.flips)), ", and "] : null,
          h("b", {}, number(total.ties)), ` ${total.ties === 1 ? "is" : "are"} nearly a tie.`,
          alone ? ` ${number(alone)} more had no principle to judge ${alone === 1 ? "it" : "them"}.` : "") : null,
        total.contrasts ? h("p", {}, h("b", {}, plural(total.contrasts, "contrast pair")), ` ${total.contrasts === 1 ? "has its label" : "have their labels"} by construction; no judge was asked.`) : null,
        this.note()),
      this.progress(),
      h("div", { class: "two" }, this.first(), h("div", { class: "stack" }, this.lengths(), this.labels(pairs))),
      this.byPrinciple(),
      related(this),
      h("div", { class: "figures" }, this.orders(pairs), this.calibration(pairs)),
    ];
  }

  // -- where to read first ------------------------------------------------------------------------

  /** @type {() => Child} */
  first() {
    const { run } = this.state;
    const of = new Map();
    for (const item of run.items) for (const f of item.flags) of.set(f, (of.get(f) || 0) + 1);
    const counts = run.flags.map((flag) => [flag, of.get(flag.code) || 0])
      .filter(([, n]) => n).sort((a, b) => b[0].weight - a[0].weight || a[1] - b[1]);
    const failures = this.traces.filter((t) => t.checks.some((c) => c.p < 0.5)).length;
    return h("section", { class: "first" }, h("h2", {}, "Read first"),
      h("p", { class: "muted" }, "Flags suggest where to look; they are not verdicts. Likeliest faults first."),
      counts.length ? h("ul", { class: "doubts" }, counts.map(([flag, n]) => h("li", {},
        h("button", { type: "button", class: "doubt weight-" + flag.weight, "data-flag": flag.code, onclick: () => this.state.only({ flag: flag.code }) },
          h("b", {}, number(n)), h("span", { title: flag.meaning }, h("span", { class: "doubt-name" }, flag.name), h("span", { class: "muted" }, ` ${flag.code} · ${flag.meaning}`)))))) : h("p", {}, "No item carries a flag."),
      this.part(),
      failures ? h("p", {}, `${plural(failures, "final response")} still ${failures === 1 ? "fails" : "fail"} the final check: see the most doubtful items.`) : null,
      h("button", { type: "button", class: "primary", onclick: () => { this.state.sort = "doubt"; this.state.only({}); } }, "Read, most doubtful first"));
  }

  /** Where a sample was drawn: the way to what is to be read of it. @type {() => Child} */
  part() {
    const { run } = this.state;
    if (!run.sample) return null;
    const { author } = this.verdicts;
    const own = author && Object.values(run.sample.items).some((names) => names.includes(author));
    return h("button", { type: "button", class: "primary", "data-act": "part", onclick: () => this.state.only({ sample: own ? "for " + author : "in the sample" }) },
      own ? "Read your part of the sample" : "Read the sample");
  }

  /** How far auditing has come, of the sample where there is one. @type {() => Child} */
  progress() {
    const { run } = this.state;
    const count = this.verdicts.review(), { done, of, missing } = count;
    const reasons = [...this.verdicts.reasons()].sort((a, b) => b[1] - a[1]);
    const disagree = run.items.filter((i) => new Set(this.verdicts.decisions(i)).size > 1).length;
    const authors = [...this.verdicts.counts()].sort((a, b) => b[1] - a[1]);
    const shares = /** @type {const} */ (["accept", "reject", "unsure"]).filter((v) => count[v]);
    return h("section", { class: "done", "aria-label": "Progress" },
      h("div", { class: "done-bar", role: "img", "aria-label": `${done} of ${of} judged` },
        shares.map((v) => {
          const part = h("span", { class: v });
          part.style.width = 100 * count[v] / of + "%";
          return part;
        })),
      h("p", {}, h("b", {}, `${number(done)} of ${number(of)}`), run.sample ? " items of the sample judged" : " items judged",
        shares.length ? ": " + shares.map((v) => `${number(count[v])} ${JUDGED[v]}`).join(", ") + "." : "",
        authors.length ? h("span", { class: "muted" }, "  By ", authors.map(([name, n], i) => [i ? ", " : "", textNodes(name), ` ${number(n)}`]))
          : h("span", { class: "muted" }, ".  Open one and press ", h("kbd", {}, "a"), " ", h("kbd", {}, "x"), " or ", h("kbd", {}, "u"), ".")),
      disagree ? h("p", {}, h("button", { type: "button", class: "link", "data-act": "disagree", onclick: () => this.state.only({ verdict: "auditors disagree" }) },
        `Auditors disagree on ${plural(disagree, "item")}`)) : null,
      reasons.length ? h("p", {}, "Reasons: ", reasons.map(([reason, n], i) => [i ? ", " : "",
        h("button", { type: "button", class: "link", onclick: () => this.state.only({ reason }) }, textNodes(reason)), ` ${number(n)}`]), ".") : null,
      this.signing(done === of, missing));
  }

  /** Everything is judged: what to do next. @type {(all: boolean, missing: Map<string, number>) => Child} */
  signing(all, missing) {
    const { run } = this.state, { signature } = this.verdicts;
    if (run.run.kind !== "build" || !run.items.length) return null;
    if (signature) return h("p", { class: "signed" }, h("b", {}, "Signed off"), " by ", textNodes(signature.signer), `, ${signature.at.slice(0, 16).replace("T", " ")}. The next verdict makes it stale.`);
    if (!all) return null;
    const late = [...missing].map(([name, n]) => `${name} has ${number(n)} to judge`);
    if (late.length) return h("p", { class: "muted" }, "Every item is judged by somebody; ", textNodes(late.join(", ")), ".");
    return h("p", { class: "sign" }, h("b", {}, "All items are judged. "), "Now sign, so that training takes the data. ",
      h("button", { type: "button", class: "primary", "data-act": "sign-off", onclick: () => actions.sign() }, "Sign off"));
  }

  // -- charts -------------------------------------------------------------------------------------

  /** @type {() => Child} */
  byPrinciple() {
    const rows = tallyByPrinciple(this.state.run.items);
    for (const item of this.state.run.items) {
      const verdictRows = [...(this.verdicts.latest.get(item.key)?.values() || [])].filter((r) => r.verdict !== "none");
      const good = verdictRows.length && verdictRows.every((r) => r.verdict === "accept");
      for (const id of item.principles) {
        const row = rows.get(id);
        if (!row) continue;
        row.decided += verdictRows.length ? 1 : 0;
        row.accept += good ? 1 : 0;
      }
    }
    if (!rows.size) return null;
    /** @typedef {keyof PrincipleTally} Column */
    const some = (/** @type {Column} */ name) => [...rows.values()].some((r) => r[name]);
    const same = (/** @type {Column} */ hits, /** @type {Column} */ n) => new Set([...rows.values()].filter((r) => r[n]).map((r) => r[hits] / r[n])).size < 2;
    const bar = (/** @type {Column} */ hits, /** @type {Column} */ n, /** @type {string} */ tone) => { // no bars where all would be alike
      const plain = same(hits, n);
      return (/** @type {PrincipleTally} */ r) => (r[n] ? share(r[hits], r[n], tone, plain) : "");
    };
    /** @type {[string, Column, (r: PrincipleTally) => Child][]} */
    const all = [
      ["Rounds", "asked", (r) => r.asked ? number(r.asked) : ""],
      ["Found a problem", "asked", bar("found", "asked", "found")],
      ["Text changed", "asked", bar("changed", "asked", "changed")],
      ["Flagged", "asked", bar("flags", "asked", "flagged")],
      ["Pairs judged", "judged", (r) => r.judged ? number(r.judged) : ""],
      ["Flipped", "both", bar("flipped", "both", "flagged")],
      ["Contrast pairs", "contrasted", (r) => r.contrasted ? number(r.contrasted) : ""],
      ["Accepted by auditors", "decided", (r) => r.decided ? accepted(r) : ""],
    ];
    const columns = all.filter(([, name]) => some(name));
    const order = [...rows].sort((a, b) => b[1].asked - a[1].asked || b[1].judged - a[1].judged || (a[0] > b[0] ? 1 : -1));
    return h("section", { class: "principles" }, h("h2", {}, "Principles"),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Principles" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Principle"), columns.map(([t]) => h("th", { scope: "col" }, t)))),
        h("tbody", {}, order.map(([id, r]) => h("tr", {}, this.leading(id),
          columns.map(([, , cell]) => h("td", {}, cell(r)))))))));
  }

  /** The head of a principle's row: it leads to what was done under the principle. @type {(id: string) => Child} */
  leading(id) {
    return h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => this.state.only({ principle: id }) }, this.state.run.title(id)));
  }

  /** @type {() => Child} */
  lengths() {
    if (!this.traces.length) return null;
    const before = this.traces.map((t) => t.words[0]), after = this.traces.map((t) => t.words[1]);
    const mean = (/** @type {number[]} */ v) => v.reduce((a, b) => a + b, 0) / v.length;
    const top = Math.max(8, quantile([...before, ...after], 0.98));
    const step = Math.max(1, Math.ceil(top / 16));
    const bins = (/** @type {number[]} */ values) => {
      const out = Array(17).fill(0);
      for (const v of values) out[Math.min(16, Math.floor(v / step))]++;
      return out;
    };
    return figure("Length", `Words of the first and of the final response: ${mean(before).toFixed(0)} and ${mean(after).toFixed(0)} on average.`,
      alike([...bins(before).entries(), ...bins(after).entries()]) ? h("p", {}, "All are about equally long.")
        : bars([["first", bins(before), "muted"], ["final", bins(after), "main"]], ["0", String(step * 8), `${step * 16}+`]));
  }

  /** @type {(pairs: ComparisonItem[]) => Child} */
  labels(pairs) {
    if (!pairs.length) return null;
    const bins = Array(20).fill(0);
    for (const c of pairs) bins[Math.min(19, Math.floor(c.probability * 20))]++;
    return figure("Labels", "Probability that A is better. Near one half a pair teaches little.",
      alike([...bins.entries()]) ? h("p", {}, `All ${plural(pairs.length, "pair")} have about the same label: ${percent(pairs[0].probability)}.`)
        : bars([["pairs", bins, "main"]], ["0", "½", "1"]));
  }

  /**
   * The judge against the auditors: how often labels of each sureness were accepted.
   * @type {(pairs: ComparisonItem[]) => Child}
   */
  calibration(pairs) {
    const bins = Array.from({ length: 5 }, () => ({ n: 0, right: 0, sure: 0 }));
    for (const c of pairs) {
      const sure = Math.max(c.probability, 1 - c.probability);
      const bin = bins[Math.min(4, Math.floor((sure - 0.5) * 10))];
      for (const r of this.verdicts.latest.get(c.key)?.values() || []) {
        if (r.verdict !== "accept" && r.verdict !== "reject") continue;
        bin.n++;
        bin.sure += sure;
        bin.right += r.verdict === "accept" ? 1 : 0;
      }
    }
    const some = bins.filter((b) => b.n);
    if (!some.length) return null;
    const x = (/** @type {number} */ v) => 8 + 184 * (2 * v - 1), y = (/** @type {number} */ v) => 192 - 184 * v;
    const total = some.reduce((t, b) => t + b.n, 0), right = some.reduce((t, b) => t + b.right, 0);
    return figure("Calibration", `How sure the label was (across) and how often auditors accepted it (up), with 95 % intervals: ${percent(right / total)} of ${number(total)}. On the line the judge is as right as it is sure.`,
      svg("svg", { viewBox: SQUARE, class: "plot square", role: "img", "aria-label": some.map((b) => `${percent(b.sure / b.n)} sure: ${b.right} of ${b.n} accepted`).join("; ") },
        ticks(["½", "¾", "1"]),
        svg("rect", { class: "frame", x: 8, y: 8, width: 184, height: 184 }),
        svg("line", { class: "rail", x1: x(0.5), y1: y(0.5), x2: x(1), y2: y(1) }),
        some.map((b) => {
          const [low, high] = wilson(b.right, b.n), at = x(b.sure / b.n);
          return [svg("line", { class: "whisker", x1: at, x2: at, y1: y(low), y2: y(high) }), svg("circle", { class: "point", cx: at, cy: y(b.right / b.n), r: 3.5 })];
        })));
  }

  /** @type {(pairs: ComparisonItem[]) => Child} */
  orders(pairs) {
    const both = pairs.flatMap(({ p_ab: first, p_ba: second, flags }) =>
      first === null || second === null ? [] : [{ first, second, flips: flags.includes("F09") }]);
    if (!both.length) return null;
    const most = 1500, step = Math.ceil(both.length / most);
    const points = both.filter((_, n) => n % step === 0);
    const at = (/** @type {number} */ v) => 8 + 184 * v;
    if (new Set(both.map((c) => `${c.first.toFixed(2)} ${c.second.toFixed(2)}`)).size === 1) {
      return figure("Order", `All ${plural(both.length, "pair")} came out alike: A is better with probability ${both[0].first.toFixed(2)} shown first, ${both[0].second.toFixed(2)} shown second.`, null);
    }
    return figure("Order", `Each pair by the probability of A shown first (across) and second (up); off the diagonal the order decides.${step > 1 ? ` Every ${step}th pair is drawn.` : ""}`,
      svg("svg", { viewBox: SQUARE, class: "plot square", role: "img", "aria-label": "Agreement of the two orders" },
        ticks(["0", "½", "1"]),
        svg("rect", { class: "flip-zone", x: at(0.5), y: at(0.5), width: 92, height: 92 }), svg("rect", { class: "flip-zone", x: at(0), y: at(0), width: 92, height: 92 }),
        svg("line", { class: "rail", x1: at(0), y1: at(1), x2: at(1), y2: at(0) }),
        svg("rect", { class: "frame", x: 8, y: 8, width: 184, height: 184 }),
        points.map((c) => svg("circle", { class: c.flips ? "bad" : "", cx: at(c.first), cy: at(1 - c.second), r: 2.2 }))));
  }

  /** @type {() => Child} */
  rollouts() {
    const items = this.state.run.rollouts;
    const last = Math.max(...items.map((i) => i.update));
    const mean = (/** @type {number} */ update, /** @type {"score" | "kl"} */ name) => {
      const some = items.filter((i) => i.update === update).map((i) => i[name]);
      return some.reduce((a, b) => a + b, 0) / some.length;
    };
    const far = items.filter((i) => i.kl > 30).length;
    const first = Math.min(...items.map((i) => i.update));
    return [
      h("div", { class: "lead" },
        h("p", {}, h("b", {}, `${number(items.length)} responses`), ` were written in ${last - first + 1} updates. The mean score went from `,
          h("b", {}, mean(first, "score").toFixed(2)), " to ", h("b", {}, mean(last, "score").toFixed(2)), ", the KL to the reference from ",
          h("b", {}, fixed(mean(first, "kl"), 1)), " to ", h("b", {}, fixed(mean(last, "kl"), 1)), " nats a response."),
        far ? h("p", {}, h("b", {}, number(far)), " responses are more than 30 nats away: read those first.") : null, this.note()),
      this.progress(),
      curves(this.state.run, null),
      this.first(),
      h("p", {}, h("button", { type: "button", class: "primary", onclick: () => { this.state.sort = "kl"; this.state.only({}); } }, "Furthest from the reference"), " ",
        h("button", { type: "button", class: "primary", onclick: () => { this.state.sort = "score"; this.state.only({}); } }, "Highest score")),
    ];
  }
}

/** What a run did, in numbers: of traces and comparisons. @param {(TraceItem | ComparisonItem)[]} items */
function tally(items) {
  const out = { traces: 0, critiques: 0, found: 0, changed: 0, before: 0, after: 0, judged: 0, both: 0, flips: 0, ties: 0, contrasts: 0, flagged: 0 };
  for (const item of items) {
    out.flagged += item.flags.length ? 1 : 0;
    if (item.kind === "trace") {
      const texts = stages(item), critiques = item.rounds.filter((r) => r.critique);
      out.traces++;
      out.critiques += critiques.length;
      out.found += critiques.filter((r) => r.found).length;
      out.changed += texts[0] === texts.at(-1) ? 0 : 1;
      out.before += item.words[0];
      out.after += item.words[1];
    } else if (item.contrast) {
      out.contrasts++;
    } else if (item.judgements.length) {
      out.judged++;
      out.both += item.judgements.some((j) => j.swapped !== null) ? 1 : 0;
      out.flips += item.flags.includes("F09") ? 1 : 0;
      out.ties += item.flags.includes("F10") ? 1 : 0;
    }
  }
  return out;
}

/** Principle → what was done under it. @type {(items: AnyItem[]) => Map<string, PrincipleTally>} */
function tallyByPrinciple(items) {
  const rows = new Map();
  const of = (/** @type {string} */ id) => {
    const row = rows.get(id) || { asked: 0, found: 0, changed: 0, flags: 0, judged: 0, both: 0, flipped: 0, contrasted: 0, accept: 0, decided: 0 };
    rows.set(id, row);
    return row;
  };
  for (const item of items) {
    if (item.kind === "trace") {
      const texts = stages(item);
      item.rounds.forEach((r, n) => {
        const row = of(r.principle);
        row.asked++;
        row.found += r.critique && r.found ? 1 : 0;
        row.changed += r.revision && r.revision.text !== texts[n] ? 1 : 0;
        row.flags += item.by_round[n]?.length ? 1 : 0;
      });
    } else if (item.kind === "comparison" && item.contrast) {
      of(item.contrast.principle).contrasted++;
    } else if (item.kind === "comparison") for (const j of item.judgements) {
      const row = of(j.principle);
      row.judged++;
      row.both += j.swapped !== null ? 1 : 0;
      row.flipped += j.flipped ? 1 : 0;
    }
  }
  return rows;
}

/** A share, with a bar unless `plain`. @type {(hits: number, n: number, tone: string, plain?: boolean) => Child} */
function share(hits, n, tone, plain = false) {
  return h("span", { class: hits ? "share" : "share none", title: `${number(hits)} of ${number(n)}` }, plain ? null : meter(hits / n, tone), h("span", {}, percent(hits / n)));
}

/** @type {(row: PrincipleTally) => string} */
function accepted(row) {
  const [low, high] = wilson(row.accept, row.decided);
  return `${percent(row.accept / row.decided)} (${percent(low)} to ${percent(high)}), ${row.decided} judged`;
}

/** @type {(values: number[], q: number) => number} */
function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/**
 * Whether all of a histogram lies in one bin: bars would say nothing. entries: [bin, count].
 * @type {(entries: [number, number][]) => boolean}
 */
const alike = (entries) => new Set(entries.filter(([, count]) => count).map(([bin]) => bin)).size < 2;

/** @type {(title: string, caption: string, drawing: Child) => HTMLElement} */
function figure(title, caption, drawing) {
  return h("figure", {}, h("figcaption", {}, h("h2", {}, title), h("p", { class: "muted" }, caption)), drawing);
}

const SQUARE = "-14 0 214 208"; // a frame from 8 to 192, and room for what its axes say

/** Of a square plot: three labels across, and 0, a half and 1 up. @type {(across: string[]) => Child[]} */
function ticks(across) {
  const up = ["0", "½", "1"];
  return [0, 1, 2].map((i) => [
    svg("text", { x: 8 + 92 * i, y: 204, "text-anchor": "middle" }, across[i]),
    svg("text", { x: 3, y: 195 - 92 * i, "text-anchor": "end" }, up[i])]);
}

/**
 * Bars of one or two series: [name, counts, tone]. below: three labels.
 * @type {(series: [string, number[], string][], below: string[]) => HTMLElement}
 */
function bars(series, below) {
  const top = Math.max(1, ...series.flatMap(([, counts]) => counts));
  const n = series[0][1].length, width = 360 / n;
  return h("div", {},
    svg("svg", { viewBox: "0 0 360 118", class: "plot", role: "img", "aria-label": series.map(([name, counts]) => `${name}: ${counts.join(", ")}`).join("; ") },
      svg("line", { class: "rail", x1: 0, x2: 360, y1: 100, y2: 100 }),
      series.map(([, counts, tone], k) => counts.map((c, i) => c ? svg("rect", {
        class: tone, x: i * width + 1 + (k * (width - 2)) / series.length, width: (width - 2) / series.length,
        y: 100 - 88 * c / top, height: 88 * c / top, rx: 1 }) : null)),
      below.map((t, i) => svg("text", { x: 180 * i, y: 114, "text-anchor": ["start", "middle", "end"][i] }, t)),
      svg("text", { x: 360, y: 9, "text-anchor": "end" }, number(top))),
    series.length > 1 ? h("p", { class: "legend" }, series.map(([name, , tone]) => [h("span", { class: "swatch " + tone }), name])) : null);
}

/** Mean score and KL, update by update; `item` as a point. @type {(run: Run, item: RolloutItem | null) => Child} */
function curves(run, item) {
  const items = run.rollouts;
  const updates = [...new Set(items.map((i) => i.update))].sort((a, b) => a - b);
  if (updates.length < 2) return null;
  const end = updates[updates.length - 1];
  const one = (/** @type {"score" | "kl"} */ name, /** @type {string} */ title) => {
    const rows = updates.map((u) => {
      const values = items.filter((i) => i.update === u).map((i) => i[name]);
      return [u, values.reduce((a, b) => a + b, 0) / values.length, quantile(values, 0.1), quantile(values, 0.9)];
    });
    if (new Set(items.map((i) => i[name])).size === 1) return figure(title, `It is ${fixed(items[0][name], 2)} in every response.`, null);
    const low = Math.min(...rows.map((r) => r[2])), high = Math.max(...rows.map((r) => r[3]), item ? item[name] : -Infinity);
    const x = (/** @type {number} */ u) => 6 + 348 * (u - updates[0]) / (end - updates[0]);
    const y = (/** @type {number} */ v) => 98 - 84 * (v - low) / (high - low || 1);
    return figure(title, `Mean of each update, and where eight of ten lie: ${rows[0][1].toFixed(2)} to ${rows[rows.length - 1][1].toFixed(2)}.`,
      svg("svg", { viewBox: "0 0 360 118", class: "plot", role: "img", "aria-label": title },
        svg("path", { class: "band", d: "M" + rows.map((r) => `${x(r[0])},${y(r[3])}`).join("L") + "L" + [...rows].reverse().map((r) => `${x(r[0])},${y(r[2])}`).join("L") + "Z" }),
        svg("path", { class: "curve", d: "M" + rows.map((r) => `${x(r[0])},${y(r[1])}`).join("L") }),
        item ? svg("circle", { class: "dot", cx: x(item.update), cy: y(item[name]), r: 4 }) : null,
        svg("text", { x: 0, y: 114 }, "update " + updates[0]), svg("text", { x: 360, y: 114, "text-anchor": "end" }, String(end)),
        svg("text", { x: 0, y: 8 }, fixed(high, 1)), svg("text", { x: 0, y: 97 }, fixed(low, 1))));
  };
  return h("div", { class: "figures" }, one("score", "Score"), one("kl", "KL to the reference, nats"));
}
