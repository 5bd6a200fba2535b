/* api.js - talking to the server: JSON, server-sent events, lines of JSON; what goes wrong becomes a Failure.
 *
 * Addresses are relative, so the page also works behind a proxy that serves it under a path. */
import {apiKey} from "./prefs.js";

const BASE = new URL("..", import.meta.url);

/* kind: "network" (no answer), "broken" (it ended in the middle), or the server's code; status: of HTTP, 0 without. */
export class Failure extends Error {
    constructor(kind, message, status = 0, retryAfter = null) {
        super(message);
        this.kind = kind;
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

/* The APIs tell errors in forms of their own: {error: {message, code}} and {error: "text"}. */
export function failureOf(value, status, retryAfter) {
    const error = value?.error;
    if (typeof error === "string") return new Failure("", error, status, retryAfter);
    return new Failure(error?.code ?? error?.type ?? "", error?.message ?? `HTTP ${status}`, status, retryAfter);
}

async function request(path, {method = "GET", body, signal} = {}) {
    const headers = {};
    if (apiKey() !== null) headers.Authorization = `Bearer ${apiKey()}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
        response = await fetch(new URL(path, BASE), {
            method,
            headers,
            signal,
            body: body === undefined ? undefined : JSON.stringify(body),
            cache: "no-store",
        });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Failure("network", String(error.message));
    }
    if (response.ok) return response;
    const value = await response.json().catch(() => null);
    const after = Number(response.headers.get("Retry-After"));
    throw failureOf(value, response.status, after > 0 ? after : null);
}

export async function getJson(path, options) {
    return (await request(path, options)).json();
}

export async function postJson(path, body, options) {
    const text = await (await request(path, {...options, method: "POST", body})).text();
    return text === "" ? null : JSON.parse(text);
}

/* The lines of a body as they come. */
async function* linesOf(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    try {
        for (;;) {
            let read;
            try {
                read = await reader.read();
            } catch (error) {
                if (error.name === "AbortError") throw error;
                throw new Failure("broken", String(error.message));
            }
            rest += decoder.decode(read.value ?? new Uint8Array(), {stream: !read.done});
            const lines = rest.split("\n");
            rest = lines.pop();
            for (const line of lines) yield line.endsWith("\r") ? line.slice(0, -1) : line;
            if (read.done) break;
        }
        if (rest !== "") yield rest;
    } finally {
        reader.cancel().catch(() => {}); /* whoever stops listening stops the work */
    }
}

/* The events of a stream, parsed; ends at [DONE]. A stream that ends without it was cut. */
export async function* streamEvents(path, body, signal) {
    const response = await request(path, {method: "POST", body, signal});
    for await (const line of linesOf(response)) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const value = JSON.parse(data);
        if (value.error !== undefined) throw failureOf(value, 200, null);
        yield value;
    }
    throw new Failure("broken", "");
}

/* The objects of a stream of lines. */
export async function* streamLines(path, body, signal) {
    const response = await request(path, {method: "POST", body, signal});
    for await (const line of linesOf(response)) {
        if (line.trim() === "") continue;
        const value = JSON.parse(line);
        if (value.error !== undefined) throw failureOf(value, 200, null);
        yield value;
    }
}
