/* markdown_view.js - elements made of Markdown, also while it is still being written.
 *
 *     text so far ──▶ blocks: done, done, [last two: read again] ──▶ elements: kept, kept, replaced if changed
 *
 * What comes can only change the last block, or join the one before it (a list that goes on after an empty line), so
 * each update reads the text from there, and replaces the elements whose source has changed. A growing code block is not
 * even replaced: its text gets longer, and what is selected in it stays selected. */
import {copyText, h, icon} from "./dom.js";
import {t} from "./i18n.js";
import {parse} from "./markdown.js";
import {inlines} from "./markdown_inline.js";

const HELD_BLOCKS = 2;

function inlineNode(piece) {
    switch (piece.type) {
        case "text":
            return document.createTextNode(piece.text);
        case "code":
            return h("code", {}, piece.text);
        case "math":
            return h("span.math", {}, piece.text);
        case "break":
            return h("br");
        case "link":
            return h(
                "a",
                {href: piece.href, target: "_blank", rel: "noopener noreferrer nofollow"},
                piece.image ? "🖼 " : null,
                piece.children.length > 0 ? piece.children.map(inlineNode) : piece.href,
            );
        default:
            return h(piece.type, {}, piece.children.map(inlineNode));
    }
}

const inlineNodes = (text, growing) => inlines(text, growing).map(inlineNode);

function codeNode(block) {
    const code = h("code", {}, document.createTextNode(block.text));
    const label = h("span", {}, t("copy"));
    const button = h(
        "button.copy",
        {
            type: "button",
            onclick: async () => {
                if (!(await copyText(code.textContent))) return;
                label.textContent = t("copied");
                setTimeout(() => {
                    label.textContent = t("copy");
                }, 1600);
            },
        },
        icon("copy"),
        label,
    );
    return h(
        "figure.code",
        {},
        h("figcaption", {}, h("span.language", {}, block.language || t("code")), button),
        h("pre", {tabindex: "0", "aria-label": block.language || t("code")}, code),
    );
}

function cellNode(tag, text, align, growing) {
    const cell = h(tag, tag === "th" ? {scope: "col"} : {}, inlineNodes(text, growing));
    if (align !== "") cell.classList.add(`to-${align}`);
    return cell;
}

function tableNode(block, growing) {
    const row = (tag, cells) =>
        h(
            "tr",
            {},
            cells.map((c, i) => cellNode(tag, c, block.aligns[i], growing)),
        );
    return h(
        "div.table",
        {tabindex: "0", role: "group", "aria-label": t("table")},
        h(
            "table",
            {},
            h("thead", {}, row("th", block.head)),
            h(
                "tbody",
                {},
                block.rows.map((r) => row("td", r)),
            ),
        ),
    );
}

function itemNode(item, loose, growing) {
    const nodes = item.blocks.map((b, i) => {
        const last = growing && i === item.blocks.length - 1;
        return b.type === "paragraph" && !loose ? inlineNodes(b.text, last) : blockNode(b, last);
    });
    if (item.task === null) return h("li", {}, nodes);
    return h(
        "li.task",
        {},
        h("input", {type: "checkbox", disabled: true, checked: item.task, "aria-label": t("task")}),
        nodes,
    );
}

/* growing: the block is the last of a text that goes on. */
function blockNode(block, growing) {
    switch (block.type) {
        case "heading":
            return h(`h${Math.min(block.level + 1, 6)}`, {}, inlineNodes(block.text, growing));
        case "rule":
            return h("hr");
        case "code":
            return codeNode(block);
        case "math":
            return h("pre.math", {tabindex: "0"}, block.text);
        case "quote":
            return h(
                "blockquote",
                {},
                block.blocks.map((b, i) => blockNode(b, growing && i === block.blocks.length - 1)),
            );
        case "table":
            return tableNode(block, growing);
        case "list":
            return h(
                block.ordered ? "ol" : "ul",
                {start: block.ordered && block.first !== 1 ? String(block.first) : null},
                block.items.map((item, i) => itemNode(item, block.loose, growing && i === block.items.length - 1)),
            );
        default:
            return h("p", {}, inlineNodes(block.text, growing));
    }
}

/* A growing code block whose source begins as before: only text is added. */
function extendCode(old, block) {
    if (old.block.type !== "code" || block.type !== "code" || old.block.language !== block.language) return false;
    if (!block.text.startsWith(old.block.text)) return false;
    const code = old.node.querySelector("code");
    code.firstChild.appendData(block.text.slice(old.block.text.length));
    return true;
}

export class MarkdownView {
    constructor(root) {
        this.root = root;
        this.text = "";
        this.parts = []; /* {source, block, node, growing, from: where its source begins in the text} */
    }

    /* Shows the text. growing: it goes on; the next one will probably begin with it. */
    set(text, growing) {
        text = text.replace(/\r\n?/g, "\n");
        const goesOn = text.startsWith(this.text);
        const kept = goesOn ? Math.max(0, this.parts.length - HELD_BLOCKS) : 0;
        const from = goesOn && kept > 0 ? this.parts[kept].from : 0;
        const tail = text.slice(from),
            lines = tail.split("\n"),
            begins = [];
        for (let i = 0, at = from; i < lines.length; i++) {
            begins.push(at);
            at += lines[i].length + 1;
        }
        const blocks = parse(tail);
        blocks.forEach((block, i) => {
            const source = lines.slice(block.start, block.end).join("\n");
            const open = growing && i === blocks.length - 1;
            this.put(kept + i, {source, block, growing: open, from: begins[block.start], node: null});
        });
        while (this.parts.length > kept + blocks.length) this.parts.pop().node.remove();
        this.text = text;
    }

    put(at, part) {
        const old = this.parts[at];
        this.parts[at] = part;
        if (old !== undefined && old.source === part.source && old.growing === part.growing) part.node = old.node;
        else if (old !== undefined && extendCode(old, part.block)) part.node = old.node;
        else {
            part.node = blockNode(part.block, part.growing);
            if (old !== undefined) old.node.replaceWith(part.node);
            else this.root.append(part.node);
        }
    }
}
