/* chat.js - the conversation at hand: asking, answers as they come, stopping, branches, saving.
 *
 * It changes the data of conversation.js and tells the page: "conversation" (another one, or another path through it),
 * "answer" (reply, lane: one has grown; at most once a frame), "running" (something began or ended), "list". A
 * conversation that is left while it is answered goes on in the background. */
import {streamEvents} from "./api.js";
import {
    addQuestion,
    addReply,
    messagesFor,
    newConversation,
    parametersOf,
    pathOf,
    settle,
    showNode,
} from "./conversation.js";
import {emit} from "./dom.js";
import {modelOf, models, refreshModels} from "./models.js";
import {prefs, setPref} from "./prefs.js";
import {deleteConversation, loadConversation, saveConversation} from "./store.js";

const SAVE_MS = 2000; /* while an answer is written */

export const chat = {conversation: null};

const running = new Map(); /* reply's id → {conversation, controllers: Set} */
const removed = new WeakSet(); /* conversations that must not be saved again */
const channel = "BroadcastChannel" in window ? new BroadcastChannel("houle") : null;

/* ---- the conversation that is shown ------------------------------------------------------------------------------ */

/* The models of the last conversation, as far as they are still there; else the one in memory, else the first. */
export function usualModels() {
    const known = prefs.models.filter((id) => modelOf(id) !== undefined);
    if (known.length > 0 || models.list.length === 0) return known;
    const loaded = models.list.find((m) => m.status?.value === "loaded");
    return [(loaded ?? models.list[0]).id];
}

function show(conversation) {
    chat.conversation = conversation;
    emit("conversation");
    emit("running");
}

export function startConversation() {
    show(newConversation(usualModels(), prefs.settings));
}

export async function openConversation(id) {
    const live = [...running.values()].find((r) => r.conversation.id === id);
    const conversation = live?.conversation ?? (await loadConversation(id));
    if (conversation !== undefined) show(live ? conversation : settle(conversation));
}

/* Nobody writes it any more: what was an answer of it a moment ago would bring it back. */
function giveUp(id) {
    for (const [reply, r] of running) {
        if (r.conversation.id !== id) continue;
        removed.add(r.conversation);
        stopReply(reply);
    }
    if (chat.conversation.id !== id) return;
    removed.add(chat.conversation);
    startConversation();
}

export async function removeConversation(id) {
    giveUp(id);
    await deleteConversation(id);
    channel?.postMessage({removed: id});
    emit("list");
}

export async function renameConversation(id, title) {
    const conversation = chat.conversation.id === id ? chat.conversation : await loadConversation(id);
    if (conversation === undefined || title.trim() === "") return;
    conversation.title = title.trim();
    await save(conversation);
}

async function save(conversation) {
    if (removed.has(conversation) || Object.keys(conversation.nodes).length === 0) return;
    try {
        await saveConversation(conversation);
        channel?.postMessage({saved: conversation.id});
        emit("list");
    } catch (error) {
        emit("trouble", "save_failed", error);
    }
}

channel?.addEventListener("message", async ({data}) => {
    emit("list");
    const shown = chat.conversation;
    if (shown === null) return;
    if (data.removed !== undefined) giveUp(data.removed);
    else if (data.saved === shown.id && !isRunning()) await openConversation(shown.id);
});

export function setModels(list) {
    chat.conversation.models = list;
    setPref("models", list);
    save(chat.conversation);
    emit("models");
}

export function setSetting(name, value) {
    const {settings} = chat.conversation;
    settings[name] = value;
    setPref("settings", {...settings});
    save(chat.conversation);
    emit("settings");
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

export function isRunning() {
    return [...running.values()].some((r) => r.conversation === chat.conversation);
}

export function isReplyRunning(reply) {
    return running.has(reply.id);
}

/* Text and sizes change many times a second; elements need to only as often as they are seen. */
const grown = new Map();

function tellGrown(reply, lane) {
    if (grown.size === 0) requestAnimationFrame(flushGrown);
    grown.set(`${reply.id}/${lane}`, [reply, lane]);
}

function flushGrown() {
    const list = [...grown.values()];
    grown.clear();
    for (const [reply, lane] of list) emit("answer", reply, lane);
}

function takeChunk(answer, chunk, clock) {
    const now = performance.now(),
        delta = chunk.choices?.[0]?.delta;
    if (chunk.prompt_progress !== undefined) {
        answer.state = "reading";
        answer.progress = chunk.prompt_progress;
    }
    if (delta?.reasoning_content || delta?.content) {
        answer.state = "writing";
        answer.firstMs ??= now - clock.began;
        clock.first ??= now;
        clock.deltas++;
        if (now > clock.first) answer.rate = ((clock.deltas - 1) * 1000) / (now - clock.first);
    }
    if (delta?.reasoning_content) {
        answer.reasoning += delta.reasoning_content;
        answer.reasoningMs = now - clock.first;
    }
    if (delta?.content) answer.content += delta.content;
    if (chunk.choices?.[0]?.finish_reason) answer.finish = chunk.choices[0].finish_reason;
    if (chunk.usage) {
        answer.usage = {
            prompt: chunk.usage.prompt_tokens,
            cached: chunk.usage.prompt_tokens_details?.cached_tokens ?? 0,
            generated: chunk.usage.completion_tokens,
        };
    }
    if (chunk.timings?.predicted_n > 1) answer.rate = chunk.timings.predicted_per_second;
}

async function runAnswer(conversation, reply, lane, signal) {
    const answer = reply.answers[lane];
    const body = {
        model: answer.model,
        messages: messagesFor(conversation, reply, lane),
        stream: true,
        stream_options: {include_usage: true},
        return_progress: true,
        ...parametersOf(conversation.settings),
    };
    const clock = {began: performance.now(), first: null, deltas: 0};
    answer.state = modelOf(answer.model)?.status?.value === "loaded" ? "waiting" : "loading";
    try {
        for await (const chunk of streamEvents("v1/chat/completions", body, signal)) {
            takeChunk(answer, chunk, clock);
            tellGrown(reply, lane);
        }
        answer.state = "done";
    } catch (failure) {
        if (failure.name === "AbortError") answer.state = "stopped";
        else {
            answer.state = "failed";
            answer.error = {
                kind: failure.kind ?? "",
                message: failure.message,
                status: failure.status ?? 0,
                retryAfter: failure.retryAfter ?? null,
            };
            if (failure.status === 401) refreshModels();
        }
    }
    delete answer.progress;
    tellGrown(reply, lane);
}

async function run(conversation, reply) {
    const controllers = reply.answers.map(() => new AbortController());
    running.set(reply.id, {conversation, controllers});
    emit("conversation");
    emit("running");
    save(conversation);
    const saving = setInterval(() => save(conversation), SAVE_MS);
    await Promise.all(reply.answers.map((_, lane) => runAnswer(conversation, reply, lane, controllers[lane].signal)));
    clearInterval(saving);
    running.delete(reply.id);
    conversation.updated = Date.now();
    await save(conversation);
    emit("running");
    emit("answered", conversation, reply);
    refreshModels(); /* speeds, memory and what is loaded are others now */
}

/* Asks at the end of what is shown. False when there is no model to ask. */
export function ask(text) {
    const c = chat.conversation;
    if (c.models.length === 0) return false;
    const question = addQuestion(c, pathOf(c).at(-1)?.id ?? null, text);
    run(c, addReply(c, question.id, c.models));
    return true;
}

/* The same question once more: another reply beside the first. */
export function regenerate(reply) {
    const c = chat.conversation;
    if (c.models.length > 0) run(c, addReply(c, reply.parent, c.models));
}

/* Another question in the place of one, with a reply of its own. */
export function askInstead(question, text) {
    const c = chat.conversation;
    if (c.models.length === 0) return;
    const other = addQuestion(c, question.parent, text);
    run(c, addReply(c, other.id, c.models));
}

export function stopReply(id, lane = null) {
    running.get(id)?.controllers.forEach((controller, i) => {
        if (lane === null || lane === i) controller.abort();
    });
}

export function stopAll() {
    for (const [id, r] of running) if (r.conversation === chat.conversation) stopReply(id);
}

export function showBranch(node) {
    showNode(chat.conversation, node);
    save(chat.conversation);
    emit("conversation");
}

/* Of two answers side by side: the conversation goes on with this one, and its model alone. */
export function goOnWith(reply, lane) {
    reply.chosen = lane;
    setModels([reply.answers[lane].model]);
    save(chat.conversation);
    emit("conversation");
}
