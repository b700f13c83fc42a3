// Verdicts: an append-only list of rows, as `audit/verdicts.jsonl` has them. In the offline page they
// are kept by the browser and exported; beside `cai audit serve` each is sent at once.

const FIELDS = ["item", "record", "run", "verdict", "author", "at", "flagged", "reason", "reasons"];
const nameOf = (row) => JSON.stringify(FIELDS.map((f) => row[f] ?? [])); // earlier rows have no reasons

/** All reasons of a verdict as one text. */
const why = (row) => [...(row.reasons || []), row.reason].filter(Boolean).join("; ");

class Verdicts extends EventTarget {
  constructor(run) {
    super();
    this.run = run;
    this.place = "cai-audit:" + run.run.id;
    this.rows = [];
    this.known = new Set();
    this.latest = new Map(); // item → author → row
    this.undone = []; // what `undo` goes back to
    this.waiting = []; // not yet on the server's disk
    this.seen = new Set(this.recall("seen") || []);
    this.add(run.verdicts || []);
    this.given = this.rows.length; // a file may say the same thing twice
    this.signed = run.signed; // who signed the run off: true until the next verdict
    if (run.mode === "report") this.add(this.recall("rows") || []);
    if (run.mode === "serve") {
      this.waiting = this.add(this.recall("waiting") || []); // what another visit could not send
      this.keep(() => this.waiting); // the rest came with the page: it is on disk
    }
    addEventListener("storage", (event) => { // in another tab
      if (event.key === "cai-audit:author") {
        this.undone = [];
        this.trouble(`You are ${this.author} now, in every tab of this browser.`);
        this.tell();
      }
      if (run.mode === "report" && event.key === this.place + ":rows" && this.add(this.recall("rows") || []).length) this.tell();
    });
  }

  // -- what stands --------------------------------------------------------------------------------

  get author() {
    return this.recall("author", "cai-audit") || "";
  }

  set author(name) {
    if (name !== this.author) this.undone = []; // nobody takes back what another said
    this.remember("author", name, "cai-audit");
    this.tell();
  }

  /** The items that are mine to judge: of the sample those drawn for me, else all of it; else all. */
  part() {
    const { sample, items } = this.run;
    if (!sample) return items;
    const own = items.filter((item) => sample.items[item.key]?.includes(this.author));
    return own.length ? own : items.filter((item) => sample.items[item.key]);
  }

  /** Those of them that I have not decided on. */
  left() {
    return this.part().filter((item) => (this.mine(item)?.verdict || "none") === "none");
  }

  /** My last word on an item. */
  mine(item) {
    return this.latest.get(item.key)?.get(this.author);
  }

  /** The last word of everybody else. */
  others(item) {
    return [...(this.latest.get(item.key)?.values() || [])]
      .filter((r) => r.author !== this.author && (r.verdict !== "none" || r.flagged || why(r)));
  }

  /** The verdicts that stand on an item, of all auditors: accept, reject or unsure of each. */
  decisions(item) {
    return [...(this.latest.get(item.key)?.values() || [])].map((r) => r.verdict).filter((v) => v !== "none");
  }

  /** How far the whole audit has come, an item by its gravest verdict; see `cai.audit.sign.review`. */
  review() {
    const { sample, items } = this.run;
    const wanted = sample ? items.filter((item) => sample.items[item.key]) : items;
    const out = { of: wanted.length, done: 0, accept: 0, reject: 0, unsure: 0, missing: new Map() };
    for (const item of wanted) {
      const said = this.decisions(item);
      const worst = ["reject", "unsure", "accept"].find((v) => said.includes(v));
      if (worst) out.done++, out[worst]++;
      for (const name of sample?.items[item.key] || []) {
        const own = this.latest.get(item.key)?.get(name);
        if (!own || own.verdict === "none") out.missing.set(name, (out.missing.get(name) || 0) + 1);
      }
    }
    return out;
  }

  /** How many items each reason was given for: reason → count. */
  reasons() {
    const out = new Map();
    for (const item of this.run.items) {
      for (const reason of new Set(this.chosen(item))) out.set(reason, (out.get(reason) || 0) + 1);
    }
    return out;
  }

  /** Every reason that somebody chose for an item. */
  chosen(item) {
    return [...(this.latest.get(item.key)?.values() || [])].flatMap((r) => r.reasons || []);
  }

  /** How many items each author has decided on: author → count. */
  counts() {
    const out = new Map();
    for (const item of this.run.items) {
      for (const row of this.latest.get(item.key)?.values() || []) {
        if (row.verdict !== "none") out.set(row.author, (out.get(row.author) || 0) + 1);
      }
    }
    return out;
  }

  // -- saying -------------------------------------------------------------------------------------

  /** Say something on an item: changes to what I said before. */
  say(item, changes, undoing = false) {
    const before = this.mine(item);
    const row = {
      item: item.key, record: item.id, run: this.run.run.id,
      verdict: before?.verdict || "none", author: this.author, at: this.now(),
      flagged: before?.flagged || false, reason: before?.reason || "", reasons: before?.reasons || [], ...changes,
    };
    if (!undoing) this.undone.push([item, before]);
    this.add([row]);
    if (this.run.mode === "serve") this.queue([row]);
    else this.store();
    this.tell();
  }

  /** Keep what did not come with the page; other tabs and pages of the run keep theirs beside it. */
  store() {
    this.add(this.recall("rows") || []);
    this.remember("rows", this.own());
  }

  /** Take the last step back, by saying again what was said before. Returns its item. */
  undo() {
    const last = this.undone.pop();
    if (!last) return null;
    const [item, before] = last;
    this.say(item, { verdict: before?.verdict || "none", flagged: before?.flagged || false,
      reason: before?.reason || "", reasons: before?.reasons || [] }, true);
    return item;
  }

  /** Now; later than anything I said, so that the order of my words is never in doubt. */
  now() {
    const time = Math.max(Date.now(), (this.last || 0) + 1);
    this.last = time;
    return new Date(time).toISOString();
  }

  see(item) {
    if (this.seen.has(item.key)) return;
    this.seen.add(item.key);
    clearTimeout(this.saving); // thousands of keys: not at every step
    this.saving = setTimeout(() => this.remember("seen", [...this.seen]), 400);
  }

  // -- keeping ------------------------------------------------------------------------------------

  /** Take rows in, each once. Returns those that were new. */
  add(rows) {
    const fresh = [];
    for (const row of rows) {
      const name = nameOf(row);
      if (this.known.has(name)) continue;
      this.known.add(name);
      this.rows.push(row);
      fresh.push(row);
      this.signed = null;
      const said = this.latest.get(row.item) || new Map();
      const before = said.get(row.author);
      if (!before || Date.parse(before.at) <= Date.parse(row.at)) said.set(row.author, row);
      this.latest.set(row.item, said);
      this.last = Math.max(this.last || 0, Math.min(Date.parse(row.at), Date.now()));
    }
    return fresh;
  }

  /** Rows that did not come with the page. */
  own() {
    return this.rows.slice(this.given);
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  recall(name, place = this.place) {
    try {
      return JSON.parse(localStorage.getItem(`${place}:${name}`));
    } catch {
      return this.memory?.[`${place}:${name}`];
    }
  }

  remember(name, value, place = this.place) {
    try {
      localStorage.setItem(`${place}:${name}`, JSON.stringify(value));
    } catch {
      (this.memory ||= {})[`${place}:${name}`] = value;
      this.trouble("This browser keeps nothing for the page: export your verdicts before you close it.");
    }
  }

  trouble(text) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: text }));
  }

  // -- files --------------------------------------------------------------------------------------

  /** All rows as JSONL. */
  text() {
    return this.rows.map((r) => JSON.stringify(Object.fromEntries(FIELDS.map((f) => [f, r[f]]))) + "\n").join("");
  }

  /** Read rows that somebody exported. Throws an Error that names the line. */
  read(text) {
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
      const clean = Object.fromEntries(FIELDS.map((f) => [f, row[f]]));
      clean.flagged = row.flagged === true;
      clean.reason = String(row.reason ?? "");
      clean.reasons = Array.isArray(row.reasons) ? row.reasons.map(String) : [];
      rows.push(clean);
    });
    const here = rows.filter((r) => this.run.byKey.get(r.item)?.id === r.record);
    const fresh = this.add(here);
    if (this.run.mode === "serve") this.queue(fresh);
    else this.store();
    this.tell();
    return [rows.length, fresh.length, rows.length - here.length];
  }

  // -- the server ---------------------------------------------------------------------------------

  /** Let rows wait until they are on disk: here, and in the browser, whatever other tabs keep there. */
  queue(rows) {
    this.waiting.push(...rows);
    this.keep((kept) => [...kept, ...rows]);
    this.send();
  }

  /** Change what the browser keeps of rows that wait, of all tabs. */
  keep(change) {
    this.remember("waiting", change(this.recall("waiting") || []));
  }

  /** Send what waits; try again until it is on disk. */
  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const rows = this.waiting.slice(0, 500);
      const answer = await this.ask("POST", rows);
      if (answer === null) {
        this.trouble(`Not saved yet: ${plural(this.waiting.length, "verdict")}. The server does not answer. ` +
          "They are kept in this browser and sent when it is back.");
        await new Promise((done) => setTimeout(done, 2000));
        continue;
      }
      const refused = answer.error ? rows.map((_, n) => [n, answer.error]) : answer.refused;
      this.waiting.splice(0, rows.length);
      const done = new Set(rows.map(nameOf));
      this.keep((kept) => kept.filter((row) => !done.has(nameOf(row))));
      this.trouble(refused.length ? `${refused.length} of ${rows.length} verdicts were refused and are not on disk: ${refused[0][1]}` : "");
    }
    this.sending = false;
    this.tell();
  }

  /** What others said since. */
  async poll() {
    const answer = await this.ask("GET");
    if (answer?.rows && this.add(answer.rows).length) this.tell();
    if (answer) this.after = answer.next;
  }

  /** Sign the run off; the server's answer, with `error` where it can't be signed as it is. */
  async sign(values) {
    try {
      const answer = await fetch("sign", { method: "POST", body: JSON.stringify(values), headers: { "Content-Type": "application/json" } });
      const told = await answer.json();
      if (answer.ok) {
        this.signed = told;
        this.tell();
      }
      return told;
    } catch {
      return { error: "the server does not answer" };
    }
  }

  async ask(method, rows) {
    try {
      const answer = await fetch(`verdicts?after=${this.after ?? (this.run.verdicts || []).length}`, {
        method, body: rows && JSON.stringify(rows), headers: { "Content-Type": "application/json" },
      });
      if (answer.status >= 500) return null;
      return await answer.json();
    } catch {
      return null;
    }
  }
}
