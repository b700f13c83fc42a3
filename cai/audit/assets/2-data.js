// The run as it came with the page, and what is derived from it once: texts, search index, facets.

const KINDS = { trace: "revision", comparison: "comparison", rollout: "rollout", pair: "difference" };

/** The payload: base64 of gzipped JSON in an inert block, so that no text in it is ever markup. */
async function unpack() {
  const packed = $("data").textContent;
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(packed)
    : Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  $("data").remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** A run's items with all that filters need. */
class Run {
  constructor(payload) {
    Object.assign(this, payload); // run, flags, principles, items, given, verdicts, sample, …
    this.flagOf = new Map(payload.flags.map((f) => [f.code, f]));
    this.principleOf = new Map(payload.principles.map((p) => [p.id, p]));
    this.beforeOf = new Map((payload.before || []).map((p) => [p.id, p]));
    this.byKey = new Map();
    for (const item of this.items) {
      this.byKey.set(item.key, item);
      item.traits = traitsOf(item);
    }
    this.folded = 0; // items that can be searched already; see `fold`
  }

  /** Make items ready for search, all or some: idle time is used for it, so that opening is quick. */
  fold(most = Infinity) {
    const end = Math.min(this.items.length, this.folded + most);
    for (; this.folded < end; this.folded++) {
      const item = this.items[this.folded];
      item.low = fold([...textsOf(item), item.id, item.prompt_id, ...item.principles, ...item.flags].join("\n"));
    }
    return this.folded === this.items.length;
  }

  /** A principle as it was in the run that is shown: of two runs, the first has its own. */
  principle(id, first = false) {
    return (first && this.beforeOf.get(id)) || this.principleOf.get(id);
  }

  title(id, first = false) {
    return this.principle(id, first)?.title || id;
  }

  /** What a model call was given: the frame it shares with others, its own texts put back in. */
  given(item, part) {
    const packed = item.given?.[part];
    if (!packed) return null;
    const [frame, ...texts] = packed;
    const own = givenTexts(item);
    return this.given_frames[frame].replace(/\u0001(\d+)\u0001/g, (_, n) => own[texts[n]]);
  }
}

/** Every text of an item, for search. */
function textsOf(item) {
  if (item.kind === "pair") return [...textsOf(item.a), ...textsOf(item.b)];
  return [...givenTexts(item), ...(item.judgements || []).flatMap((j) => j.reasoning)];
}

/** The texts that frames refer to; the order is that of `cai.audit.page`. */
function givenTexts(item) {
  const out = item.prompt.map((m) => m.content);
  if (item.kind === "comparison") return [...out, ...item.responses.map((r) => r.text)];
  out.push(item.response.text);
  for (const r of item.rounds || []) {
    if (r.critique) out.push(r.critique.text);
    if (r.revision) out.push(r.revision.text);
  }
  return out;
}

/** The texts of a trace as they stood: the first response, then after each round. */
function stages(item) {
  const out = [item.response.text];
  for (const r of item.rounds) out.push(r.revision ? r.revision.text : out.at(-1));
  return out;
}

const words = (text) => text.split(/\s+/).filter(Boolean).length;

/** Facet → values of an item. */
function traitsOf(item) {
  const traits = {
    kind: [KINDS[item.kind]],
    principle: item.principles,
    flag: item.flags.length ? item.flags : ["none"],
    file: item.rows?.length ? [...new Set(item.rows.map((r) => r[0]))]
      : item.kind === "rollout" || item.kind === "pair" ? [] : ["left out"],
    found: [], length: [], label: [], change: [],
  };
  if (item.kind === "trace") {
    const found = item.rounds.flatMap((r, n) => (r.found && r.critique ? [`round ${n + 1}`] : []));
    traits.found = found.length ? found : ["nothing"];
    const texts = stages(item);
    traits.change = [texts[0] === texts.at(-1) ? "unchanged" : "changed"];
    const ratio = item.words[1] / Math.max(1, item.words[0]);
    traits.length = [ratio < 0.5 ? "under half" : ratio < 0.9 ? "shorter"
      : ratio <= 1.1 ? "about the same" : ratio <= 2 ? "longer" : "over double"];
  } else if (item.kind === "comparison") {
    const sure = Math.abs(item.probability - 0.5);
    traits.label = [sure < 0.05 ? "near tie" : sure < 0.25 ? "leaning" : sure < 0.4 ? "clear" : "sure"];
  } else if (item.kind === "rollout") {
    traits.label = [`updates ${item.update - ((item.update - 1) % 5)}–${item.update - ((item.update - 1) % 5) + 4}`];
  } else if (item.kind === "pair") {
    traits.kind = [KINDS[item.a.kind]];
    traits.change = [item.same ? "same in both" : "differs"];
    if (item.a.kind === "comparison") {
      traits.label = [(item.a.probability > 0.5) === (item.b.probability > 0.5) ? "the same side is better" : "the other side is better"];
    }
  }
  return traits;
}
