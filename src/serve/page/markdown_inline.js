/* markdown_inline.js - what stands within a line of Markdown: emphasis, code, links, breaks, formulas.
 *
 * One pass from left to right makes pieces; marks of emphasis are paired when a stretch of pieces is complete, with a
 * stack, so that the work grows with the length and not with the number of unpaired marks. */

const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const ADDRESS = /https?:\/\/[^\s<>"`]{1,2000}/y;
const BRACKETED = /<([a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^\s<>]*|[^\s<>@]+@[^\s<>@]+\.[^\s<>@]+)>/y;
const BREAK = /<br[ \t]*\/?>/iy;
const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,6}));/y;
const ENTITIES = {
    amp: "&",
    lt: "<",
    gt: ">",
    quot: '"',
    apos: "'",
    nbsp: "\u00a0",
    copy: "©",
    hellip: "…",
    mdash: "—",
    ndash: "–",
    times: "×",
    deg: "°",
    euro: "€",
    larr: "←",
    rarr: "→",
};
const DESTINATION =
    /\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const SEARCH_MAX = 32; /* how far down the stack of marks a partner is looked for */
const NEST_MAX = 32; /* marks and brackets that are open at once: elements are nested no deeper than they are useful */
const RUN_MAX = 12;
const LINK_LENGTH_MAX = 4000;

/* Where a link may lead: addresses of the web and of mail. Everything else (javascript:, data:, file:, …) is text. */
export function safeAddress(text) {
    if (text.length > LINK_LENGTH_MAX) return null;
    try {
        const url = new URL(text);
        return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
    } catch {
        return null;
    }
}

function matchAt(pattern, text, at) {
    pattern.lastIndex = at;
    return pattern.exec(text);
}

const isSpace = (c) => c === undefined || /\s/.test(c);

/* A run of marks, and whether it may begin or end emphasis: by what stands on its two sides. */
function markRun(text, at) {
    const mark = text[at];
    let end = at;
    while (text[end] === mark) end++;
    const before = text[at - 1],
        after = text[end];
    const softBefore = before === undefined || PUNCTUATION.test(before),
        softAfter = after === undefined || PUNCTUATION.test(after);
    const left = !isSpace(after) && (!softAfter || isSpace(before) || softBefore);
    const right = !isSpace(before) && (!softBefore || isSpace(after) || softAfter);
    return {
        type: "mark",
        mark,
        count: end - at,
        opens: mark === "_" ? left && (!right || softBefore) : left,
        closes: mark === "_" ? right && (!left || softAfter) : right,
        atEnd: after === undefined,
    };
}

/* Whether two runs may not pair: CommonMark's rule of three. */
function clash(a, b) {
    return (a.closes || b.opens) && (a.count + b.count) % 3 === 0 && (a.count % 3 !== 0 || b.count % 3 !== 0);
}

function wrap(out, from, used, mark) {
    const children = out.splice(from);
    out.push({type: mark === "~" ? "del" : used === 2 ? "strong" : "em", children});
}

/* Pairs the marks among pieces. growing: the text goes on; marks without a partner get theirs at the end. */
function pairMarks(pieces, growing) {
    const out = [],
        stack = []; /* of the stack: {run, at}, where `at` is the place in `out` behind the run's marks */
    const flatten = (entry) => {
        /* a mark that stays alone is text */
        out[entry.at - 1] = {type: "text", text: entry.run.mark.repeat(entry.run.count)};
    };
    for (const piece of pieces) {
        if (piece.type !== "mark") {
            out.push(piece);
            continue;
        }
        const run = {...piece};
        if ((run.mark === "~" && run.count !== 2) || run.count > RUN_MAX) {
            out.push({type: "text", text: run.mark.repeat(run.count)});
            continue;
        }
        for (
            let i = stack.length - 1, least = Math.max(0, stack.length - SEARCH_MAX);
            run.closes && run.count > 0 && i >= least;
            i--
        ) {
            const open = stack[i];
            if (open.run.mark !== run.mark || clash(open.run, run)) continue;
            while (stack.length > i + 1) flatten(stack.pop());
            const used = Math.min(2, open.run.count, run.count);
            wrap(out, open.at, used, run.mark);
            open.run.count -= used;
            run.count -= used;
            if (open.run.count === 0) {
                stack.pop();
                out.splice(open.at - 1, 1); /* the run itself, which stands before what was wrapped: the last but one */
            } else i++; /* what is left of it may pair again */
        }
        if (run.count === 0) continue;
        if (growing && run.atEnd && !run.closes) continue; /* half a mark: what it is will be seen */
        out.push({type: "text", text: run.mark.repeat(run.count)});
        if (run.opens && stack.length < NEST_MAX) stack.push({run, at: out.length});
    }
    while (stack.length > 0) {
        const open = stack.pop();
        if (growing && out.length > open.at && open.run.count <= 3) {
            wrap(out, open.at, open.run.count >= 2 ? 2 : 1, open.run.mark);
            out.splice(open.at - 1, 1);
        } else flatten(open);
    }
    return out;
}

/* Where the runs of backticks of each length are, so that one without a partner is not searched for again and again. */
function codeRuns(text) {
    const runs = new Map();
    for (const found of text.matchAll(/`+/g)) {
        const length = found[0].length;
        if (!runs.has(length)) runs.set(length, []);
        runs.get(length).push(found.index);
    }
    return runs;
}

/* What follows an address in a sentence is not part of it; nor is a ")" whose "(" stands before it. */
function trimAddress(text) {
    let end = text.length,
        excess = text.split(")").length - text.split("(").length;
    for (; end > 0; end--)
        if (text[end - 1] === ")" && excess > 0) excess--;
        else if (!".,;:!?'*_~]".includes(text[end - 1])) break;
    return text.slice(0, end);
}

class Reader {
    constructor(text, growing) {
        this.text = text;
        this.growing = growing;
        this.at = 0;
        this.plain = "";
        this.pieces = [];
        this.brackets = []; /* {at: place of the "[" in pieces, from: in the text, image} */
        this.runs = null;
        this.unclosed = new Set(); /* ends of formulas that do not come any more */
    }

    flush() {
        if (this.plain !== "") this.pieces.push({type: "text", text: this.plain});
        this.plain = "";
    }

    push(piece, length) {
        this.flush();
        this.pieces.push(piece);
        this.at += length;
    }

    code() {
        const {text, at} = this;
        let length = 0;
        while (text[at + length] === "`") length++;
        this.runs ??= codeRuns(text);
        const places = this.runs.get(length) ?? [];
        while (places.length > 0 && places[0] < at + length) places.shift();
        let end = places[0];
        if (end === undefined) {
            if (!this.growing || this.brackets.length > 0) {
                this.plain += text.slice(at, at + length);
                this.at += length;
                return;
            }
            end = text.length;
        }
        let content = text.slice(at + length, end).replace(/\n/g, " ");
        if (/^ .* $/.test(content) && content.trim() !== "") content = content.slice(1, -1);
        if (content === "" && end === text.length) this.at = end;
        else this.push({type: "code", text: content}, end + length - at);
    }

    /* \( … \) within a line, $$ … $$ too: as it was written. */
    formula(open, close) {
        const end = this.unclosed.has(close) ? -1 : this.text.indexOf(close, this.at + open.length);
        if (end < 0) {
            this.unclosed.add(close);
            return false;
        }
        this.push({type: "math", text: this.text.slice(this.at, end + close.length)}, end + close.length - this.at);
        return true;
    }

    escape() {
        const next = this.text[this.at + 1];
        if ((next === "(" && this.formula("\\(", "\\)")) || (next === "[" && this.formula("\\[", "\\]"))) return;
        if (next === "\n") this.push({type: "break"}, 2);
        else if (next !== undefined && ESCAPABLE.test(next) && !"()[]".includes(next)) {
            this.plain += next;
            this.at += 2;
        } else {
            this.plain += "\\";
            this.at++;
        }
    }

    angle() {
        const found = matchAt(BRACKETED, this.text, this.at);
        if (found !== null) {
            const href = safeAddress(found[1].includes(":") ? found[1] : `mailto:${found[1]}`);
            if (href !== null) {
                this.push({type: "link", href, children: [{type: "text", text: found[1]}]}, found[0].length);
                return;
            }
        }
        const stop = matchAt(BREAK, this.text, this.at);
        if (stop !== null) this.push({type: "break"}, stop[0].length);
        else {
            this.plain += "<";
            this.at++;
        }
    }

    address() {
        const found = /\w/.test(this.text[this.at - 1] ?? " ") ? null : matchAt(ADDRESS, this.text, this.at);
        const shown = found === null ? "" : trimAddress(found[0]);
        const href = shown === "" ? null : safeAddress(shown);
        if (href !== null) this.push({type: "link", href, children: [{type: "text", text: shown}]}, shown.length);
        else {
            this.plain += "h";
            this.at++;
        }
    }

    openBracket(image) {
        this.flush();
        if (this.brackets.length < NEST_MAX) this.brackets.push({at: this.pieces.length, image});
        this.pieces.push({type: "text", text: image ? "![" : "["});
        this.at += image ? 2 : 1;
    }

    /* A link ends here if an address follows. There are no links within links. */
    closeBracket() {
        const open = this.brackets.pop();
        const found = open === undefined ? null : matchAt(DESTINATION, this.text, this.at + 1);
        if (found === null) {
            const cut =
                this.growing &&
                open !== undefined &&
                this.text[this.at + 1] === "(" &&
                !/[\s)]/.test(this.text.slice(this.at + 2));
            if (cut) {
                /* the address is still being written: its text is shown, it is not */
                this.flush();
                const children = pairMarks(this.pieces.splice(open.at + 1), true);
                this.pieces.splice(open.at, 1, ...children);
                this.at = this.text.length;
                return;
            }
            this.plain += "]";
            this.at++;
            return;
        }
        this.flush();
        const children = pairMarks(this.pieces.splice(open.at + 1), false);
        this.pieces.pop();
        const href = safeAddress((found[1] ?? found[2]).replace(/\\([!-/:-@[-`{-~])/g, "$1"));
        if (href === null) this.pieces.push(...children);
        else this.pieces.push({type: "link", href, children, image: open.image});
        if (!open.image) this.brackets = [];
        this.at += 1 + found[0].length;
    }

    entity() {
        const found = matchAt(ENTITY, this.text, this.at);
        const code = found === null ? 0 : found[1] !== undefined ? Number(found[1]) : parseInt(found[2] ?? "0", 16);
        const text =
            found === null
                ? undefined
                : found[3] !== undefined
                  ? ENTITIES[found[3]]
                  : code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)
                    ? String.fromCodePoint(code)
                    : undefined;
        this.plain += text ?? "&";
        this.at += text === undefined ? 1 : found[0].length;
    }

    lineBreak() {
        this.plain = this.plain.trimEnd();
        this.push({type: "break"}, 1);
        while (this.text[this.at] === " ") this.at++;
    }

    read() {
        const {text} = this;
        while (this.at < text.length) {
            const c = text[this.at];
            if (c === "\\") this.escape();
            else if (c === "`") this.code();
            else if (c === "*" || c === "_" || c === "~") {
                const run = markRun(text, this.at);
                this.push(run, run.count);
            } else if (c === "[") this.openBracket(false);
            else if (c === "!" && text[this.at + 1] === "[") this.openBracket(true);
            else if (c === "]") this.closeBracket();
            else if (c === "<") this.angle();
            else if (c === "h" && text.startsWith("http", this.at)) this.address();
            else if (c === "&") this.entity();
            else if (c === "\n") this.lineBreak();
            else if (c === "$" && text[this.at + 1] === "$" && this.formula("$$", "$$")) continue;
            else {
                this.plain += c;
                this.at++;
            }
        }
        this.flush();
        return pairMarks(this.pieces, this.growing);
    }
}

/* The pieces of a text: {type: "text" | "code" | "math", text}, {type: "break"},
   {type: "em" | "strong" | "del", children}, {type: "link", href, children, image}. growing: more is to come, and half-written
   marks are not shown. */
export function inlines(text, growing = false) {
    return new Reader(text, growing).read();
}
