/* store.js - conversations in the browser's IndexedDB: "heads" for the list, "bodies" with everything.
 *
 * Where the browser forbids it (some private windows), they are kept as long as the page is open. */
const DATABASE = "houle";
const STORES = ["heads", "bodies"];

let opening = null;
const memory = {heads: new Map(), bodies: new Map()};

function open() {
    opening ??= new Promise((resolve) => {
        let request;
        try {
            request = indexedDB.open(DATABASE, 1);
        } catch {
            resolve(null);
            return;
        }
        request.onupgradeneeded = () =>
            STORES.forEach((name) => request.result.createObjectStore(name, {keyPath: "id"}));
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => resolve(null);
        request.onblocked = () => resolve(null);
    });
    return opening;
}

/* Whether conversations outlive the page. */
export async function isLasting() {
    return (await open()) !== null;
}

/* Runs `work` on both stores and waits until it is on disk; its result is that of the request it returns. */
async function transact(mode, work) {
    const database = await open();
    return new Promise((resolve, reject) => {
        const transaction = database.transaction(STORES, mode);
        const request = work(transaction.objectStore("heads"), transaction.objectStore("bodies"));
        transaction.oncomplete = () => resolve(request?.result);
        transaction.onerror = transaction.onabort = () =>
            reject(transaction.error ?? new Error("the browser's storage failed"));
    });
}

const headOf = (c) => ({id: c.id, title: c.title, updated: c.updated});

/* The newest first. */
export async function listConversations() {
    const heads = (await open()) === null ? [...memory.heads.values()] : await transact("readonly", (h) => h.getAll());
    return heads.sort((a, b) => b.updated - a.updated);
}

export async function loadConversation(id) {
    if ((await open()) === null) return structuredClone(memory.bodies.get(id));
    return transact("readonly", (h, b) => b.get(id));
}

export async function saveConversation(c) {
    const copy = structuredClone(c);
    if ((await open()) === null) {
        memory.heads.set(c.id, headOf(copy));
        memory.bodies.set(c.id, copy);
        return;
    }
    await transact("readwrite", (h, b) => {
        h.put(headOf(copy));
        b.put(copy);
    });
}

export async function deleteConversation(id) {
    if ((await open()) === null) {
        memory.heads.delete(id);
        memory.bodies.delete(id);
        return;
    }
    await transact("readwrite", (h, b) => {
        h.delete(id);
        b.delete(id);
    });
}

export async function allConversations() {
    return (await open()) === null ? [...memory.bodies.values()] : transact("readonly", (h, b) => b.getAll());
}
