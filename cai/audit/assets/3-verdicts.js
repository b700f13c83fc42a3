// Verdicts: an append-only list of rows, as `audit/verdicts.jsonl` has them. In the offline page they
// are kept by the browser and exported; beside `cai audit serve` each is sent at once.

/** @type {(keyof VerdictRow)[]} */
const FIELDS = ["item", "record", "run", "verdict", "author", "at", "flagged", "reason", "reasons"];
/** @type {(row: VerdictRow) => string} */
const nameOf = (row) => JSON.stringify(FIELDS.map((f) => row[f] ?? [])); // earlier rows have no reasons

/** All reasons of a verdict as one text. @type {(row: VerdictRow) => string} */
const why = (row) => [...(row.reasons || []), row.reason].filter(Boolean).join("; ");

class Verdicts extends EventTarget {
  /** @param {Run} run */
  constructor(run) {
    super();
    this.run = run;
    this.place = "cai-audit:" + run.run.id;
    /** @type {VerdictRow[]} */
    this.rows = [];
    this.names = new Set(); // of all rows, see `nameOf`
    /** @type {Map<string, Map<string, VerdictRow>>} */
    this.latest = new Map(); // item → author → row
    /** @type {[AnyItem, VerdictRow | undefined][]} */
    this.undoSteps = []; // what `undo` goes back to
    /** @type {VerdictRow[]} */
    this.unsent = []; // not yet on the server's disk
    /** @type {Record<string, unknown>} */
    this.memory = {}; // where the browser stores nothing
    this.lastTime = 0; // of my rows, in milliseconds
    this.sending = false;
    this.after = run.verdicts.length; // rows that the server has sent
    this.readKeys = new Set(this.recall("seen") || []);
    this.add(run.verdicts);
    this.countAtStart = this.rows.length; // a file may say the same thing twice
    this.signature = run.signature; // who signed the run off: true until the next verdict
    if (run.mode === "report") this.add(this.recall("rows") || []);
    if (run.mode === "serve") {
      this.unsent = this.add(this.recall("waiting") || []); // what another visit could not send
      this.keep(() => this.unsent); // the rest came with the page: it is on disk
    }
    addEventListener("storage", (event) => { // in another tab
      if (event.key === "cai-audit:author") {
        this.undoSteps = [];
        this.trouble(`You are ${this.author} now, in every tab of this browser.`);
        this.changed();
      }
      if (run.mode === "report" && event.key === this.place + ":rows" && this.add(this.recall("rows") || []).length) this.changed();
    });
  }

  // -- what stands --------------------------------------------------------------------------------

  /** @returns {string} */
  get author() {
    return this.recall("author", "cai-audit") || "";
  }

  set author(name) {
    if (name !== this.author) this.undoSteps = []; // nobody undoes what another did
    this.remember("author", name, "cai-audit");
    this.changed();
  }

  /**
   * The items that are mine to judge: of the sample those drawn for me, else all of it; else all.
   * @type {() => AnyItem[]}
   */
  part() {
    const { sample, items } = this.run;
    if (!sample) return items;
    const own = items.filter((item) => sample.items[item.key]?.includes(this.author));
    return own.length ? own : items.filter((item) => sample.items[item.key]);
  }

  /** Those of them that I have not decided on. @type {() => AnyItem[]} */
  todo() {
    return this.part().filter((item) => (this.mine(item)?.verdict || "none") === "none");
  }

  /** My latest row on an item. @type {(item: AnyItem) => VerdictRow | undefined} */
  mine(item) {
    return this.latest.get(item.key)?.get(this.author);
  }

  /** The latest rows of everybody else. @type {(item: AnyItem) => VerdictRow[]} */
  others(item) {
    return [...(this.latest.get(item.key)?.values() || [])]
      .filter((r) => r.author !== this.author && (r.verdict !== "none" || r.flagged || why(r)));
  }

  /**
   * The verdicts that stand on an item, of all auditors: accept, reject or unsure of each.
   * @type {(item: AnyItem) => Decision[]}
   */
  decisions(item) {
    return [...(this.latest.get(item.key)?.values() || [])].map((r) => r.verdict).filter((v) => v !== "none");
  }

  /** How far the whole audit has come, an item by its gravest verdict; see `cai.audit.sign.review`. */
  review() {
    const { sample, items } = this.run;
    const sampleItems = sample ? items.filter((item) => sample.items[item.key]) : items;
    const out = { of: sampleItems.length, done: 0, accept: 0, reject: 0, unsure: 0, missing: /** @type {Map<string, number>} */ (new Map()) };
    for (const item of sampleItems) {
      const decisions = this.decisions(item);
      const worst = /** @type {const} */ (["reject", "unsure", "accept"]).find((v) => decisions.includes(v));
      if (worst) {
        out.done++;
        out[worst]++;
      }
      for (const name of sample?.items[item.key] || []) {
        const own = this.latest.get(item.key)?.get(name);
        if (!own || own.verdict === "none") out.missing.set(name, (out.missing.get(name) || 0) + 1);
      }
    }
    return out;
  }

  /** How many items each reason was given for: reason → count. @type {() => Map<string, number>} */
  reasons() {
    const out = new Map();
    for (const item of this.run.items) {
      for (const reason of new Set(this.reasonsOf(item))) out.set(reason, (out.get(reason) || 0) + 1);
    }
    return out;
  }

  /** Every reason that somebody chose for an item. @type {(item: AnyItem) => string[]} */
  reasonsOf(item) {
    return [...(this.latest.get(item.key)?.values() || [])].flatMap((r) => r.reasons || []);
  }

  /** How many items each author has decided on: author → count. @type {() => Map<string, number>} */
  counts() {
    const out = new Map();
    for (const item of this.run.items) {
      for (const row of this.latest.get(item.key)?.values() || []) {
        if (row.verdict !== "none") out.set(row.author, (out.get(row.author) || 0) + 1);
      }
    }
    return out;
  }

  // -- changing -----------------------------------------------------------------------------------

  /**
   * Change my verdict on an item: what `changes` leaves out stays as it was.
   * @type {(item: AnyItem, changes: VerdictChanges, undoing?: boolean) => void}
   */
  change(item, changes, undoing = false) {
    const before = this.mine(item);
    const row = {
      item: item.key, record: item.id, run: this.run.run.id,
      verdict: before?.verdict || "none", author: this.author, at: this.now(),
      flagged: before?.flagged || false, reason: before?.reason || "", reasons: before?.reasons || [], ...changes,
    };
    if (!undoing) this.undoSteps.push([item, before]);
    this.add([row]);
    if (this.run.mode === "serve") this.queue([row]);
    else this.store();
    this.changed();
  }

  /** Keep what did not come with the page; other tabs and pages of the run keep theirs beside it. */
  store() {
    this.add(this.recall("rows") || []);
    this.remember("rows", this.own());
  }

  /** Undo my last change by restoring what was there before. Returns its item. @type {() => AnyItem | null} */
  undo() {
    const last = this.undoSteps.pop();
    if (!last) return null;
    const [item, before] = last;
    this.change(item, { verdict: before?.verdict || "none", flagged: before?.flagged || false,
      reason: before?.reason || "", reasons: before?.reasons || [] }, true);
    return item;
  }

  /** Now; later than any row of mine, so that their order is never in doubt. @type {() => string} */
  now() {
    const time = Math.max(Date.now(), this.lastTime + 1);
    this.lastTime = time;
    return new Date(time).toISOString();
  }

  /** @type {(item: AnyItem) => void} */
  markRead(item) {
    if (this.readKeys.has(item.key)) return;
    this.readKeys.add(item.key);
    clearTimeout(this.saving); // thousands of keys: not at every step
    this.saving = setTimeout(() => this.remember("seen", [...this.readKeys]), 400);
  }

  // -- keeping ------------------------------------------------------------------------------------

  /** Take rows in, each once. Returns those that were new. @type {(rows: VerdictRow[]) => VerdictRow[]} */
  add(rows) {
    const fresh = [];
    for (const row of rows) {
      const name = nameOf(row);
      if (this.names.has(name)) continue;
      this.names.add(name);
      this.rows.push(row);
      fresh.push(row);
      this.signature = null;
      const byAuthor = this.latest.get(row.item) || new Map();
      const before = byAuthor.get(row.author);
      if (!before || Date.parse(before.at) <= Date.parse(row.at)) byAuthor.set(row.author, row);
      this.latest.set(row.item, byAuthor);
      this.lastTime = Math.max(this.lastTime, Math.min(Date.parse(row.at), Date.now()));
    }
    return fresh;
  }

  /** Rows that did not come with the page. @type {() => VerdictRow[]} */
  own() {
    return this.rows.slice(this.countAtStart);
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** @type {(name: string, place?: string) => any} */
  recall(name, place = this.place) {
    try {
      return JSON.parse(localStorage.getItem(`${place}:${name}`) ?? "null");
    } catch {
      return this.memory[`${place}:${name}`];
    }
  }

  /** @type {(name: string, value: unknown, place?: string) => void} */
  remember(name, value, place = this.place) {
    try {
      localStorage.setItem(`${place}:${name}`, JSON.stringify(value));
    } catch {
      this.memory[`${place}:${name}`] = value;
      this.trouble("This browser keeps nothing for the page: export your verdicts before you close it.");
    }
  }

  /** @type {(text: string) => void} */
  trouble(text) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: text }));
  }

  // -- files --------------------------------------------------------------------------------------

  /** All rows as JSONL. @type {() => string} */
  text() {
    return this.rows.map((r) => JSON.stringify(Object.fromEntries(FIELDS.map((f) => [f, r[f]]))) + "\n").join("");
  }

  /**
   * Read rows that somebody exported. Throws an Error that names the line.
   * @type {(text: string) => [number, number, number]}
   */
  read(text) {
    /** @type {VerdictRow[]} */
    const rows = [];
    text.split("\n").forEach((raw, n) => {
      if (!raw.trim()) return;
      let row;
      try {
        row = JSON.parse(raw);
      } catch {
        throw new Error(`line ${n + 1} is not JSON`);
      }
      const whole = row && typeof row === "object" && ["item", "record", "run", "author", "at"]
        .every((f) => typeof row[f] === "string" && row[f]);
      if (!whole || !["accept", "reject", "unsure", "none"].includes(row.verdict) ||
          Number.isNaN(Date.parse(row.at))) {
        throw new Error(`line ${n + 1} is no verdict`);
      }
      if (!/(Z|[+-]\d\d:\d\d)$/.test(row.at)) throw new Error(`line ${n + 1}: its time names no time zone`);
      if (Date.parse(row.at) > Date.now() + 3_600_000) throw new Error(`line ${n + 1}: its time lies in the future`);
      const { item, record, run, verdict, author, at } = row;
      rows.push({ item, record, run, verdict, author, at, flagged: row.flagged === true,
        reason: String(row.reason ?? ""), reasons: Array.isArray(row.reasons) ? row.reasons.map(String) : [] });
    });
    const here = rows.filter((r) => this.run.byKey.get(r.item)?.id === r.record);
    const fresh = this.add(here);
    if (this.run.mode === "serve") this.queue(fresh);
    else this.store();
    this.changed();
    return [rows.length, fresh.length, rows.length - here.length];
  }

  // -- the server ---------------------------------------------------------------------------------

  /**
   * Let rows wait until they are on disk: here, and in the browser, whatever other tabs keep there.
   * @type {(rows: VerdictRow[]) => void}
   */
  queue(rows) {
    this.unsent.push(...rows);
    this.keep((stored) => [...stored, ...rows]);
    this.send();
  }

  /**
   * Change what the browser keeps of rows that wait, of all tabs.
   * @type {(change: (stored: VerdictRow[]) => VerdictRow[]) => void}
   */
  keep(change) {
    this.remember("waiting", change(this.recall("waiting") || []));
  }

  /** Send what waits; try again until it is on disk. */
  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.unsent.length) {
      const rows = this.unsent.slice(0, 500);
      const answer = await this.ask("POST", rows);
      if (answer === null) {
        this.trouble(`Not saved yet: ${plural(this.unsent.length, "verdict")}. The server does not answer. ` +
          "They are kept in this browser and sent when it is back.");
        await new Promise((done) => setTimeout(done, 2000));
        continue;
      }
      const refused = answer.error ? rows.map((_, n) => [n, answer.error]) : answer.refused || [];
      this.unsent.splice(0, rows.length);
      const names = new Set(rows.map(nameOf));
      this.keep((stored) => stored.filter((row) => !names.has(nameOf(row))));
      this.trouble(refused.length ? `${refused.length} of ${rows.length} verdicts were refused and are not on disk: ${refused[0][1]}` : "");
    }
    this.sending = false;
    this.changed();
  }

  /** New rows of other people. */
  async poll() {
    const answer = await this.ask("GET");
    if (answer?.rows && this.add(answer.rows).length) this.changed();
    if (answer?.next !== undefined) this.after = answer.next;
  }

  /**
   * Sign the run off; the server's answer, with `error` where it can't be signed as it is.
   * @type {(values: Record<string, string | number>) => Promise<ServerAnswer>}
   */
  async sign(values) {
    try {
      const answer = await fetch("sign", { method: "POST", body: JSON.stringify(values), headers: { "Content-Type": "application/json" } });
      const result = await answer.json();
      if (answer.ok) {
        this.signature = result;
        this.changed();
      }
      return result;
    } catch {
      return { error: "the server does not answer" };
    }
  }

  /** @type {(method: string, rows?: VerdictRow[]) => Promise<ServerAnswer | null>} */
  async ask(method, rows) {
    try {
      const answer = await fetch(`verdicts?after=${this.after}`, {
        method, body: rows && JSON.stringify(rows), headers: { "Content-Type": "application/json" },
      });
      if (answer.status >= 500) return null;
      return await answer.json();
    } catch {
      return null;
    }
  }
}
