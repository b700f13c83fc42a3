// The run as it came with the page, and what is derived from it once: texts, search index, facets.

const KINDS = { trace: "revision", comparison: "comparison", rollout: "rollout", answer: "answer", pair: "difference" };
/** What kind of item it is, in a word. @type {(item: AnyItem) => string} */
const kindOf = (item) => (item.kind === "trace" && item.explained ? "document" : KINDS[item.kind]);

/**
 * The payload: base64 of gzipped JSON in an inert block, so that no text in it is ever markup.
 * @type {() => Promise<Payload>}
 */
async function unpack() {
  const base64 = $("data").textContent;
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(base64)
    : Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  $("data").remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** A run's items with all that filters need. */
class Run {
  /** @param {Payload} payload */
  constructor(payload) {
    Object.assign(this, payload); // run, flags, principles, items, verdicts, sample, …
    this.items = payload.items;
    this.flagOf = new Map(payload.flags.map((f) => [f.code, f]));
    this.principleOf = new Map(payload.principles.map((p) => [p.id, p]));
    this.beforeOf = new Map((payload.before || []).map((p) => [p.id, p]));
    this.byKey = new Map();
    for (const item of this.items) {
      this.byKey.set(item.key, item);
      item.traits = traitsOf(item);
    }
    /** @type {Map<string, AnswerItem[]>} */
    this.answersOf = new Map(); // item of a suite → every model's answer
    addAnswerTraits(this);
    this.searchable = 0; // items that can be searched already; see `fold`
  }

  /**
   * Make items ready for search, all or some: idle time is used for it, so that opening is quick.
   * @type {(limit?: number) => boolean}
   */
  fold(limit = Infinity) {
    const end = Math.min(this.items.length, this.searchable + limit);
    for (; this.searchable < end; this.searchable++) {
      const item = this.items[this.searchable];
      item.text = fold([...textsOf(item), item.id, item.prompt_id, ...item.principles, ...item.flags].join("\n"));
    }
    return this.searchable === this.items.length;
  }

  /**
   * A principle as it was in the run that is shown: of two runs, the first has its own.
   * @type {(id: string, first?: boolean) => PrincipleValues | undefined}
   */
  principle(id, first = false) {
    return (first && this.beforeOf.get(id)) || this.principleOf.get(id);
  }

  /** @type {(id: string, first?: boolean) => string} */
  title(id, first = false) {
    return this.principle(id, first)?.title || id;
  }

  get rollouts() {
    return this.items.filter((item) => item.kind === "rollout");
  }

  get answers() {
    return this.items.filter((item) => item.kind === "answer");
  }

  get pairs() {
    return this.items.filter((item) => item.kind === "pair");
  }

  /** The reasons that fit an item's verdict. @type {(item: AnyItem) => string[]} */
  reasonsFor(item) {
    const kind = item.kind === "comparison" && isTie(item) ? "tie" : item.kind === "answer" && item.choices.some((c) => c.right) ? "choice" : item.kind;
    return item.kind === "answer" && item.task === "text" ? [] : this.reasons[kind] || [];
  }

  /** A flag by its code. @type {(code: string) => FlagMeaning} */
  flag(code) {
    return this.flagOf.get(code) || { code, name: "", meaning: "", weight: 0 };
  }

  /**
   * What a model call was given: the frame it shares with others, its own texts put back in.
   * @type {(item: RunItem, part: string) => string}
   */
  input(item, part) {
    const numbers = item.inputs?.[part];
    if (!numbers) return "";
    const [frame, ...texts] = numbers;
    const own = ownTexts(item);
    return this.input_frames[frame].replace(/\u0001(\d+)\u0001/g, (_, n) => own[texts[Number(n)]]);
  }
}

/** Every text of an item, for search. @type {(item: AnyItem) => string[]} */
function textsOf(item) {
  if (item.kind === "pair") return [...textsOf(item.a), ...textsOf(item.b)];
  if (item.kind === "answer") return [...ownTexts(item), ...item.choices.map((c) => c.text), item.type, item.traits.said[0]];
  return item.kind === "comparison" ? [...ownTexts(item), ...item.judgements.flatMap((j) => j.reasoning), ...(item.contrast?.asked || [])] : ownTexts(item);
}

/** The texts that frames refer to; the order is that of `cai.audit.page`. @type {(item: RunItem) => string[]} */
function ownTexts(item) {
  const out = item.prompt.map((m) => m.content);
  if (item.kind === "comparison") return [...out, ...item.responses.map((r) => r.text)];
  out.push(item.response.text);
  for (const r of item.kind === "trace" ? item.rounds : []) {
    if (r.critique) out.push(r.critique.text);
    if (r.revision) out.push(r.revision.text);
  }
  return out;
}

/**
 * The texts of a trace as they stood: the first response, then after each round.
 * @type {(item: TraceItem) => string[]}
 */
function stages(item) {
  const out = [item.response.text];
  for (const r of item.rounds) out.push(r.revision ? r.revision.text : out[out.length - 1]);
  return out;
}

/** @type {(text: string) => number} */
const words = (text) => text.split(/\s+/).filter(Boolean).length;

/** A preference that is no more than the toss of a coin, as `cai.data.counts.is_near_tie`. @type {(p: number) => boolean} */
const isNearTie = (p) => Math.abs(p - 0.5) < 0.05;

/** Whether the label favours neither response. @type {(item: ComparisonItem) => boolean} */
const isTie = (item) => !item.contrast && (!item.judgements.length || isNearTie(item.probability));

/** Facet → values of an item. @type {(item: AnyItem) => Record<string, string[]>} */
function traitsOf(item) {
  /** @type {Record<string, string[]>} */
  const traits = {
    kind: [kindOf(item)],
    principle: item.principles,
    flag: item.flags.length ? item.flags : ["none"],
    file: item.kind === "rollout" || item.kind === "answer" || item.kind === "pair" ? []
      : item.rows.length ? [...new Set(item.rows.map((r) => r[0]))] : ["left out"],
    found: [], length: [], label: [], change: [],
  };
  if (item.kind === "trace") {
    const rounds = item.rounds.flatMap((r, n) => (r.found && r.critique ? [`round ${n + 1}`] : []));
    traits.found = rounds.length ? rounds : ["nothing"];
    const texts = stages(item);
    traits.change = [texts[0] === texts.at(-1) ? "unchanged" : "changed"];
    const ratio = item.words[1] / Math.max(1, item.words[0]);
    traits.length = [ratio < 0.5 ? "under half" : ratio < 0.9 ? "shorter"
      : ratio <= 1.1 ? "about the same" : ratio <= 2 ? "longer" : "over double"];
  } else if (item.kind === "comparison") {
    const sure = Math.abs(item.probability - 0.5);
    traits.label = [item.contrast ? "by construction" : sure < 0.05 ? "near tie" : sure < 0.25 ? "leaning" : sure < 0.4 ? "clear" : "sure"];
  } else if (item.kind === "rollout") {
    traits.label = [`updates ${item.update - ((item.update - 1) % 5)}–${item.update - ((item.update - 1) % 5) + 4}`];
  } else if (item.kind === "pair") {
    traits.kind = [kindOf(item.a)];
    traits.change = [item.same ? "same in both" : "differs"];
    if (item.a.kind === "comparison" && item.b.kind === "comparison") {
      traits.label = [(item.a.probability > 0.5) === (item.b.probability > 0.5) ? "the same side is better" : "the other side is better"];
    }
  }
  return traits;
}
