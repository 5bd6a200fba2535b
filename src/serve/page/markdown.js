/* markdown.js - Markdown text into a tree of blocks: what models write, read the way that they mean it.
 *
 * Only data comes out; markdown_view.js makes elements of it. The text is hostile: every loop here is bounded by its
 * length (times a small depth), and nothing in it is ever read as HTML.
 *
 * It follows CommonMark and GitHub's tables, with these differences, made for answers in a chat: a line break is a
 * break; text indented by four is a paragraph, not code; two spaces are enough for a list within a list; mathematics
 * ($$ … $$, \[ … \], \( … \)) stays as it was written. */

const DEPTH_MAX = 12; /* of quotes and lists in one another: what is deeper stays text */

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const CELL_RULE = /^[ \t]*:?-+:?[ \t]*$/;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

/* Three or more of one of -, *, _ and nothing else but spaces. */
function isRule(line) {
    if (indentOf(line) > 3) return false;
    const marks = line.replace(/[ \t]/g, "");
    return marks.length >= 3 && "-*_".includes(marks[0]) && marks === marks[0].repeat(marks.length);
}

function fenceOf(line) {
    const found = FENCE.exec(line);
    if (found === null || (found[1][0] === "`" && found[2].includes("`"))) return null;
    return {mark: found[1][0], count: found[1].length, info: found[2].trim(), indent: indentOf(line)};
}

function closesFence(line, fence) {
    const text = line.trim();
    return indentOf(line) <= 3 + fence.indent && text.length >= fence.count && text === fence.mark.repeat(text.length);
}

/* The cells of a row: at each | that is neither escaped nor within `code`. */
function cellsOf(line) {
    let text = line.trim();
    if (text.startsWith("|")) text = text.slice(1);
    const cells = [];
    let cell = "",
        code = false;
    for (let i = 0; i < text.length; i++) {
        if (text[i] === "\\" && text[i + 1] === "|") {
            cell += "|";
            i++;
        } else if (text[i] === "|" && !code) {
            cells.push(cell.trim());
            cell = "";
        } else {
            if (text[i] === "`") code = !code && text.indexOf("`", i + 1) >= 0;
            cell += text[i];
        }
    }
    if (cell.trim() !== "" || cells.length === 0) cells.push(cell.trim());
    return cells;
}

/* The alignments that a line of |:---|---:| gives, or null when it is none. */
function alignsOf(line) {
    if (!line.includes("-") || !/^[ \t|:-]+$/.test(line)) return null;
    const cells = cellsOf(line);
    if (!cells.every((c) => CELL_RULE.test(c))) return null;
    return cells.map((c) => {
        const left = c.startsWith(":"),
            right = c.endsWith(":");
        return left && right ? "center" : right ? "right" : left ? "left" : "";
    });
}

function startsTable(lines, at) {
    if (at + 1 >= lines.length || !lines[at].includes("|")) return null;
    const aligns = alignsOf(lines[at + 1]);
    return aligns !== null && cellsOf(lines[at]).length === aligns.length ? aligns : null;
}

function mathEnd(line) {
    const text = line.trim();
    return text.startsWith("$$") ? "$$" : text.startsWith("\\[") ? "\\]" : null;
}

/* Whether a block other than a paragraph begins here; within a paragraph only a list that begins with 1 does. */
function interrupts(lines, at) {
    const line = lines[at];
    const item = ITEM.exec(line);
    return (
        fenceOf(line) !== null ||
        HEADING.test(line) ||
        QUOTE.test(line) ||
        isRule(line) ||
        startsTable(lines, at) !== null ||
        (item !== null && line.length > item[0].length && (item[2].length === 1 || /^1[.)]$/.test(item[2])))
    );
}

/* ---- the kinds of blocks: each gets the lines and where it begins, and returns the block with `end`, the line
 * behind it ---- */

function readFence(lines, at, fence) {
    let end = at + 1;
    while (end < lines.length && !closesFence(lines[end], fence)) end++;
    const open = end === lines.length;
    const text = lines
        .slice(at + 1, end)
        .map((l) => l.slice(Math.min(indentOf(l), fence.indent)))
        .join("\n");
    return {type: "code", language: fence.info.split(/\s/, 1)[0], text, open, end: open ? end : end + 1};
}

function readHeading(lines, at) {
    const level = HEADING.exec(lines[at])[1].length;
    let text = lines[at].trim().slice(level).trim();
    const bare = text.replace(/#+$/, "");
    if (bare === "" || /[ \t]$/.test(bare)) text = bare.trim();
    return {type: "heading", level, text, end: at + 1};
}

/* A formula on lines of its own; null when it does not end before the next empty line. */
function readMath(lines, at) {
    const mark = mathEnd(lines[at]);
    if (mark === null) return null;
    for (let end = at; end < lines.length && !isBlank(lines[end]); end++) {
        const text = lines[end].trim();
        if (text.endsWith(mark) && (end > at || text.length >= 4))
            return {
                type: "math",
                text: lines
                    .slice(at, end + 1)
                    .join("\n")
                    .trim(),
                end: end + 1,
            };
    }
    return null;
}

function readQuote(lines, at, depth) {
    const inner = [];
    let end = at;
    for (; end < lines.length; end++) {
        if (QUOTE.test(lines[end])) inner.push(lines[end].replace(QUOTE, ""));
        else if (!isBlank(lines[end]) && !interrupts(lines, end) && !isBlank(inner[inner.length - 1]))
            inner.push(lines[end]);
        else break;
    }
    return {type: "quote", blocks: readBlocks(inner, depth + 1), end};
}

function readTable(lines, at, aligns) {
    const head = cellsOf(lines[at]),
        rows = [];
    let end = at + 2;
    for (; end < lines.length && !isBlank(lines[end]) && lines[end].includes("|"); end++) {
        const cells = cellsOf(lines[end]).slice(0, aligns.length);
        while (cells.length < aligns.length) cells.push("");
        rows.push(cells);
    }
    return {type: "table", aligns, head, rows, end};
}

function takeTask(lines) {
    const found = /^\[([ xX])\] /.exec(lines[0]);
    if (found === null) return null;
    lines[0] = lines[0].slice(4);
    return found[1] !== " ";
}

/* The lines of one item, without its mark and their indent. */
function readItem(lines, at, mark) {
    const first = lines[at].slice(mark[0].length);
    const spaces = isBlank(first) || indentOf(first) > 3 ? 0 : indentOf(first);
    const offset = mark[0].trimEnd().length + 1 + spaces; /* where the text begins */
    const least = Math.min(offset, mark[1].length + 2);
    const inner = [first.slice(spaces)];
    let end = at + 1,
        last = at + 1,
        fence = fenceOf(inner[0]);
    for (; end < lines.length; end++) {
        const line = lines[end];
        if (isBlank(line)) {
            inner.push("");
            continue;
        }
        const indent = indentOf(line);
        const lazy =
            end === last &&
            !ITEM.test(line) &&
            !interrupts(lines, end) &&
            fence === null &&
            !isBlank(inner[inner.length - 1]);
        if (indent < least && !lazy) break;
        const text = line.slice(Math.min(indent, offset));
        inner.push(text);
        if (fence === null) fence = fenceOf(text);
        else if (closesFence(text, fence)) fence = null;
        last = end + 1;
    }
    inner.length = last - at;
    return {inner, end: last};
}

function readList(lines, at, depth) {
    const kind = ITEM.exec(lines[at])[2].slice(-1);
    const items = [];
    let end = at,
        loose = false;
    for (let next = at; next < lines.length;) {
        const mark = ITEM.exec(lines[next]);
        if (mark === null || mark[2].slice(-1) !== kind || isRule(lines[next])) break;
        loose = loose || next > end;
        const item = readItem(lines, next, mark);
        const task = takeTask(item.inner);
        const blocks = readBlocks(item.inner, depth + 1);
        loose = loose || (blocks.length > 1 && blocks.some((b, i) => i > 0 && b.start > blocks[i - 1].end));
        items.push({task, blocks});
        end = next = item.end;
        while (next < lines.length && isBlank(lines[next])) next++;
    }
    const ordered = kind === "." || kind === ")";
    return {type: "list", ordered, first: ordered ? parseInt(lines[at].trim(), 10) : 1, loose, items, end};
}

function readParagraph(lines, at) {
    let end = at + 1;
    for (; end < lines.length && !isBlank(lines[end]) && mathEnd(lines[end]) === null; end++) {
        const underline = UNDERLINE.exec(lines[end]);
        if (underline !== null) {
            const text = lines
                .slice(at, end)
                .map((l) => l.trim())
                .join("\n");
            return {type: "heading", level: underline[1][0] === "=" ? 1 : 2, text, end: end + 1};
        }
        if (interrupts(lines, end)) break;
    }
    return {type: "paragraph", text: lines.slice(at, end).join("\n"), end};
}

function readBlocks(lines, depth) {
    const blocks = [];
    for (let at = 0; at < lines.length;) {
        if (isBlank(lines[at])) {
            at++;
            continue;
        }
        const line = lines[at],
            fence = fenceOf(line),
            aligns = startsTable(lines, at);
        const nests = depth < DEPTH_MAX;
        const block =
            fence !== null
                ? readFence(lines, at, fence)
                : HEADING.test(line)
                  ? readHeading(lines, at)
                  : isRule(line)
                    ? {type: "rule", end: at + 1}
                    : nests && QUOTE.test(line)
                      ? readQuote(lines, at, depth)
                      : nests && ITEM.test(line)
                        ? readList(lines, at, depth)
                        : aligns !== null
                          ? readTable(lines, at, aligns)
                          : (readMath(lines, at) ?? readParagraph(lines, at));
        block.start = at;
        blocks.push(block);
        at = block.end;
    }
    return blocks;
}

/* The blocks of a text. Each has its type, `start` and `end` (lines), and what the type needs; the text within
   paragraphs, headings and cells is still text: markdown_inline.js reads it. */
export function parse(text) {
    return readBlocks(linesOf(text), 0);
}

/* Tabs in front of a line become spaces, except in code that is not within a list: it keeps what it has. */
function linesOf(text) {
    let fence = null;
    return text
        .replace(/\r\n?/g, "\n")
        .split("\n")
        .map((line) => {
            if (fence !== null) {
                if (closesFence(line, fence)) fence = null;
                return line;
            }
            fence = indentOf(line) === 0 ? fenceOf(line) : null;
            return line.includes("\t") ? expandTabs(line) : line;
        });
}

function expandTabs(line) {
    let at = 0,
        indent = 0;
    for (; line[at] === " " || line[at] === "\t"; at++) indent += line[at] === "\t" ? 4 - (indent % 4) : 1;
    return " ".repeat(indent) + line.slice(at);
}
