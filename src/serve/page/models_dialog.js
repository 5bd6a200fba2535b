/* models_dialog.js - the window of models: choosing one (or two side by side), loading and unloading, downloads.
 *
 * The list is drawn again whenever something is new; what has the focus is found again by its name. */
import {chat, setModels} from "./chat.js";
import {notify, openDialog} from "./dialogs.js";
import {h, icon, on} from "./dom.js";
import {bytes, number, seconds, t} from "./i18n.js";
import {factsOf, memoryParts, stateOf} from "./model_facts.js";
import {
    busyWith,
    cancelPull,
    detailsOf,
    dismissPull,
    loadModel,
    models,
    pulls,
    refreshModels,
    startPull,
    unloadModel,
} from "./models.js";

let opened = null,
    drawModels = () => {},
    drawDownloads = () => {};

/* slot: which of the conversation's models is chosen, 0 or 1 (side by side). */
function choose(slot, id) {
    const list = [...chat.conversation.models];
    list[slot] = id;
    setModels(list.filter((m) => m !== undefined).slice(0, 2));
}

async function attempt(action) {
    try {
        await action();
    } catch (failure) {
        notify(failure.message);
    }
}

/* ---- one model --------------------------------------------------------------------------------------------------- */

function modelRow(model, slot, close) {
    const state = model.status?.value ?? "unloaded",
        busy = busyWith(model.id);
    const chosen = chat.conversation.models[slot] === model.id;
    const loaded = state === "loaded";
    const act = h(
        "button.quiet",
        {
            type: "button",
            "data-focus": `act ${model.id}`,
            disabled: busy !== undefined || state === "loading" || state === "unloading",
            onclick: () => attempt(() => (loaded ? unloadModel(model.id) : loadModel(model.id))),
        },
        busy === "load" || state === "loading"
            ? t("loading")
            : busy === "unload" || state === "unloading"
              ? t("unloading")
              : loaded
                ? t("unload")
                : t("load"),
    );
    const pick = h(
        "button.pick",
        {
            type: "button",
            "data-focus": `pick ${model.id}`,
            "aria-pressed": String(chosen),
            onclick: () => {
                choose(slot, model.id);
                close();
            },
        },
        h("span.tick", {}, chosen ? icon("check") : null),
        h(
            "span.what",
            {},
            h("strong", {}, model.id),
            h("span.facts", {}, factsOf(model, detailsOf(model.id)).join(" · ")),
            model.error !== undefined ? h("span.wrong", {}, model.error) : null,
        ),
    );
    const row = h(
        "li.model",
        {},
        pick,
        h("span.state", {"data-state": busy ?? state}, h("i.dot"), stateOf(model)),
        act,
    );
    row.classList.toggle("chosen", chosen);
    return row;
}

/* ---- downloads --------------------------------------------------------------------------------------------------- */

function pullWords(pull) {
    if (pull.state === "done") return t("pull_done");
    if (pull.state === "stopped") return t("pull_stopped", {done: bytes(pull.completed)});
    if (pull.total === 0) return t("pull_begins");
    const parts = [t("pull_bytes", {done: bytes(pull.completed), total: bytes(pull.total)})];
    if (pull.rate > 0) {
        parts.push(t("per_second", {bytes: bytes(pull.rate)}));
        if (pull.completed < pull.total)
            parts.push(t("time_left", {time: seconds((pull.total - pull.completed) / pull.rate)}));
    }
    return parts.join(" · ");
}

function pullAdvice(error) {
    if (error.kind === "network" || error.kind === "broken") return t("advice_network");
    if (error.status === 401) return t("advice_key");
    if (error.status === 403) return t("advice_pull_denied");
    return t("advice_pull");
}

function pullRow(pull) {
    const failed = pull.state === "failed",
        runs = pull.state === "running";
    const share = pull.total > 0 ? pull.completed / pull.total : 0;
    const bar = h("progress", {
        max: 1,
        value: pull.total > 0 || pull.state === "done" ? (pull.state === "done" ? 1 : share) : null,
        "aria-label": pull.name,
    });
    const words = failed
        ? h(
              "div.failure",
              {role: "alert"},
              icon("warn"),
              h("div", {}, h("p", {}, pull.error.message), h("p.advice", {}, pullAdvice(pull.error))),
          )
        : h("span.hint", {}, pullWords(pull), runs && pull.total > 0 ? ` · ${number(100 * share)} %` : "");
    const button = (name, label, action) =>
        h("button.quiet", {type: "button", "data-focus": `${name} ${pull.name}`, onclick: action}, label);
    return h(
        "li.pull",
        {},
        h(
            "div.row",
            {},
            h("strong", {}, pull.name),
            runs
                ? button("cancel", t("cancel"), () => cancelPull(pull.name))
                : [
                      pull.state === "done" ? null : button("again", t("try_again"), () => startPull(pull.name)),
                      button("dismiss", t("dismiss"), () => dismissPull(pull.name)),
                  ],
        ),
        failed ? null : bar,
        words,
    );
}

/* ---- the window -------------------------------------------------------------------------------------------------- */

export function openModels(slot = 0) {
    if (opened !== null) return;
    const list = h("ul.models"),
        downloads = h("ul.pulls", {"aria-live": "polite"}),
        memory = h("div.memory");
    const filter = h("input", {type: "search", placeholder: t("find_model"), "aria-label": t("find_model")});
    const name = h("input", {
        type: "text",
        placeholder: "owner/name",
        "aria-label": t("name_on_hub"),
        spellcheck: "false",
        autocomplete: "off",
    });
    const submit = () => {
        if (name.value.trim() === "") return;
        startPull(name.value.trim());
        name.value = "";
    };
    name.addEventListener("keydown", (event) => {
        if (event.key === "Enter") submit();
    });
    const close = () => opened?.close();
    const found = () => {
        const wanted = filter.value.trim().toLocaleLowerCase();
        return models.list.filter((m) => m.id.toLocaleLowerCase().includes(wanted));
    };

    function draw() {
        const focus = document.activeElement?.dataset?.focus;
        const shown = found();
        list.replaceChildren(...shown.map((m) => modelRow(m, slot, close)));
        if (shown.length === 0)
            list.append(h("li.hint", {}, models.list.length === 0 ? t("no_models_more") : t("nothing_found")));
        drawPulls();
        if (models.memory !== null) memory.replaceChildren(...memoryParts(models.memory));
        if (focus !== undefined && focus !== "") opened?.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
    }
    function drawPulls() {
        const focus = document.activeElement?.dataset?.focus;
        downloads.replaceChildren(...[...pulls.values()].map(pullRow));
        if (focus !== undefined && focus !== "")
            downloads.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
    }

    /* The arrows go through the list; Enter in the field takes the first. */
    const content = h(
        "div.content",
        {
            onkeydown: (event) => {
                const picks = [...list.querySelectorAll(".pick")],
                    at = picks.indexOf(document.activeElement);
                if (event.key === "ArrowDown" && (at >= 0 || event.target === filter))
                    picks[Math.min(at + 1, picks.length - 1)]?.focus();
                else if (event.key === "ArrowUp" && at >= 0) (at === 0 ? filter : picks[at - 1]).focus();
                else if (event.key === "Enter" && event.target === filter) picks[0]?.click();
                else return;
                event.preventDefault();
            },
        },
        h("label.search", {}, icon("search"), filter),
        list,
        memory,
        h(
            "section.get",
            {},
            h("h2", {}, icon("get"), t("get_model")),
            h("p.hint", {}, t("get_model_more")),
            h("div.row", {}, name, h("button.primary", {type: "button", onclick: submit}, t("download"))),
            downloads,
        ),
    );
    filter.addEventListener("input", draw);

    opened = openDialog("wide", slot === 1 ? t("second_model") : t("models"), content, () => {
        opened = null;
    });
    drawModels = draw;
    drawDownloads = drawPulls;
    draw();
    filter.focus();
    refreshModels();
}

/* Called once: what the window shows follows the models and the downloads. */
export function watchModelsDialog() {
    on("models", () => opened !== null && drawModels());
    on("pulls", () => opened !== null && drawDownloads());
}
