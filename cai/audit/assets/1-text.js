// Text on the page. Everything a model or a person wrote goes through `text` or `marked`, which make
// text nodes: nothing is ever parsed as markup, and nothing is dropped.

const $ = (id) => document.getElementById(id);

/** An element: attributes, then children (nodes, texts, lists of them; null and false are skipped). */
function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

/** The same for SVG. */
function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

// Controls, format characters (bidirectional and zero width among them), line and paragraph
// separators, lone surrogates, and letters that show nothing.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u115f\u1160\u17b4\u17b5\u2028\u2029\u2800\u3164\uffa0]|\p{Cf}|\p{Cs}/gu;

function markOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

/** Nodes for a text: what can't be seen as a mark; what is searched for (see `sought`) in <mark>. */
function marked(text, query) {
  const out = [];
  const plain = (part) => {
    let at = 0;
    for (const found of part.matchAll(UNSEEN)) {
      if (found.index > at) out.push(part.slice(at, found.index));
      out.push(h("span", { class: "unseen", title: "a character that can't be seen" }, markOf(found[0])));
      at = found.index + found[0].length;
    }
    if (at < part.length) out.push(part.slice(at));
  };
  let at = 0;
  if (query?.length) {
    const any = new RegExp(query.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "giu");
    for (const hit of text.matchAll(any)) {
      plain(text.slice(at, hit.index));
      out.push(h("mark", {}, hit[0]));
      at = hit.index + hit[0].length;
    }
  }
  plain(text.slice(at));
  return out;
}

/** What is searched for: words, all of which must be there; “several words” in quotes are one. */
const sought = (query) => [...query.matchAll(/"([^"]+)"?|\S+/g)].map((m) => fold(m[1] ?? m[0])).filter(Boolean);

const fold = (text) => text.toLowerCase();

/** One line of a text, for lists. */
function line(text, most = 160) {
  const one = text.replace(/\s+/g, " ").trim();
  return one.length > most ? one.slice(0, most - 1) + "…" : one;
}

// -- word diff ------------------------------------------------------------------------------------

const WORDS = /\s+|[\p{L}\p{N}\p{M}_]+(?:['’\-][\p{L}\p{N}\p{M}_]+)*|[^\s\p{L}\p{N}\p{M}_]/gu;
const TABLE = 4e6; // cells of the table; larger texts are compared by sentence

/** [["=", text], ["-", text], ["+", text], …]: what it takes to get from `before` to `after`. */
function diff(before, after) {
  return merge(compare(before.match(WORDS) || [], after.match(WORDS) || []));
}

function compare(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start &&
         a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const head = a.slice(0, start).map((w) => ["=", w]);
  const tail = a.slice(a.length - end).map((w) => ["=", w]);
  return [...head, ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)), ...tail];
}

function middle(a, b) {
  if (!a.length || !b.length || (a.length + 1) * (b.length + 1) > TABLE) {
    const sentences = (words) => words.join("").match(/[^.!?\n]+[.!?\n]*|[.!?\n]+/g) || [];
    const [x, y] = [sentences(a), sentences(b)];
    if (a.length && b.length && (x.length + 1) * (y.length + 1) <= TABLE && x.length < a.length) {
      return table(x, y);
    }
    return [...a.map((w) => ["-", w]), ...b.map((w) => ["+", w])];
  }
  return table(a, b);
}

/** Longest common subsequence by the usual table. */
function table(a, b) {
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j]
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  const out = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    const same = i < a.length && j < b.length && a[i] === b[j];
    const drop = j >= b.length ||
      (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1]);
    if (same) out.push(["=", a[i++]]), j++;
    else if (drop) out.push(["-", a[i++]]);
    else out.push(["+", b[j++]]);
  }
  return out;
}

/** Runs of one kind as one piece; white space alone between two changes is part of both. */
function merge(steps) {
  const out = [];
  let removed = "", added = "", space = "";
  const flush = () => {
    if (removed) out.push(["-", removed]);
    if (added) out.push(["+", added]);
    removed = added = "";
  };
  for (const [kind, word] of steps) {
    if (kind === "=") {
      if ((removed || added) && !word.trim() && !word.includes("\n")) { space += word; continue; }
      flush();
      if (space) { keep(out, space); space = ""; }
      keep(out, word);
      continue;
    }
    if (space) { removed += space; added += space; space = ""; }
    if (kind === "-") removed += word;
    else added += word;
  }
  flush();
  if (space) keep(out, space);
  return out;
}

function keep(out, word) {
  const last = out[out.length - 1];
  if (last && last[0] === "=") last[1] += word;
  else out.push(["=", word]);
}

/** Nodes of a diff in one text: what went and what came, one after the other. */
function inline(pieces, query) {
  return pieces.map(([kind, text]) =>
    kind === "=" ? marked(text, query) : h(kind === "-" ? "del" : "ins", {}, marked(text, query)));
}

/** Nodes of one side of a diff: "-" for the text before, "+" for the text after. */
function side(pieces, which, query) {
  return pieces.filter(([kind]) => kind === "=" || kind === which).map(([kind, text]) =>
    kind === "=" ? marked(text, query) : h(which === "-" ? "del" : "ins", {}, marked(text, query)));
}
