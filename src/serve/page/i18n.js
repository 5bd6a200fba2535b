/* i18n.js - the page's language: words with holes, numbers, sizes, dates. words.js has the texts. */
import {english, french} from "./words.js";
import {prefs} from "./prefs.js";

export const languages = {en: english, fr: french};

/* The user's choice, else the first of the browser's languages that the page speaks. */
export function language() {
    if (prefs.language in languages) return prefs.language;
    for (const tag of navigator.languages ?? [navigator.language]) {
        const short = String(tag).slice(0, 2).toLowerCase();
        if (short in languages) return short;
    }
    return "en";
}

/* The text of a name; {holes} are filled from `values`. */
export function t(name, values = {}) {
    const text = languages[language()][name] ?? english[name] ?? name;
    return text.replace(/\{(\w+)\}/g, (hole, key) => (key in values ? String(values[key]) : hole));
}

export function number(value, digits = 0) {
    return new Intl.NumberFormat(language(), {minimumFractionDigits: digits, maximumFractionDigits: digits}).format(
        value,
    );
}

/* Decimal units, as publishers of models use them: 4.7 GB; in French 4,7 Go. */
export function bytes(value) {
    const unit = language() === "fr" ? "o" : "B";
    const steps = ["", "k", "M", "G", "T"];
    let at = 0;
    while (value >= 999.5 && at < steps.length - 1) {
        value /= 1000;
        at++;
    }
    return `${number(value, at > 0 && value < 9.95 ? 1 : 0)}\u00a0${steps[at]}${unit}`;
}

export function seconds(value) {
    if (value < 1) return `${number(value * 1000)}\u00a0ms`;
    if (value < 100) return `${number(value, value < 10 ? 1 : 0)}\u00a0s`;
    return `${number(Math.floor(value / 60))}\u00a0min ${number(Math.floor(value % 60))}\u00a0s`;
}

/* 131072 -> 128 k: contexts are powers of two. */
export function tokens(value) {
    return value >= 1024 && value % 1024 === 0 ? `${number(value / 1024)}\u00a0k` : number(value);
}

/* In which part of a list of conversations a time belongs. */
export function age(time) {
    const day = 86400000;
    const midnight = new Date().setHours(0, 0, 0, 0);
    if (time >= midnight) return t("today");
    if (time >= midnight - day) return t("yesterday");
    if (time >= midnight - 7 * day) return t("week");
    return new Intl.DateTimeFormat(language(), {month: "long", year: "numeric"}).format(time);
}
