// Text on the page. Everything a model or a person wrote goes through `textNodes`, which makes
// text nodes: nothing is ever parsed as markup, and nothing is dropped.

/** An element of page.html. @template {keyof PageElements} K @param {K} id @returns {PageElements[K]} */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * An element: attributes, then children (nodes, texts, lists of them; null and false are skipped).
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Attributes} attributes @param {...Child} children
 */
function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

/** The same for SVG. @template {keyof SVGElementTagNameMap} T @param {T} tag @param {Attributes} attributes @param {...Child} children */
function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** @template {HTMLElement | SVGElement} E @param {E} node @param {Attributes} attributes @param {Child[]} children */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (Array.isArray(child)) fill(node, {}, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

// Controls, format characters (bidirectional and zero width among them), line and paragraph
// separators, lone surrogates, and letters that show nothing.
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u115f\u1160\u17b4\u17b5\u2028\u2029\u2800\u3164\uffa0]|\p{Cf}|\p{Cs}/gu;

/** @type {(character: string) => string} */
function markOf(character) {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

/**
 * Nodes for a text: what can't be seen as a mark; what is searched for (see `searchTerms`) in <mark>.
 * @type {(text: string, query?: string[]) => Child[]}
 */
function textNodes(text, query) {
  /** @type {Child[]} */
  const out = [];
  const plain = (/** @type {string} */ part) => {
    let at = 0;
    for (const match of part.matchAll(INVISIBLE)) {
      if (match.index > at) out.push(part.slice(at, match.index));
      out.push(h("span", { class: "unseen", title: "a character that can't be seen" }, markOf(match[0])));
      at = match.index + match[0].length;
    }
    if (at < part.length) out.push(part.slice(at));
  };
  let at = 0;
  if (query?.length) {
    const pattern = new RegExp(query.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "giu");
    for (const hit of text.matchAll(pattern)) {
      plain(text.slice(at, hit.index));
      out.push(h("mark", {}, hit[0]));
      at = hit.index + hit[0].length;
    }
  }
  plain(text.slice(at));
  return out;
}

/**
 * What is searched for: words, all of which must be there; “several words” in quotes are one.
 * @type {(query: string) => string[]}
 */
const searchTerms = (query) => [...query.matchAll(/"([^"]+)"?|\S+/g)].map((m) => fold(m[1] ?? m[0])).filter(Boolean);

/** @type {(text: string) => string} */
const fold = (text) => text.toLowerCase();

/** One line of a text, for lists. @type {(text: string, limit?: number) => string} */
function oneLine(text, limit = 160) {
  const one = text.replace(/\s+/g, " ").trim();
  return one.length > limit ? one.slice(0, limit - 1) + "…" : one;
}

// -- word diff ------------------------------------------------------------------------------------

const WORDS = /\s+|[\p{L}\p{N}\p{M}_]+(?:['’-][\p{L}\p{N}\p{M}_]+)*|[^\s\p{L}\p{N}\p{M}_]/gu;
const TABLE = 4e6; // cells of the table; larger texts are compared by sentence

/**
 * [["=", text], ["-", text], ["+", text], …]: what it takes to get from `before` to `after`.
 * @type {(before: string, after: string) => Piece[]}
 */
function diff(before, after) {
  return merge(compare(before.match(WORDS) || [], after.match(WORDS) || []));
}

/** @type {(a: string[], b: string[]) => Piece[]} */
function compare(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start &&
         a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return [...pieces("=", a.slice(0, start)), ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...pieces("=", a.slice(a.length - end))];
}

/** @type {(a: string[], b: string[]) => Piece[]} */
function middle(a, b) {
  if (!a.length || !b.length || (a.length + 1) * (b.length + 1) > TABLE) {
    const sentences = (/** @type {string[]} */ words) => words.join("").match(/[^.!?\n]+[.!?\n]*|[.!?\n]+/g) || [];
    const [x, y] = [sentences(a), sentences(b)];
    if (a.length && b.length && (x.length + 1) * (y.length + 1) <= TABLE && x.length < a.length) {
      return table(x, y);
    }
    return [...pieces("-", a), ...pieces("+", b)];
  }
  return table(a, b);
}

/** @type {(kind: Piece[0], words: string[]) => Piece[]} */
const pieces = (kind, words) => words.map((word) => [kind, word]);

/** Longest common subsequence by the usual table. @type {(a: string[], b: string[]) => Piece[]} */
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
  /** @type {Piece[]} */
  const out = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    const same = i < a.length && j < b.length && a[i] === b[j];
    const drop = j >= b.length ||
      (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1]);
    if (same) {
      out.push(["=", a[i++]]);
      j++;
    } else if (drop) out.push(["-", a[i++]]);
    else out.push(["+", b[j++]]);
  }
  return out;
}

/**
 * Runs of one kind as one piece; white space alone between two changes is part of both.
 * @type {(steps: Piece[]) => Piece[]}
 */
function merge(steps) {
  /** @type {Piece[]} */
  const out = [];
  let removal = "", addition = "", space = "";
  const flush = () => {
    if (removal) out.push(["-", removal]);
    if (addition) out.push(["+", addition]);
    removal = addition = "";
  };
  for (const [kind, word] of steps) {
    if (kind === "=") {
      if ((removal || addition) && !word.trim() && !word.includes("\n")) { space += word; continue; }
      flush();
      if (space) { appendSame(out, space); space = ""; }
      appendSame(out, word);
      continue;
    }
    if (space) { removal += space; addition += space; space = ""; }
    if (kind === "-") removal += word;
    else addition += word;
  }
  flush();
  if (space) appendSame(out, space);
  return out;
}

/** @type {(out: Piece[], word: string) => void} */
function appendSame(out, word) {
  const last = out[out.length - 1];
  if (last && last[0] === "=") last[1] += word;
  else out.push(["=", word]);
}

/**
 * Nodes of a diff in one text: what went and what came, one after the other.
 * @type {(pieces: Piece[], query?: string[]) => Child[]}
 */
function inline(pieces, query) {
  return pieces.map(([kind, text]) =>
    kind === "=" ? textNodes(text, query) : h(kind === "-" ? "del" : "ins", {}, textNodes(text, query)));
}

/**
 * Nodes of one side of a diff: "-" for the text before, "+" for the text after.
 * @type {(pieces: Piece[], which: "-" | "+", query?: string[]) => Child[]}
 */
function side(pieces, which, query) {
  return pieces.filter(([kind]) => kind === "=" || kind === which).map(([kind, text]) =>
    kind === "=" ? textNodes(text, query) : h(which === "-" ? "del" : "ins", {}, textNodes(text, query)));
}
