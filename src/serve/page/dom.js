/* dom.js - making elements. Text goes in as text nodes only: nothing here, or anywhere in the page, parses HTML. */

const SVG = "http://www.w3.org/2000/svg";

function add(parent, child) {
    if (child === null || child === undefined || child === false) return;
    if (Array.isArray(child)) for (const c of child) add(parent, c);
    else parent.append(child);
}

/* h("button.quiet", {type: "button", onclick: f, "aria-label": "…"}, "text", element, …). Properties that are
   false, null or undefined are left out; true gives an empty attribute; functions named on… listen. */
export function h(what, properties, ...children) {
    const [tag, ...classes] = what.split(".");
    const element = document.createElement(tag);
    if (classes.length > 0) element.className = classes.join(" ");
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (value === false || value === null || value === undefined) continue;
        if (typeof value === "function") element.addEventListener(name.slice(2), value);
        else if (name === "value" || name === "checked") element[name] = value;
        else element.setAttribute(name, value === true ? "" : value);
    }
    add(element, children);
    return element;
}

/* Lines on a field of 24 × 24. */
const PATHS = {
    plus: ["M12 5v14", "M5 12h14"],
    menu: ["M4 7h16", "M4 12h16", "M4 17h16"],
    close: ["M6 6l12 12", "M18 6L6 18"],
    down: ["M6 9.5l6 6 6-6"],
    left: ["M14.5 6l-6 6 6 6"],
    right: ["M9.5 6l6 6-6 6"],
    copy: ["M9 9h10v11H9z", "M15 9V4H5v11h4"],
    check: ["M5 12.5l4.5 4.5L19 7.5"],
    edit: ["M4 20l1-4L16.5 4.5l3 3L8 19z", "M14 7l3 3"],
    again: ["M19.5 12a7.5 7.5 0 1 1-2.2-5.3", "M20 3.5v4h-4"],
    stop: ["M7 7h10v10H7z"],
    send: ["M12 19V5", "M5.5 11.5L12 5l6.5 6.5"],
    two: ["M4 5h6.5v14H4z", "M13.5 5H20v14h-6.5z"],
    tune: ["M4 7h9", "M17 7h3", "M4 17h3", "M11 17h9", "M15 5v4", "M9 15v4"],
    sun: [
        "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
        "M12 3v2",
        "M12 19v2",
        "M3 12h2",
        "M19 12h2",
        "M5.6 5.6L7 7",
        "M17 17l1.4 1.4",
        "M18.4 5.6L17 7",
        "M7 17l-1.4 1.4",
    ],
    moon: ["M19.5 14A8 8 0 0 1 10 4.5a8 8 0 1 0 9.5 9.5z"],
    help: [
        "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z",
        "M9.6 9.7a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.2.9-1.2 1.8",
        "M12 16.7v.1",
    ],
    bin: ["M5 7h14", "M10 7V4.5h4V7", "M7 7l1 12.5h8L17 7"],
    search: ["M10.5 4.5a6 6 0 1 1 0 12 6 6 0 0 1 0-12z", "M15 15l5 5"],
    think: ["M12 4a6 6 0 0 0-3.5 10.9V17h7v-2.1A6 6 0 0 0 12 4z", "M9.5 20h5"],
    get: ["M12 4v11", "M6.5 10L12 15.5 17.5 10", "M5 19.5h14"],
    memory: ["M5 7h14v9H5z", "M8 16v3", "M12 16v3", "M16 16v3", "M8.5 10v3", "M12 10v3", "M15.5 10v3"],
    warn: ["M12 4l9 16H3z", "M12 10v4.5", "M12 17.2v.1"],
    side: ["M4 5h16v14H4z", "M9.5 5v14"],
};

function drawing(className, viewBox, paths) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", viewBox);
    svg.setAttribute("class", className);
    svg.setAttribute("aria-hidden", "true");
    for (const d of paths) {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", d);
        svg.append(path);
    }
    return svg;
}

export function icon(name) {
    return drawing("icon", "0 0 24 24", PATHS[name]);
}

/* A wave: the mark of the page. */
export function mark() {
    return drawing("mark", "0 0 32 20", [
        "M3 7c4.3-5.3 8.7-5.3 13 0s8.7 5.3 13 0",
        "M3 14c4.3-5.3 8.7-5.3 13 0s8.7 5.3 13 0",
    ]);
}

/* A button that shows an icon only; its label is its name and its tooltip. */
export function iconButton(name, label, onclick, more = {}) {
    return h("button.iconic", {type: "button", title: label, "aria-label": label, onclick, ...more}, icon(name));
}

/* navigator.clipboard is there in secure contexts only: over plain HTTP from another machine the old way is left. */
export async function copyText(text) {
    if (navigator.clipboard !== undefined) {
        try {
            await navigator.clipboard.writeText(text);
            return true;
        } catch {
            /* not allowed: the old way */
        }
    }
    const area = h("textarea.unseen", {"aria-hidden": "true", value: text});
    const focused = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
}

/* Calls listeners by name; one for the whole page. */
const listeners = new Map();

export function on(name, listener) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(listener);
}

export function emit(name, ...values) {
    for (const listener of [...(listeners.get(name) ?? [])]) listener(...values);
}

/* What listened goes: before the page's parts are made again. */
export function forgetListeners(names) {
    for (const name of names) listeners.delete(name);
}
