// Wires the parts together: buttons, keys, dialogs, theme.

/** @type {Record<string, (value?: any) => void>} */
const actions = {};
/** @type {Record<string, number>} */
const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }; // in the list
/** @type {Record<string, number>} */
const SCROLLS = { " ": 0.8, PageDown: 0.8, PageUp: -0.8, ArrowDown: 0.12, ArrowUp: -0.12 }; // of its height

const VIEWS = /** @type {const} */ (["overview", "read"]);
const TABS = /** @type {const} */ ({ overview: "tab-overview", read: "tab-read" });

const KEYS = [
  ["j  k", "next, previous"], ["Space", "scroll down"], ["a  x  u", "accept, reject, unsure: then the next"], ["f", "flag, to come back to"],
  ["1 … 9", "a reason from the list"], ["c", "reasons, and one in your words"], ["z", "undo"], ["d", "differences in one text or side by side"], ["/", "search"],
  ["o", "overview and back"], ["r", "cover texts, or show them"], ["t", "light or dark"], ["Esc", "leave a field, close a dialog"], ["?", "this help"],
];

async function main() {
  const run = new Run(await unpack());
  const verdicts = new Verdicts(run);
  const state = new State(run, verdicts);
  let covered = run.covered === true || verdicts.recall("covered") === true;
  const listing = new Listing(state, verdicts, () => covered);
  const reader = new Reader(state, verdicts, () => covered);
  const overview = new Overview(state, verdicts);
  const wholeFacets = new Set(); // facets shown whole
  let transient = false; // a notice that the next change clears
  /** @type {AnyItem | null} */
  let lastItem = null; // the last item of the list, where it was judged just now
  /** @type {number | undefined} */
  let typing; // a search that waits for the next key
  const drafts = new Map(); // item → a comment that was begun and left

  fill($("name"), {}, textNodes(run.run.name));
  for (const [value, name] of Object.entries(state.orders())) $("sort").append(h("option", { value }, name));

  /** A line above the page; none for an empty text. @type {(text: string) => void} */
  function notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
  }

  /** A line that stands until something else is done. @type {(text: string) => void} */
  function mention(text) {
    notice(text);
    transient = true;
  }

  function show() {
    if (transient) notice("");
    transient = false;
    if (state.missing) notice(`${state.missing} is not in this page: is it of another page, or of another run?`);
    state.missing = null;
    const reading = state.view === "read";
    $("overview").hidden = reading;
    $("read").hidden = !reading;
    for (const view of VIEWS) $(TABS[view]).setAttribute("aria-current", state.view === view ? "page" : "false");
    if ($("search").value !== state.query) $("search").value = state.query;
    $("sort").value = state.sort;
    if (reading) {
      if (state.item) verdicts.markRead(state.item);
      redrawFacets();
      listing.show();
      reader.show();
      announce();
      state.save();
    } else overview.show();
    progress();
  }

  /** Say which item is open, for those who hear the page. */
  function announce() {
    const at = state.place();
    const text = state.item ? `${at < 0 ? "An item outside the filters" : `Item ${at + 1} of ${state.items.length}`}: ${covered ? state.item.prompt_id : title(state.item)}` : "";
    if ($("spoken").textContent !== text) $("spoken").textContent = text;
  }

  function redrawFacets() {
    const active = document.activeElement;
    const at = active instanceof HTMLInputElement && active.dataset.facet ? [active.dataset.facet, active.value] : null;
    drawFacets(state, $("facets"), wholeFacets);
    if (at) [...$("facets").querySelectorAll("input")].find((i) => i.dataset.facet === at[0] && i.value === at[1])?.focus();
  }

  function progress() {
    const todo = verdicts.todo().length, all = verdicts.part().length;
    $("progress").textContent = run.mode === "diff" ? "" :
      `${number(all - todo)} of ${number(all)} judged` + (verdicts.unsent.length ? ` · ${verdicts.unsent.length} not saved` : "");
  }

  state.addEventListener("change", show);
  verdicts.addEventListener("change", () => { state.recount(); show(); });
  verdicts.addEventListener("trouble", (event) => {
    notice(/** @type {CustomEvent<string>} */ (event).detail);
    transient = false;
  });

  // -- what can be done ---------------------------------------------------------------------------

  /**
   * Do something with the open item under a name: ask for the name first where there is none.
   * @type {(work: (item: AnyItem) => void) => void}
   */
  function withName(work) {
    const { item } = state;
    if (run.mode === "diff" || state.view !== "read" || !item) return;
    if (verdicts.author) work(item);
    else askName(() => {
      if (!run.sample || verdicts.part().includes(item)) work(item);
      else {
        state.only({ sample: "for " + verdicts.author });
        mention("The item that was open is not in your part of the sample. This is your part.");
      }
    });
  }

  actions.judge = (verdict) => withName((item) => {
    const mine = verdicts.mine(item);
    const same = mine?.verdict === verdict;
    if (same && lastItem === item) { // a key too many at the end of the list takes nothing back
      mention("This was the last of these items. z takes its verdict back.");
      return;
    }
    verdicts.change(item, { verdict: same ? "none" : verdict });
    if (!same) state.step(1);
    lastItem = !same && state.item === item ? item : null;
    if (same) mention("Your verdict is taken back.");
    else if (lastItem) mention("That was the last of these items.");
  });
  actions.sign = () => askSignature();

  actions.flag = () => withName((item) => verdicts.change(item, { flagged: !verdicts.mine(item)?.flagged }));
  actions.comment = () => withName(askReason);
  actions.because = (reason) => withName((item) => {
    const current = verdicts.mine(item)?.reasons || [];
    verdicts.change(item, { reasons: current.includes(reason) ? current.filter((r) => r !== reason) : [...current, reason] });
  });
  actions.undo = () => {
    const item = run.mode === "diff" ? null : verdicts.undo();
    if (item) state.open(item);
  };

  /** @type {Record<string, () => void>} */
  const keys = {
    j: () => state.step(1), k: () => state.step(-1), a: () => actions.judge("accept"), x: () => actions.judge("reject"),
    u: () => actions.judge("unsure"), f: actions.flag, c: actions.comment, z: actions.undo,
    d: () => { state.side = !state.side; state.changed(); }, o: () => state.set({ view: state.view === "read" ? "overview" : "read" }),
    "/": () => $("search").focus(), "?": askHelp, r: cover, t: theme,
  };

  addEventListener("keydown", (event) => {
    const target = event.target instanceof HTMLElement ? event.target : document.body;
    if (event.key === "Escape" && target.matches("input, textarea, select")) {
      if (target === $("search") && ($("search").value || state.query)) { // the field empties itself
        clearTimeout(typing);
        state.set({ query: "" });
      }
      target.blur();
    }
    const writing = target.matches("input:not([type=checkbox]), textarea, select");
    if (writing || event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
    if (target === $("list") && event.key in STEPS) {
      event.preventDefault();
      state.step(STEPS[event.key]);
      return;
    }
    if (state.view === "read" && event.key in SCROLLS && !target.matches("button, input, summary, a, pre")) {
      event.preventDefault();
      $("reader").scrollBy({ top: SCROLLS[event.key] * $("reader").clientHeight });
      return;
    }
    const reason = /^[1-9]$/.test(event.key) && state.item && run.reasonsFor(state.item)[Number(event.key) - 1];
    const work = reason ? () => actions.because(reason)
      : keys[event.shiftKey ? event.key : event.key.toLowerCase()]; // whatever Caps Lock says
    if (!work || (event.repeat && !"jk".includes(event.key))) return; // a held key judges once
    event.preventDefault();
    work();
  });

  $("skip").addEventListener("click", (event) => { // an address of its own would be a new view
    event.preventDefault();
    (state.view === "read" ? $("reader") : $("overview")).focus();
  });

  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => state.set({ query: $("search").value, view: "read" }), 120);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(typing);
    state.set({ query: $("search").value, view: "read" });
    $("search").blur();
  });
  $("sort").addEventListener("change", () => state.set({ sort: $("sort").value }));
  for (const view of VIEWS) $(TABS[view]).addEventListener("click", () => state.set({ view }));
  $("filters").addEventListener("click", () => $("read").classList.toggle("with-facets"));
  $("cover").addEventListener("click", cover);
  $("theme").addEventListener("click", theme);
  $("help").addEventListener("click", askHelp);
  $("menu").addEventListener("click", askFiles);

  function cover() {
    covered = !covered;
    $("cover").setAttribute("aria-pressed", String(covered));
    $("cover").textContent = covered ? "Covered" : "Cover";
    verdicts.remember("covered", covered);
    listing.draw();
    reader.show();
    announce();
  }

  function theme() {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    verdicts.remember("theme", document.documentElement.dataset.theme, "cai-audit");
  }

  // -- dialogs ------------------------------------------------------------------------------------

  /**
   * Ask something; `done` is called at once when the answer is given, and not when it is not.
   * @type {(title: string, children: Child[], done?: () => void) => HTMLDialogElement}
   */
  function dialog(title, children, done = () => {}) {
    const box = $("dialog");
    const answer = (/** @type {Event} */ event) => {
      event.preventDefault();
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur(); // the field keeps the keys until the next frame, else
      box.close();
      done();
    };
    box.replaceChildren(h("form", { method: "dialog", onsubmit: answer }, h("h2", { id: "dialog-title", tabindex: "-1" }, title), children));
    box.showModal();
    $("dialog-title").focus(); // not the button at the end of a long text
    return box;
  }

  /** @type {(text?: string) => Child} */
  const close = (text = "Close") => h("div", { class: "buttons" }, h("span", { class: "grow" }),
    text === "Close" ? null : h("button", { type: "button", onclick: () => $("dialog").close() }, "Cancel"),
    h("button", { class: "primary", value: "ok" }, text));

  /** @type {(then?: () => void) => void} */
  function askName(then) {
    const field = h("input", { id: "author", maxlength: 100, required: true, pattern: ".*\\S.*", title: "your name", autocomplete: "name", value: verdicts.author });
    const auditors = [...new Set(Object.values(run.sample?.items || {}).flat())].sort();
    dialog("Who are you?", [h("p", {}, "Your name is saved with each verdict."),
      auditors.length ? h("p", { class: "buttons" }, "The sample is drawn for", auditors.map((name) =>
        h("button", { type: "button", class: "auditor", onclick: () => { field.value = name; field.focus(); } }, textNodes(name)))) : null,
      h("label", {}, "Name", field), close("Continue")], () => {
      verdicts.author = field.value.trim() || verdicts.author;
      state.refresh();
      show();
      if (auditors.length && !auditors.includes(verdicts.author)) {
        mention(`The sample is drawn for ${auditors.join(", ")}; no item of it is for ${verdicts.author}.`);
      }
      if (verdicts.author) then?.();
    });
    field.focus();
  }

  /** @type {(item: AnyItem) => void} */
  function askReason(item) {
    const mine = verdicts.mine(item)?.reasons || [];
    const reasons = [...new Set([...run.reasonsFor(item), ...mine])];
    const boxes = reasons.map((reason) => h("input", { type: "checkbox", value: reason, checked: mine.includes(reason) }));
    const field = h("textarea", { id: "reason", rows: 3, maxlength: 5000 }, drafts.get(item) ?? (verdicts.mine(item)?.reason || ""));
    const choices = h("fieldset", { class: "choices" }, h("legend", {}, "Reasons"),
      boxes.map((choice, n) => h("label", {}, choice, h("span", {}, textNodes(reasons[n])))));
    const box = dialog("Why?", [choices, h("label", {}, "In your words", field), close("Keep")], () => {
      drafts.delete(item);
      const changes = { reason: field.value.trim(), reasons: boxes.filter((b) => b.checked).map((b) => b.value) };
      if (changes.reason !== (verdicts.mine(item)?.reason || "") || changes.reasons.join() !== mine.join()) verdicts.change(item, changes);
    });
    field.focus();
    field.addEventListener("input", () => drafts.set(item, field.value));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.querySelector("form")?.requestSubmit();
    });
  }

  /** Done: sign here, beside a server; else how it is done in a terminal. */
  function askSignature() {
    const { of, done, missing } = verdicts.review();
    const others = [...missing].filter(([name]) => name !== verdicts.author);
    const progressLine = [h("p", {}, `${number(done)} of ${plural(of, "item")} ${run.sample ? "of the sample " : ""}judged.`,
      others.length ? ` Still to judge: ${others.map(([name, n]) => `${name} ${number(n)}`).join(", ")}.` : "")];
    if (run.mode !== "serve") {
      dialog("Sign off", [progressLine, h("p", {}, "This page is a file, so it can't sign. Export your verdicts, and in a terminal:"),
        h("pre", {}, `cai audit import RUN verdicts-${run.run.name}.jsonl\ncai audit sign RUN --signer "${verdicts.author || "NAME"}"`),
        h("p", { class: "buttons" }, exporting()), close()]);
      return;
    }
    const alert = h("p", { class: "warn", role: "alert" });
    const signer = h("input", { id: "signer", maxlength: 100, required: true, pattern: ".*\\S.*", value: verdicts.author, autocomplete: "name" });
    const statement = h("textarea", { id: "statement", rows: 2, maxlength: 5000 });
    const share = (/** @type {string} */ id, /** @type {number} */ value) => h("input", { id, type: "number", min: 0, max: 100, step: "any", required: true, value });
    const reviewed = share("min-reviewed", 100), accepted = share("min-accepted", 90);
    const send = h("button", { class: "primary", "data-act": "sign" }, "Sign off");
    const box = $("dialog");
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      if (verdicts.unsent.length) {
        alert.textContent = `${plural(verdicts.unsent.length, "verdict")} not saved yet: wait until the server has them.`;
        return;
      }
      send.disabled = true;
      const answer = await verdicts.sign({ signer: signer.value, statement: statement.value,
        min_reviewed: Number(reviewed.value) / 100, min_accepted: Number(accepted.value) / 100 });
      send.disabled = false;
      if (answer.error) {
        alert.textContent = `Not signed: ${answer.error}. ${answer.hint || ""}`;
        return;
      }
      box.close();
      notice(`Signed off by ${answer.signer}: ${answer.path}. The next verdict makes it stale.`);
    } }, h("h2", { id: "dialog-title", tabindex: "-1" }, "Sign off"), progressLine,
    h("p", {}, "Your signature names the data, the verdicts and the thresholds by their digests; cai train asks for it where a project requires one."),
    h("label", {}, "Signed by", signer), h("label", {}, "Statement", statement),
    h("details", {}, h("summary", {}, "Lower the thresholds (say why in the statement)"), h("div", { class: "thresholds" },
      h("label", {}, "% judged, at least", reviewed), h("label", {}, "% of them accepted, at least", accepted))),
    alert, h("div", { class: "buttons" }, h("span", { class: "grow" }), h("button", { type: "button", onclick: () => box.close() }, "Cancel"), send));
    box.replaceChildren(form);
    box.showModal();
    $("dialog-title").focus();
  }

  const exporting = () => h("button", { type: "button", id: "export", class: "primary",
    onclick: () => download(`verdicts-${run.run.name}.jsonl`, verdicts.text()) }, `Export ${plural(verdicts.rows.length, "line")}`);

  function askHelp() {
    dialog("Keys and flags", [
      h("dl", { class: "keys" }, KEYS.map(([key, what]) => [h("dt", {}, key.split("  ").map((k) => h("kbd", {}, k))), h("dd", {}, what)])),
      h("h3", {}, "Flags"), h("p", { class: "muted" }, "Computed from texts and numbers; a reason to look, not a verdict."),
      h("dl", { class: "flag-list" }, run.flags.map((f) => [h("dt", {}, `${f.code} ${f.name}`), h("dd", {}, f.meaning)])), close()]);
  }

  function askFiles() {
    const status = h("p", { class: "muted", role: "status" });
    const file = h("input", { type: "file", id: "import", accept: ".jsonl,.json,.txt", onchange: async () => {
      const upload = file.files?.[0];
      if (!upload) return;
      try {
        const [all, fresh, unknown] = verdicts.read(await upload.text());
        status.textContent = `${plural(all, "verdict")} read, ${number(fresh)} of them new` +
          (unknown ? `; ${number(unknown)} left out: about items that are not in this page.` : ".");
        $("export")?.replaceChildren(`Export ${plural(verdicts.rows.length, "line")}`);
      } catch (error) {
        status.textContent = `${upload.name} was not imported: ${error instanceof Error ? error.message : error}.`;
      }
      file.value = "";
    } });
    dialog("Verdicts", [
      h("p", {}, verdicts.author ? ["You are ", h("b", {}, textNodes(verdicts.author)), ". "] : "You have not entered a name. ",
        h("button", { type: "button", class: "link", onclick: () => { $("dialog").close(); askName(); } }, "change")),
      h("p", {}, run.mode === "serve" ? "Each verdict is on the server's disk at once." :
        run.mode === "diff" ? "Two runs are compared here; verdicts are given in a run's own page." :
        "They are kept in this browser. Export them, then add them to the run: cai audit import RUN FILE"),
      run.mode === "diff" ? null : h("div", { class: "buttons" },
        exporting(),
        h("label", { class: "button" }, "Import a file", file)),
      status, close()]);
  }

  /** @type {(name: string, text: string) => void} */
  function download(name, text) {
    const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  const savedTheme = verdicts.recall("theme", "cai-audit");
  if (savedTheme === "dark" || savedTheme === "light") document.documentElement.dataset.theme = savedTheme;
  $("cover").setAttribute("aria-pressed", String(covered));
  $("cover").textContent = covered ? "Covered" : "Cover";
  show();
  if (run.mode === "serve") {
    verdicts.send();
    setInterval(() => verdicts.poll(), 4000);
  }
  document.documentElement.dataset.ready = "true";
  const idle = () => run.fold(400) || setTimeout(idle, 1);
  idle();
}

main().catch((error) => {
  $("notice").hidden = false;
  $("notice").textContent = "This page can't be shown: " + error.message;
});
