/* prefs.js - what the user prefers, kept in the browser. The API key is kept for this tab only. */

const NAME = "houle.preferences";
const KEY = "houle.key";

const usual = {
    theme: "auto" /* "auto", "light", "dark" */,
    language: "auto" /* "auto", "en", "fr" */,
    sidebar: true,
    models: [] /* of the last conversation: one, or two side by side */,
    settings: {} /* of the last conversation: see conversation.js */,
};

function read() {
    try {
        const value = JSON.parse(localStorage.getItem(NAME) ?? "{}");
        return typeof value === "object" && value !== null ? {...usual, ...value} : {...usual};
    } catch {
        /* storage is forbidden, or holds something else */
        return {...usual};
    }
}

export const prefs = read();

export function setPref(name, value) {
    prefs[name] = value;
    try {
        localStorage.setItem(NAME, JSON.stringify(prefs));
    } catch {
        /* then it lasts as long as the page */
    }
}

let key = null;
try {
    key = sessionStorage.getItem(KEY);
} catch {
    /* as above */
}

export function apiKey() {
    return key;
}

export function setApiKey(value) {
    key = value === "" ? null : value;
    try {
        if (key === null) sessionStorage.removeItem(KEY);
        else sessionStorage.setItem(KEY, key);
    } catch {
        /* as above */
    }
}
