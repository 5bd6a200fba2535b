/* model_facts.js - what is known of a model, in few words: size, licence, context, speed, state; and of all together: memory. */
import {h, icon} from "./dom.js";
import {bytes, number, t, tokens} from "./i18n.js";

/* details: of detailsOf(), or null. Texts, in the order in which one wants to know them. */
export function factsOf(model, details, {state = false} = {}) {
    const meta = model.meta ?? {},
        facts = [];
    if (details?.label) facts.push(details.label);
    if (meta.size > 0) facts.push(bytes(meta.size));
    facts.push(meta.licence || details?.licence || t("licence_unknown"));
    const context = model.context_length ?? details?.context;
    if (context > 0) facts.push(t("context_of", {n: tokens(context)}));
    if (meta.tokens_per_second > 0)
        facts.push(t("rate", {rate: number(meta.tokens_per_second, meta.tokens_per_second < 10 ? 1 : 0)}));
    if (state) facts.push(stateOf(model));
    return facts;
}

export function stateOf(model) {
    const value = model.status?.value ?? "unloaded";
    return value === "loaded" && model.meta?.memory_bytes > 0
        ? t("state_loaded_in", {bytes: bytes(model.meta.memory_bytes)})
        : t(`state_${value}`);
}

/* memory: {used_bytes, budget_bytes} of all models together; in words and as a gauge. */
export function memoryParts(memory) {
    const {used_bytes: used, budget_bytes: budget} = memory;
    return [
        icon("memory"),
        h("span", {}, t("memory_used", {used: bytes(used), budget: bytes(budget)})),
        h("meter", {min: 0, max: budget, value: used, "aria-label": t("memory_of_models")}),
    ];
}
