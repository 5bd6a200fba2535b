/* models.js - what the server can be asked: the list of models with what is known of each, loading and unloading, and
 * downloads. Emits "models" when the list has changed and "pulls" when a download has moved. */
import {getJson, postJson, streamLines} from "./api.js";
import {emit} from "./dom.js";

const POLL_MS = 5000;
const RATE_MS = 3000; /* a download's speed is that of the last seconds */

export const models = {
    list: [], /* as in /v1/models: id, status, context_length, meta {size, memory_bytes, licence, tokens_per_second} */
    memory: null /* {budget_bytes, used_bytes} */,
    state: "unknown" /* "ready", "key" (one is asked for), "failed" */,
    failure: null,
};

const details = new Map(); /* id → what /api/show tells; null while that is asked, and where it cannot be told */
const busy = new Map(); /* id → "load" or "unload": asked for by this page */
export const pulls = new Map(); /* name → {name, state, what, total, completed, rate, error, controller} */

export function modelOf(id) {
    return models.list.find((m) => m.id === id);
}

export function busyWith(id) {
    return busy.get(id);
}

export async function refreshModels() {
    try {
        const value = await getJson("v1/models");
        if (models.state !== "ready") details.clear(); /* what was asked in vain */
        models.list = value.data;
        models.memory = value.memory ?? null;
        models.state = "ready";
        models.failure = null;
    } catch (failure) {
        models.state = failure.status === 401 ? "key" : "failed";
        models.failure = failure;
    }
    emit("models");
}

/* Looks again and again while the page is seen. */
export function watchModels() {
    const look = () => {
        if (document.visibilityState === "visible") refreshModels();
    };
    document.addEventListener("visibilitychange", look);
    setInterval(look, POLL_MS);
    return refreshModels();
}

/* What the model's files tell; null until it is known. */
export function detailsOf(id) {
    const known = details.get(id);
    if (known === undefined) {
        details.set(id, null);
        postJson("api/show", {model: id}).then(
            (shown) => {
                const info = shown.model_info ?? {};
                const of = (suffix) => Object.entries(info).find(([key]) => key.endsWith(suffix))?.[1];
                const template = shown.template ?? "";
                details.set(id, {
                    context: of(".context_length") ?? null,
                    family: shown.details?.family ?? "",
                    label: of("general.size_label") ?? "",
                    licence: shown.license || null,
                    chats: template !== "",
                    thinks: (shown.capabilities ?? []).includes("thinking"),
                    efforts: template.includes("reasoning_effort"),
                });
                emit("models");
            },
            () => {
                /* a model that cannot be read says so when it is asked */
            },
        );
    }
    return known ?? null;
}

/* How reasoning can be set for these models: null where none reasons, else {levels}: whether one knows how much. */
export function reasoningOf(ids) {
    const known = ids.map(detailsOf).filter((d) => d !== null && d.thinks);
    return known.length > 0 ? {levels: known.some((d) => d.efforts)} : null;
}

/* After a change on the server: its files may be others. */
function forgetDetails(id) {
    details.delete(id);
}

/* A request without messages loads a model; with keep_alive 0 it is given up as soon as nobody uses it. */
async function change(id, what, fields) {
    busy.set(id, what);
    emit("models");
    try {
        await postJson("api/generate", {model: id, stream: false, ...fields});
    } finally {
        busy.delete(id);
        await refreshModels();
    }
}

export function loadModel(id) {
    forgetDetails(id);
    return change(id, "load", {});
}

export function unloadModel(id) {
    return change(id, "unload", {keep_alive: 0});
}

/* ---- downloads --------------------------------------------------------------------------------------------------- */

function measure(pull, now) {
    pull.marks.push({at: now, bytes: pull.completed});
    while (pull.marks.length > 2 && now - pull.marks[1].at > RATE_MS) pull.marks.shift();
    const first = pull.marks[0];
    pull.rate = now > first.at ? Math.max(0, ((pull.completed - first.bytes) * 1000) / (now - first.at)) : 0;
}

export async function startPull(name) {
    if (pulls.get(name)?.state === "running") return;
    const pull = {
        name,
        state: "running",
        what: "",
        total: 0,
        completed: 0,
        rate: 0,
        error: null,
        marks: [],
        controller: new AbortController(),
    };
    pulls.set(name, pull);
    emit("pulls");
    try {
        for await (const line of streamLines("api/pull", {model: name}, pull.controller.signal)) {
            pull.what = line.status ?? "";
            if (Number.isFinite(line.total)) {
                pull.total = line.total;
                pull.completed = line.completed ?? 0;
                measure(pull, performance.now());
            }
            if (line.status === "success") pull.state = "done";
            emit("pulls");
        }
        if (pull.state !== "done") pull.state = "stopped";
    } catch (failure) {
        pull.state = failure.name === "AbortError" ? "stopped" : "failed";
        pull.error = failure;
    }
    emit("pulls");
    await refreshModels();
}

/* What was downloaded stays: the next pull of the same name goes on from there. */
export function cancelPull(name) {
    pulls.get(name)?.controller.abort();
}

export function dismissPull(name) {
    pulls.delete(name);
    emit("pulls");
}
