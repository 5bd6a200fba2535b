/* conversation.js - a conversation as data: a tree of questions and replies, of which one path is shown.
 *
 *     question ─ reply ─ question ─ reply        an edited question, or another try at a reply, is a sibling:
 *              ├ reply                           nothing is lost, and the arrows < 2/3 > change the path
 *              └ reply ─ question ─ reply
 *
 * A reply has one answer, or two when two models answer side by side; `chosen` is the one with which a single model
 * goes on. Two models go on with their own answers each. Nothing here touches the page or the server. */

let last = 0;

/* Unique in a browser, and in order of time. */
export function makeId() {
    last = Math.max(last + 1, Date.now() * 1000);
    return last.toString(36);
}

export const usualSettings = {
    system: "",
    temperature: "",
    top_p: "",
    top_k: "",
    min_p: "",
    max_tokens: "",
    seed: "",
    effort: "" /* of reasoning: "", "none", "low", "medium", "high" */,
};

export function newConversation(models, settings) {
    const now = Date.now();
    return {
        id: makeId(),
        title: "",
        created: now,
        updated: now,
        nodes: {},
        shown: {},
        models: [...models],
        settings: {...usualSettings, ...settings},
    };
}

const ROOT = "root";
const parentOf = (node) => node.parent ?? ROOT;

function addNode(c, node) {
    c.nodes[node.id] = node;
    c.shown[parentOf(node)] = node.id;
    c.updated = Date.now();
    return node;
}

/* parent: the reply that it follows, or null for the first. */
export function addQuestion(c, parent, text) {
    if (c.title === "") c.title = text.trim().split("\n", 1)[0].slice(0, 80);
    return addNode(c, {id: makeId(), parent, role: "question", text});
}

export function newAnswer(model) {
    return {
        model,
        content: "",
        reasoning: "",
        state: "waiting",
        error: null,
        finish: null,
        usage: null,
        firstMs: null,
        rate: null,
        reasoningMs: null,
    };
}

/* Whether there is more of it to come. */
export function isActive(answer) {
    return ["waiting", "loading", "reading", "writing"].includes(answer.state);
}

export function addReply(c, parent, models) {
    return addNode(c, {id: makeId(), parent, role: "reply", answers: models.map(newAnswer), chosen: 0});
}

/* The questions and replies that are shown, from the first. */
export function pathOf(c) {
    const path = [],
        seen = new Set();
    for (let id = c.shown[ROOT]; id !== undefined && c.nodes[id] !== undefined && !seen.has(id); id = c.shown[id]) {
        seen.add(id);
        path.push(c.nodes[id]);
    }
    return path;
}

/* The nodes among which a node is one, in order of time. */
export function siblingsOf(c, node) {
    return Object.values(c.nodes)
        .filter((n) => parentOf(n) === parentOf(node))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
}

export function showNode(c, node) {
    c.shown[parentOf(node)] = node.id;
    c.updated = Date.now();
}

/* What is sent for an answer of a reply: all before it, each model with its own answers. */
export function messagesFor(c, reply, lane) {
    const before = [];
    for (let node = c.nodes[reply.parent]; node !== undefined; node = c.nodes[node.parent]) before.unshift(node);
    const two = reply.answers.length > 1;
    const messages = c.settings.system.trim() === "" ? [] : [{role: "system", content: c.settings.system}];
    for (const node of before) {
        if (node.role === "question") {
            messages.push({role: "user", content: node.text});
            continue;
        }
        const answer = node.answers[two && node.answers.length > 1 ? lane : node.chosen];
        const message = {role: "assistant", content: answer.content};
        if (answer.reasoning !== "") message.reasoning_content = answer.reasoning;
        messages.push(message);
    }
    return messages;
}

/* The fields of a request that the settings ask for; what is left empty is the model's own. */
export function parametersOf(settings) {
    const fields = {};
    for (const name of ["temperature", "top_p", "min_p"])
        if (settings[name] !== "" && Number.isFinite(Number(settings[name]))) fields[name] = Number(settings[name]);
    for (const name of ["top_k", "max_tokens", "seed"])
        if (settings[name] !== "" && Number.isInteger(Number(settings[name]))) fields[name] = Number(settings[name]);
    if (settings.effort !== "") fields.reasoning_effort = settings.effort;
    return fields;
}

/* An answer that was being written when the page went away has stopped. */
export function settle(c) {
    for (const node of Object.values(c.nodes))
        for (const answer of node.answers ?? [])
            if (isActive(answer)) answer.state = "stopped";
    return c;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

export function exportText(conversations) {
    return JSON.stringify({format: "houle-conversations", version: 1, conversations}, null, 1);
}

const text = (value, usual = "") => (typeof value === "string" ? value : usual);
const count = (value) => (Number.isFinite(value) ? value : null);

function readAnswer(value) {
    const answer = newAnswer(text(value?.model));
    for (const name of ["content", "reasoning"]) answer[name] = text(value?.[name]);
    answer.state = ["done", "stopped", "failed"].includes(value?.state) ? value.state : "stopped";
    for (const name of ["firstMs", "rate", "reasoningMs"]) answer[name] = count(value?.[name]);
    answer.finish = typeof value?.finish === "string" ? value.finish : null;
    if (typeof value?.error?.message === "string")
        answer.error = {
            kind: text(value.error.kind),
            message: value.error.message,
            status: count(value.error.status) ?? 0,
        };
    if (typeof value?.usage === "object" && value.usage !== null)
        answer.usage = {
            prompt: count(value.usage.prompt) ?? 0,
            cached: count(value.usage.cached) ?? 0,
            generated: count(value.usage.generated) ?? 0,
        };
    return answer;
}

/* What hangs on nothing (or on itself, in a ring) goes. */
function dropUnreachable(c) {
    const children = new Map(),
        reached = new Set();
    for (const node of Object.values(c.nodes))
        children.set(parentOf(node), [...(children.get(parentOf(node)) ?? []), node]);
    for (let next = [ROOT]; next.length > 0;) {
        const found = children.get(next.pop()) ?? [];
        for (const node of found) {
            reached.add(node.id);
            next.push(node.id);
        }
    }
    for (const id of Object.keys(c.nodes)) if (!reached.has(id)) delete c.nodes[id];
}

/* Only what is known is taken over, so a foreign file can put nothing unexpected into a conversation. */
function readConversation(value) {
    const settings = Object.entries(value.settings ?? {}).filter(
        ([k, v]) => Object.hasOwn(usualSettings, k) && typeof v === "string",
    );
    const models = Array.isArray(value.models) ? value.models.filter((m) => typeof m === "string").slice(0, 2) : [];
    const c = newConversation(models, Object.fromEntries(settings));
    if (typeof value.id === "string" && /^[a-z0-9]{1,32}$/.test(value.id)) c.id = value.id;
    c.title = text(value.title).slice(0, 200);
    for (const name of ["created", "updated"]) c[name] = count(value[name]) ?? c[name];
    for (const [id, node] of Object.entries(value.nodes ?? {})) {
        if (!/^[a-z0-9]{1,32}$/.test(id)) continue;
        const parent = typeof node?.parent === "string" ? node.parent : null;
        if (node?.role === "question") c.nodes[id] = {id, parent, role: "question", text: text(node.text)};
        else if (node?.role === "reply" && Array.isArray(node.answers) && node.answers.length > 0) {
            const answers = node.answers.slice(0, 2).map(readAnswer);
            c.nodes[id] = {id, parent, role: "reply", answers, chosen: node.chosen === 1 && answers.length > 1 ? 1 : 0};
        }
    }
    dropUnreachable(c);
    for (const [parent, child] of Object.entries(value.shown ?? {}))
        if (Object.hasOwn(c.nodes, child) && parentOf(c.nodes[child]) === parent) c.shown[parent] = child;
    return c;
}

/* The conversations of a file that exportText made; throws when it is none. */
export function readExport(source) {
    const value = JSON.parse(source);
    if (value?.format !== "houle-conversations" || !Array.isArray(value.conversations))
        throw new Error("not a file of conversations");
    return value.conversations.filter((c) => typeof c === "object" && c !== null).map(readConversation);
}
