// The item: prompt, texts, principle beside critique, differences, numbers, and the verdict's buttons.

class Reader {
  /** @param {State} state @param {Verdicts} verdicts @param {() => boolean} covered */
  constructor(state, verdicts, covered) {
    this.state = state;
    this.verdicts = verdicts;
    this.covered = covered; // () → whether texts are covered
    /** @type {AnyItem | null} */
    this.item = null; // the one that is shown
    /** @type {string | null} */
    this.viewKey = null; // of what is shown, verdicts aside
    /** @type {string[]} */
    this.query = [];
    this.first = false; // principles as the first of two runs had them
    this.box = $("reader");
  }

  show() {
    const { item, run } = this.state;
    if (!item) {
      this.box.replaceChildren(h("p", { class: "nothing" }, "Nothing fits these filters. ",
        h("button", { type: "button", class: "link", onclick: () => this.state.clear() }, "Clear them")));
      this.viewKey = this.item = null;
      return;
    }
    this.query = searchTerms(this.state.query);
    const same = this.item === item;
    const viewKey = [item.key, this.covered(), this.state.side, this.state.query].join();
    const active = document.activeElement;
    const at = active instanceof HTMLElement && active.closest(".bar-verdict") ? active.dataset.act : null;
    if (viewKey === this.viewKey && run.mode !== "diff") { // a verdict alone: what is being read stays as it is
      this.box.querySelector(".bar-verdict")?.replaceWith(this.bar(item));
      this.refocus(at);
      return;
    }
    this.viewKey = viewKey;
    this.box.replaceChildren(
      this.head(item),
      h("div", { class: "body" }, this.body(item)),
      ...(run.mode === "diff" ? [] : [this.bar(item)]));
    if (!same) this.box.scrollTop = 0;
    this.item = item;
    this.refocus(at);
  }

  /** @type {(item: AnyItem) => Child} */
  body(item) {
    if (item.kind === "trace") return this.trace(item);
    if (item.kind === "comparison") return this.comparison(item);
    if (item.kind === "answer") return answered(this, item);
    return item.kind === "rollout" ? this.rollout(item) : this.pair(item);
  }

  /** Leave the focus on the button that was pressed, which was drawn anew. @type {(act?: string | null) => void} */
  refocus(act) {
    const button = act && this.box.querySelector(`[data-act="${act}"]`);
    if (button instanceof HTMLElement) button.focus();
  }

  /** @type {(item: AnyItem) => HTMLElement} */
  head(item) {
    const { run } = this.state;
    return h("header", { class: "item-head" }, h("h2", { class: "hidden" }, `${kindOf(item)} ${item.prompt_id}`),
      h("div", { class: "crumbs" }, h("span", {}, kindOf(item)), h("code", {}, textNodes(item.id)),
        item.source ? h("span", { class: "muted" }, textNodes(item.source)) : null),
      item.flags.length ? h("ul", { class: "flags" }, item.flags.map((code) => {
        const flag = run.flag(code);
        return h("li", { class: "flag-note weight-" + flag.weight, title: flag.meaning }, h("b", {}, code), " ", flag.name);
      })) : null);
  }

  // -- parts --------------------------------------------------------------------------------------

  /**
   * A text in its frame. nodes: what stands in it; the text itself where there is none.
   * @type {(label: string, source: string | GeneratedText, options?: TextOptions) => HTMLElement}
   */
  text(label, source, { nodes = null, tone = "", notes = [] } = {}) {
    const text = typeof source === "string" ? source : source.text;
    const small = typeof source === "string" ? [] : [source.tokens === undefined ? "" : `${number(source.tokens)} tokens`, source.cut ? "cut off" : ""];
    const inside = this.cover(text.length, () =>
      nodes || (text ? textNodes(text, this.query) : h("i", { class: "muted" }, "empty")));
    return h("section", { class: "block " + tone },
      h("h3", {}, textNodes(label), h("span", { class: "notes" }, [...notes, ...small].filter(Boolean).join(" · "))),
      typeof source !== "string" && source.reasoning ? this.reasoning(source.reasoning) : null,
      inside);
  }

  /** The model's reasoning before its answer, group. @type {(text: string) => Child} */
  reasoning(text) {
    return h("details", {}, h("summary", {}, `Reasoning before the answer (${number(text.length)} characters)`),
      this.cover(text.length, () => textNodes(text, this.query)));
  }

  /**
   * A text that is not in the page before it is asked for, where texts are covered.
   * @type {(length: number, make: () => Child, tag?: "div" | "pre", attributes?: Attributes) => HTMLElement}
   */
  cover(length, make, tag = "div", attributes = { class: "text" }) {
    const inside = h(tag, attributes);
    if (!this.covered()) return fill(inside, {}, [make()]);
    inside.classList.add("covered");
    inside.append(h("button", { type: "button", class: "reveal", onclick: () => {
      inside.classList.remove("covered");
      inside.replaceChildren();
      fill(inside, {}, [make()]);
    } }, `Show ${number(length)} characters`));
    return inside;
  }

  /** @type {(item: AnyItem) => Child} */
  prompt(item) {
    if (!item.prompt.length) {
      return h("p", { class: "muted" }, `The prompt ${item.prompt_id}; its text was not kept with the run.`);
    }
    const many = item.prompt.length > 1;
    return item.prompt.map((m, n) => this.text(many ? `${n + 1} · ${m.role}` : "Prompt", m.content,
      { tone: "prompt " + (m.role === "user" ? "" : "turn"), notes: many ? [] : [m.role === "user" ? "" : m.role] }));
  }

  /**
   * A principle's card: what it asks, why, and how it came to be drawn.
   * @type {(id: string, version: string, request: RequestName | null, extra?: Child) => Child}
   */
  principle(id, version, request, extra) {
    const p = this.state.run.principle(id, this.first);
    const draw = p && p.share !== null && request && request !== "comparison_question"
      ? `Drawn with probability ${percent(p.share)} in the first round (weight ${p.weight}), by the run's seed.` : "";
    return h("section", { class: "principle" },
      h("h3", {}, p?.title || id),
      h("p", { class: "id" }, h("code", {}, `${id} ${version || p?.version || ""}`), p?.tags?.length ? " · " + p.tags.join(", ") : ""),
      request && p?.[request] ? h("blockquote", {}, textNodes(p[request].trim())) : null,
      p ? h("details", {}, h("summary", {}, "Why, and how it was drawn"),
        p.why ? h("p", {}, textNodes(p.why.trim())) : null,
        p.source ? h("p", { class: "muted" }, "Source: ", textNodes(p.source)) : null,
        draw ? h("p", { class: "muted" }, draw) : null) : null,
      extra);
  }

  /** The input of a model call, word for word, folded. @type {(item: RunItem, part: string, name?: string) => Child} */
  input(item, part, name = "The model's input") {
    const details = h("details", { class: "given" }, h("summary", {}, name));
    if (!item.inputs?.[part]) return null;
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length < 2) {
        const text = this.state.run.input(item, part);
        details.append(this.cover(text.length, () => textNodes(text, this.query), "pre", { tabindex: "0" }));
      }
    });
    return details;
  }

  /**
   * Two texts and what changed; in one text or side by side.
   * @type {(label: string, before: string, after: GeneratedText, notes?: string[]) => Child}
   */
  change(label, before, after, notes = []) {
    const pieces = simplify(diff(before, after.text));
    const removals = pieces.filter((p) => p[0] === "-").reduce((n, p) => n + words(p[1]), 0);
    const additions = pieces.filter((p) => p[0] === "+").reduce((n, p) => n + words(p[1]), 0);
    const counts = [`−${number(removals)} +${number(additions)} words`, ...notes];
    if (this.state.side) {
      return h("div", { class: "sides" },
        this.text("Before", before, { nodes: h("div", {}, side(pieces, "-", this.query)) }),
        this.text(label, after, { nodes: h("div", {}, side(pieces, "+", this.query)), notes: counts, tone: "after" }));
    }
    return this.text(label, after, { nodes: h("div", {}, inline(pieces, this.query)), notes: counts, tone: "after" });
  }

  /** @type {(item: RunItem) => Child} */
  rows(item) {
    if (!item.rows?.length && !item.left_out?.length) return null;
    return h("section", { class: "becomes" }, h("h2", {}, "Becomes"),
      item.rows.map(([file, id]) => h("p", {}, "a row of ", h("code", {}, file), ": ", h("code", {}, id))),
      item.left_out.map((why) => h("p", { class: "warn" }, "left out: ", textNodes(why))),
      h("p", { class: "muted" }, "In a terminal: ", h("code", {}, "cai trace " + item.id)));
  }

  // -- kinds --------------------------------------------------------------------------------------

  /** @type {(item: TraceItem) => Child} */
  trace(item) {
    const texts = stages(item);
    return [
      this.prompt(item),
      this.text(item.explained ? "Document" : "First response", item.response, { tone: "response" }),
      this.input(item, "response"),
      this.explained(item),
      item.rounds.map((r, n) => {
        const same = r.revision && r.revision.text === texts[n];
        return h("section", { class: "round" },
          h("h2", {}, `Round ${n + 1}`,
            h("span", { class: "found " + (r.critique ? (r.found ? "yes" : "no") : "") },
              OUTCOMES[r.outcome || ""] || "revised without a critique"),
            r.revision?.written ? h("span", { class: "guard", title: r.revision.written }, "announcement removed") : null,
            r.guards.map((g) => h("span", { class: "guard", title: "kept out of the SFT data" }, "guard: " + g)),
            (item.by_round[n] || []).map((f) => h("span", { class: "flag", title: this.state.run.flag(f).meaning }, f))),
          h("div", { class: "beside" },
            this.principle(r.principle, r.version, r.critique ? "critique_request" : "revision_request",
              r.critique && r.revision ? this.revisionRequest(r.principle) : null),
            h("div", {},
              r.critique ? this.text("Critique", r.critique, { tone: r.found ? "critique" : "critique clean" }) : null,
              r.critique ? this.input(item, "critique " + n) : null)),
          r.revision
            ? [same ? h("p", { class: "same" }, "The revision is the same text.") : this.change("Revision", texts[n], r.revision),
              this.input(item, "revision " + n)]
            : h("p", { class: "same" }, "No revision: the text is unchanged."));
      }),
      item.rounds.filter((r) => r.revision).length > 1 && texts[0] !== texts.at(-1)
        ? h("section", { class: "round" }, h("h2", {}, "From first to last"),
          this.change("Final response", texts[0], lastText(item))) : null,
      item.withheld
        ? h("section", { class: "round" }, h("h2", {}, "Withheld",
            h("span", { class: "guard", title: "what a guard sent in the place of the final response" }, item.withheld.reason)),
          this.text("Sent instead", item.withheld.text)) : null,
      this.checks(item),
      this.rows(item),
    ];
  }

  /** Of a document: the principle that it explains. @type {(item: TraceItem) => Child} */
  explained(item) {
    const about = item.explained;
    if (!about) return null;
    return h("section", { class: "round" },
      h("h2", {}, "Explains", h("span", { class: "notes" }, about.why ? "the writer read the reason" : "the writer did not read a reason"),
        about.guards.map((g) => h("span", { class: "guard", title: "kept out of the SFT data" }, "guard: " + g))),
      this.principle(about.principle, about.version, null));
  }

  /**
   * A judge's checks: a bar for each principle, but one sentence for those that all came to the same.
   * @type {(item: TraceItem | AnswerItem, title?: string, note?: string) => Child}
   */
  checks(item, title = "The final check", note = "probability that nothing is wrong with the final response") {
    if (!item.checks.length) return null;
    const bar = (/** @type {Check} */ c) => h("li", {}, h("span", {}, this.state.run.title(c.principle)),
      meter(Math.max(c.p, 0.04), c.p < 0.5 ? "bad" : "good"), h("b", { class: c.p < 0.5 ? "bad" : "" }, c.p.toFixed(2)));
    const shares = item.checks.map((c) => c.p.toFixed(2));
    const common = new Set(shares).size === 1 ? shares[0] : "1.00";
    const alike = item.checks.filter((_, n) => shares[n] === common);
    const group = alike.length > 1 ? alike : [];
    const rest = item.checks.filter((c) => !group.includes(c));
    return h("section", { class: "checks" }, h("h2", {}, title,
      h("span", { class: "notes" }, note)),
    rest.length ? h("ul", {}, rest.map(bar)) : null,
    group.length ? h("p", { class: Number(common) < 0.5 ? "warn" : "muted" },
      `${rest.length ? `Under the ${number(group.length)} other principles` : `Under each of ${number(group.length)} principles`}: ${common}.`) : null,
    group.length ? h("details", {}, h("summary", {}, "Show them"), h("p", {}, group.map((c) => this.state.run.title(c.principle)).join(" · "))) : null);
  }

  /** @type {(id: string) => Child} */
  revisionRequest(id) {
    const p = this.state.run.principleOf.get(id);
    return p?.revision_request ? h("details", {}, h("summary", {}, "The request to revise"),
      h("blockquote", {}, textNodes(p.revision_request.trim()))) : null;
  }

  /** @type {(item: ComparisonItem) => Child} */
  comparison(item) {
    const first = item.probability >= 0.5;
    const sure = Math.max(item.probability, 1 - item.probability);
    const pieces = diff(item.responses[0].text, item.responses[1].text);
    const tie = isTie(item); // no colour for the toss of a coin
    const verdictOn = (/** @type {boolean} */ is) => (item.contrast ? [is ? "chosen · was to follow" : "not chosen · was to oppose"] : tie ? ["near tie"] : is ? ["chosen · " + percent(sure)] : ["not chosen"]);
    return [
      this.prompt(item),
      h("div", { class: "sides" }, [0, 1].map((n) => {
        const better = first === (n === 0);
        return h("div", {}, this.text("Response " + "AB"[n], item.responses[n], {
          tone: tie ? "" : better ? "chosen" : "rejected", notes: verdictOn(better),
          nodes: this.state.side ? h("div", {}, side(pieces, n ? "+" : "-", this.query)) : null }),
        this.input(item, "responses " + n));
      })),
      this.judgements(item),
      this.rows(item),
    ];
  }

  /**
   * The judgements of a pair under each principle: one probability, or one for each order.
   * @type {(item: ComparisonItem) => Child}
   */
  judgements(item) {
    if (item.contrast) return this.contrast(item.contrast);
    const both = item.judgements.some((j) => j.swapped !== null);
    const columns = both ? ["Principle", "B better ← → A better", "A first", "A second"] : ["Principle", "B better ← → A better", "A is better"];
    return h("section", { class: "judged" },
      h("h2", {}, `A is better: ${percent(item.probability)}`, h("span", { class: "notes" },
        [item.mode === "letters" ? "asked by letters" : "each asked alone",
          item.p_ab !== null ? `A first ${percent(item.p_ab)}` : "", item.p_ba !== null ? `A second ${percent(item.p_ba)}` : "",
          item.judgements.length > 1 ? `spread over principles ${item.spread.toFixed(2)}` : "",
          item.mass === null ? "" : `probability of the judge's answers ${massOf(item.mass)}`].filter(Boolean).join(" · "))),
      item.judgements.length ? h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Judgements" }, h("table", {}, h("thead", {}, h("tr", {},
        columns.map((t, n) => h("th", { scope: "col", class: n > 1 ? "n" : "" }, t)))),
      h("tbody", {}, item.judgements.map((j, n) => h("tr", { class: j.flipped ? "flipped" : "" },
        h("td", {}, h("details", {}, h("summary", {}, this.state.run.title(j.principle, this.first), j.flipped ? h("span", { class: "flag" }, "flips") : null),
          this.principle(j.principle, j.version, "comparison_question"),
          j.reasoning.map((t, k) => this.text(`Reasoning ${k + 1}`, t, { tone: "critique" })),
          Object.keys(item.inputs || {}).filter((g) => g.startsWith(`judgements ${n}.`))
            .map((g) => this.input(item, g)))),
        h("td", {}, strip(j.p, j.swapped, j.flipped)),
        h("td", { class: "n" }, j.p.toFixed(2)),
        both ? h("td", { class: "n" }, j.swapped === null ? "–" : j.swapped.toFixed(2)) : null))))) :
        h("p", { class: "muted" }, "No principle judged this pair."));
  }

  /**
   * Where the label of a contrast pair is from: the principle, and what each side was asked.
   * @type {(contrast: NonNullable<ComparisonItem["contrast"]>) => Child}
   */
  contrast(contrast) {
    return h("section", { class: "judged" },
      h("h2", {}, "A is chosen by construction", h("span", { class: "notes" }, "no judge was asked"),
        contrast.guards.map((g) => h("span", { class: "guard", title: "kept out of the data" }, "guard: " + g))),
      this.principle(contrast.principle, contrast.version, null),
      h("div", { class: "sides" }, contrast.asked.map((turn, n) => h("div", {},
        this.text(n ? "B was asked to oppose it" : "A was asked to follow it", turn, { tone: "prompt" })))));
  }

  /** @type {(item: RolloutItem) => Child} */
  rollout(item) {
    const { run } = this.state;
    return [
      this.prompt(item),
      this.text("Response", item.response, { tone: "response" }),
      h("section", { class: "judged" }, h("h2", {}, "Score and KL"),
        h("dl", { class: "numbers" },
          pairOf("Update", item.update), pairOf("Score", item.score.toFixed(3)),
          item.advantage === undefined ? null : pairOf("Advantage", item.advantage.toFixed(3)),
          pairOf("KL to the reference", fixed(item.kl, 2) + " nats"),
          item.second_reward === null ? null : pairOf("Second reward", item.second_reward.toFixed(3)),
          pairOf("Ended by itself", item.response.cut ? "no" : "yes")),
        curves(run, item)),
      this.parts(item),
      this.lesson(item),
    ];
  }

  /**
   * What a teacher read before it read the response; none where the run had no teacher.
   * @type {(item: RolloutItem) => Child}
   */
  lesson(item) {
    const { lesson } = item;
    if (!lesson) return null;
    return h("section", { class: "round" },
      h("h2", {}, "What the teacher read", h("span", { class: "notes" }, lesson.taught ? "the policy learned from it" : "no problem found: nothing was learned")),
      lesson.principle ? this.principle(lesson.principle, "", "critique_request") : h("p", {}, "The whole constitution."),
      lesson.critique ? this.text("Critique", lesson.critique, { tone: lesson.found ? "critique" : "critique clean" }) : null);
  }

  /**
   * What the score of a rollout is made of: each principle's verdict, or each term of a mixed reward.
   * @type {(item: RolloutItem) => Child}
   */
  parts(item) {
    if (!item.parts) return null;
    const judged = item.parts.some((part) => part.p !== null);
    const columns = [...(judged ? ["Principle", "problem ← → no problem", "No problem"] : ["Part"]), "Value", "Weight", "Adds"];
    return h("section", { class: "judged" },
      h("h2", {}, "Why it was paid", h("span", { class: "notes" }, "the score is the sum of what the parts add")),
      h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Parts of the score" }, h("table", {}, h("thead", {}, h("tr", {},
        columns.map((t, n) => h("th", { scope: "col", class: n > (judged ? 1 : 0) ? "n" : "" }, t)))),
      h("tbody", {}, item.parts.map((part) => h("tr", {},
        h("td", {}, part.principle
          ? h("details", {}, h("summary", {}, this.state.run.title(part.principle, this.first)), this.principle(part.principle, "", "critique_request"))
          : textNodes(part.name)),
        judged ? [h("td", {}, part.p === null ? null : strip(part.p, null, false, `no problem ${percent(part.p)}`)),
          h("td", { class: "n" }, part.p === null ? "–" : percent(part.p))] : null,
        h("td", { class: "n" }, part.value.toFixed(2), part.mean === undefined ? null : ` − ${part.mean.toFixed(2)}`),
        h("td", { class: "n" }, part.weight.toFixed(3)),
        h("td", { class: "n" }, part.adds.toFixed(3))))))));
  }

  /** @type {(item: PairItem) => Child} */
  pair(item) {
    const names = this.state.run.names;
    const { a, b } = item;
    const alike = sameResponses(item);
    const responses = (/** @type {ComparisonItem} */ one) => one.responses.map((r, n) => this.text("Response " + "AB"[n], r,
      { notes: [(one.probability >= 0.5) === (n === 0) ? "chosen" : "not chosen"] }));
    const panel = (/** @type {TraceItem | ComparisonItem} */ one, /** @type {string} */ name) => h("div", { class: "column" }, h("h2", {}, textNodes(name)),
      one.flags.length ? h("p", { class: "flags" }, one.flags.map((f) => h("span", { class: "flag" }, `${f} ${this.state.run.flag(f).name}`))) : null,
      one.kind === "trace" ? [
        this.text("First response", one.response, { tone: "response" }),
        one.rounds.map((r, n) => h("section", { class: "round" },
          h("h3", {}, `Round ${n + 1} · ${this.state.run.title(r.principle, this.first)}`),
          r.critique ? this.text("Critique", r.critique, { tone: r.found ? "critique" : "critique clean" }) : null,
          r.revision ? this.text("Revision", r.revision) : h("p", { class: "same" }, "No revision: the text is unchanged.")))]
        : [alike ? null : responses(one), this.judgements(one)]);
    const column = (/** @type {"a" | "b"} */ which) => {
      this.first = which === "a"; // its principles as they were in it
      const node = panel(item[which], names[which === "a" ? 0 : 1]);
      this.first = false;
      return node;
    };
    return [
      this.prompt(a),
      a.kind === "trace" && b.kind === "trace" ? h("section", {}, h("h2", {}, "The final responses"),
        lastText(a).text === lastText(b).text ? h("p", { class: "same" }, "The same text in both runs.")
          : this.change(names[1], lastText(a).text, lastText(b))) : null,
      alike && a.kind === "comparison" ? [h("p", { class: "same" }, "The same two responses in both runs."),
        h("div", { class: "sides" }, a.responses.map((r, n) => h("div", {}, this.text("Response " + "AB"[n], r))))] : null,
      h("div", { class: "columns" }, column("a"), column("b")),
    ];
  }

  // -- the verdict --------------------------------------------------------------------------------

  /** Once all of my items are judged: the next step. @type {() => Child} */
  onward() {
    const { run } = this.state;
    if (this.verdicts.todo().length || !this.verdicts.part().length) return null;
    const signs = run.run.kind === "build";
    return h("p", { class: "sign" }, h("b", {}, "You have judged everything"), run.sample ? " of your part. " : ". ",
      this.verdicts.signature ? "The run is signed off. " : h("button", { type: "button", class: "primary", "data-act": "onward",
        onclick: () => (signs ? actions.sign() : this.state.set({ view: "overview" })) }, signs ? "Done: now sign" : "See the overview"));
  }

  /**
   * Reasons to choose among, each with its key; one that is not in the list was chosen elsewhere.
   * @type {(item: AnyItem, mine?: VerdictRow, name?: string) => Child}
   */
  reasons(item, mine, name = "reasons") {
    const current = mine?.reasons || [];
    const choices = this.state.run.reasonsFor(item);
    return h("div", { class: name, role: "group", "aria-label": "Reasons" }, h("span", { class: "muted" }, "Reasons"),
      [...choices, ...current.filter((r) => !choices.includes(r))].map((reason, n) => h("button", {
        type: "button", class: "reason", "data-act": "reason " + reason, "aria-pressed": String(current.includes(reason)),
        onclick: () => actions.because(reason) }, n < 9 ? h("kbd", {}, String(n + 1)) : null, textNodes(reason))));
  }

  /** @type {(item: AnyItem) => HTMLElement} */
  bar(item) {
    const mine = this.verdicts.mine(item);
    const button = (/** @type {string} */ verdict, /** @type {string} */ key, /** @type {string} */ name) => h("button", {
      type: "button", class: "verdict " + verdict, "data-act": verdict,
      "aria-pressed": String(mine?.verdict === verdict), "aria-describedby": "meaning", onclick: () => actions.judge(verdict),
    }, name, h("kbd", {}, key));
    return h("footer", { class: "bar-verdict" },
      this.verdicts.others(item).map((r) => h("p", { class: "said" },
        h("b", {}, textNodes(r.author)), ` ${SAYS[r.verdict]} ${r.flagged ? "⚑" : ""} `, why(r) ? h("q", {}, textNodes(why(r))) : null)),
      mine?.reason ? h("p", { class: "said" }, h("b", {}, "you"), " ", h("q", {}, textNodes(mine.reason))) : null,
      this.onward(),
      h("p", { class: "meaning", id: "meaning" }, meaning(item)),
      this.reasons(item, mine),
      h("div", { class: "buttons" },
        button("accept", "a", "Accept"), button("reject", "x", "Reject"), button("unsure", "u", "Unsure"),
        h("button", { type: "button", "data-act": "flag", "aria-pressed": String(!!mine?.flagged), onclick: () => actions.flag() }, "Flag", h("kbd", {}, "f")),
        h("button", { type: "button", "data-act": "comment", onclick: () => actions.comment() }, "Reason", h("kbd", {}, "c")),
        h("button", { type: "button", "data-act": "undo", onclick: () => actions.undo() }, "Undo", h("kbd", {}, "z")),
        h("span", { class: "grow" }),
        h("button", { type: "button", "data-act": "previous", onclick: () => this.state.step(-1), title: "previous (k)" }, "‹", h("span", { class: "hidden" }, "Previous")),
        h("button", { type: "button", "data-act": "next", onclick: () => this.state.step(1), title: "next (j)" }, "›", h("span", { class: "hidden" }, "Next"))));
  }
}

/** Whether a comparison has the same two responses in both runs. @type {(item: PairItem) => boolean} */
const sameResponses = ({ a, b }) => a.kind === "comparison" && b.kind === "comparison" &&
  a.responses.every((r, n) => r.text === b.responses[n].text);

/** The final response of a trace. @type {(item: TraceItem) => GeneratedText} */
const lastText = (item) => item.rounds.findLast((r) => r.revision)?.revision || item.response;

/** What accepting and rejecting an item means: of a response, of a label. @type {(item: AnyItem) => Child[]} */
function meaning(item) {
  const b = (/** @type {string} */ text) => h("b", {}, text);
  if (item.kind === "comparison") {
    const label = isTie(item) ? "neither response is clearly better"
      : `response ${item.probability >= 0.5 ? "A" : "B"} is the better one`;
    return [b("Accept"), `: the label is right, ${label}. `, b("Reject"), ": it is wrong; the pair is left out of training."];
  }
  if (item.kind === "answer") {
    if (item.task === "text") return [b("Accept"), ": the text is fit to measure by. ", b("Reject"), ": it is not."];
    return item.choices.length ? [b("Accept"), ": the model should answer so. ", b("Reject"), ": it should not."]
      : [b("Accept"), ": the reply is one that the model should give. ", b("Reject"), ": it should not."];
  }
  if (item.kind === "rollout") {
    return [b("Accept"), ": the response is one that the model should give. ", b("Reject"), ": it should not."];
  }
  const text = item.kind === "trace" && item.explained ? "document" : "final response";
  return [b("Accept"), `: the ${text} may be trained on. `, b("Reject"), ": it must not be; its rows are left out of training."];
}

/**
 * Differences as they are; where little stayed between what both begin and end with, that middle whole.
 * @type {(pieces: Piece[]) => Piece[]}
 */
function simplify(pieces) {
  const changed = pieces.map(([kind], n) => (kind === "=" ? -1 : n)).filter((n) => n >= 0);
  const end = (changed.at(-1) ?? -1) + 1;
  const middle = pieces.slice(changed[0], end);
  const size = (/** @type {string[]} */ ...kinds) => middle.filter(([kind]) => kinds.includes(kind)).reduce((n, [, text]) => n + words(text), 0);
  if (size("-") < 6 || size("+") < 6 || size("=") >= 0.25 * size("=", "-", "+")) return pieces;
  /** @type {(kind: Piece[0]) => Piece} */
  const whole = (kind) => [kind, middle.filter(([k]) => k === kind || k === "=").map(([, text]) => text).join("")];
  return [...pieces.slice(0, changed[0]), whole("-"), whole("+"), ...pieces.slice(end)];
}

/** @type {Record<string, string>} */
const OUTCOMES = {
  problem: "found a problem", "no-problem": "found nothing", refused: "no verdict: refused",
  contradictory: "no verdict: contradicts itself", empty: "no verdict: empty",
};
/** @type {(mass: number) => string} */
const massOf = (mass) => mass >= 0.001 || mass === 0 ? percent(mass) : "under 0.1 %";
const SAYS = { accept: "accepts", reject: "rejects", unsure: "is unsure", none: "" };
/** @type {(name: string, value: string | number) => HTMLElement} */
const pairOf = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)));

/** A share as a bar. @type {(p: number, tone: string) => SVGElement} */
function meter(p, tone) {
  return svg("svg", { class: "meter " + tone, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "rail", width: 100, height: 6, rx: 3 }), svg("rect", { class: "fill", width: 100 * p, height: 6, rx: 3 }));
}

/**
 * A probability on a line, or those of both orders.
 * @type {(p: number, swapped: number | null, flipped: boolean, label?: string) => SVGElement}
 */
function strip(p, swapped, flipped, label = `A first ${p.toFixed(2)}` + (swapped === null ? "" : `, A second ${swapped.toFixed(2)}`)) {
  const at = (/** @type {number} */ v) => 4 + 152 * v;
  return svg("svg", { class: "strip" + (flipped ? " flipped" : ""), viewBox: "0 0 160 16", role: "img",
    "aria-label": label },
  svg("line", { class: "rail", x1: 4, x2: 156, y1: 8, y2: 8 }), svg("line", { class: "half", x1: 80, x2: 80, y1: 2, y2: 14 }),
  swapped === null ? null : svg("line", { class: "link", x1: at(p), x2: at(swapped), y1: 8, y2: 8 }),
  swapped === null ? null : svg("circle", { class: "ring", cx: at(swapped), cy: 8, r: 4 }),
  svg("circle", { class: "dot", cx: at(p), cy: 8, r: 4 }));
}
