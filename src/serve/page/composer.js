/* composer.js - where questions are written. */
import {ask, chat, isRunning, setSetting, stopAll} from "./chat.js";
import {h, icon, on} from "./dom.js";
import {t} from "./i18n.js";
import {reasoningOf} from "./models.js";

const HEIGHT_MAX = 0.4; /* of the window */

/* What a click on the chip of reasoning changes to: models whose template knows efforts have those. */
function nextEffort(effort, efforts) {
    const order = efforts ? ["", "none", "low", "medium", "high"] : ["", "none", "medium"];
    return order[(order.indexOf(effort) + 1) % order.length];
}

function effortWords(effort, efforts) {
    if (effort === "") return t("think_auto");
    if (effort === "none") return t("think_off");
    return efforts ? t(`think_${effort}`) : t("think_on");
}

/* actions: {models, editLast} */
export function makeComposer(actions) {
    const area = h("textarea", {
        rows: "1",
        placeholder: t("ask_placeholder"),
        "aria-label": t("ask_placeholder"),
        enterkeyhint: "send",
    });
    const send = h("button.send", {type: "button"});
    const think = h("button.chip", {type: "button", hidden: true});
    const root = h(
        "div.composer",
        {},
        h(
            "div.box",
            {
                onclick: (event) => {
                    if (event.target === event.currentTarget) area.focus();
                },
            },
            area,
            h("div.row", {}, think, h("span.hint", {}, t("send_hint")), send),
        ),
    );

    const fit = () => {
        area.style.height = "auto";
        area.style.height = `${Math.min(area.scrollHeight, window.innerHeight * HEIGHT_MAX)}px`;
    };
    const renewSend = () => {
        const active = isRunning();
        const label = active ? t("stop") : t("send");
        send.replaceChildren(icon(active ? "stop" : "send"));
        send.title = label;
        send.setAttribute("aria-label", label);
        send.disabled = !active && area.value.trim() === "";
        send.classList.toggle("stops", active);
    };
    const renewThink = () => {
        const {models, settings} = chat.conversation;
        const {effort} = settings,
            reasoning = reasoningOf(models),
            efforts = reasoning?.levels ?? false;
        think.hidden = reasoning === null;
        think.replaceChildren(icon("think"), effortWords(effort, efforts));
        think.title = t("think_title");
        think.classList.toggle("set", effort !== "");
        think.onclick = () => setSetting("effort", nextEffort(effort, efforts));
    };
    const submit = () => {
        const text = area.value.trim();
        if (text === "" || isRunning()) return;
        if (!ask(text)) {
            actions.models();
            return;
        }
        area.value = "";
        fit();
        renewSend();
    };

    send.addEventListener("click", () => (isRunning() ? stopAll() : submit()));
    area.addEventListener("input", () => {
        fit();
        renewSend();
    });
    area.addEventListener("keydown", (event) => {
        if (event.isComposing) return;
        if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
            event.preventDefault();
            submit();
        } else if (event.key === "ArrowUp" && area.value === "" && actions.editLast()) event.preventDefault();
    });
    on("running", renewSend);
    for (const name of ["conversation", "models", "settings"]) on(name, renewThink);
    renewSend();

    return {
        root,
        focus: () => area.focus(),
        text: () => area.value,
        setText(text) {
            area.value = text;
            fit();
            renewSend();
        },
    };
}
