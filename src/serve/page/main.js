/* main.js - puts the page together, and the keys that work everywhere.
 *
 * The parts are made of what is known (conversation, models, preferences), so a change of language makes them anew. */
import {getJson} from "./api.js";
import {chat, isRunning, setModels, startConversation, stopAll, usualModels} from "./chat.js";
import {makeComposer} from "./composer.js";
import {notify, openHelp} from "./dialogs.js";
import {emit, forgetListeners, h, icon, iconButton, on} from "./dom.js";
import {language, t} from "./i18n.js";
import {modelOf, models, watchModels} from "./models.js";
import {openModels, watchModelsDialog} from "./models_dialog.js";
import {prefs, setPref} from "./prefs.js";
import {makeSettings} from "./settings_panel.js";
import {makeSidebar} from "./sidebar.js";
import {makeTranscript} from "./transcript.js";

const EVENTS = [
    "conversation",
    "running",
    "models",
    "pulls",
    "answer",
    "answered",
    "settings",
    "list",
    "look",
    "trouble",
];
const NARROW = window.matchMedia("(max-width: 800px)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

let parts = null,
    version = "";

/* ---- look -------------------------------------------------------------------------------------------------------- */

const isDark = () => (prefs.theme === "auto" ? DARK.matches : prefs.theme === "dark");

function applyTheme() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    emit("look");
}

function applyLanguage() {
    document.documentElement.lang = language();
    document.title = "houle";
}

/* On narrow screens the side covers the conversation, and is closed until it is asked for. */
function showSidebar(visible) {
    document.body.classList.toggle("with-sidebar", visible);
    parts.sidebar.root.inert = !visible;
    if (!NARROW.matches) setPref("sidebar", visible);
}

const toggleSidebar = () => showSidebar(!document.body.classList.contains("with-sidebar"));

function showSettings(visible) {
    parts.settings.show(visible);
    document.body.classList.toggle("with-settings", visible);
    if (!visible) parts.composer.focus();
}

/* ---- the bar above ----------------------------------------------------------------------------------------------- */

function modelButton(id, slot) {
    const model = modelOf(id);
    return h(
        "button.model-button",
        {type: "button", title: `${t("choose_model")} (Ctrl+K)`, onclick: () => openModels(slot)},
        h("i.dot", {"data-state": model?.status?.value ?? "unloaded"}),
        h("span", {}, id),
        icon("down"),
    );
}

function drawBar(bar) {
    const chosen = chat.conversation.models,
        buttons = chosen.map(modelButton);
    if (buttons.length === 0)
        buttons.push(
            h(
                "button.model-button",
                {type: "button", onclick: () => openModels(0)},
                h("span", {}, t("choose_model")),
                icon("down"),
            ),
        );
    if (chosen.length === 2) buttons.push(iconButton("close", t("one_model"), () => setModels(chosen.slice(0, 1))));
    else if (chosen.length === 1 && models.list.length > 0)
        buttons.push(iconButton("two", t("two_models"), () => openModels(1)));
    bar.replaceChildren(...buttons);
}

function makeBar() {
    const chosen = h("div.chosen");
    const theme = iconButton(isDark() ? "sun" : "moon", t("change_theme"), () => {
        setPref("theme", isDark() ? "light" : "dark");
        applyTheme();
    });
    on("look", () => theme.replaceChildren(icon(isDark() ? "sun" : "moon")));
    const draw = () => drawBar(chosen);
    on("conversation", draw);
    on("models", draw);
    return h(
        "header.bar",
        {},
        iconButton("side", `${t("conversations")} (Ctrl+B)`, toggleSidebar),
        chosen,
        h(
            "div.tools",
            {},
            theme,
            iconButton("tune", `${t("settings")} (Ctrl+,)`, () => showSettings(parts.settings.root.hidden)),
            iconButton("help", `${t("keys")} (?)`, () => openHelp(version)),
        ),
    );
}

/* ---- together ---------------------------------------------------------------------------------------------------- */

function mount() {
    const draft = parts?.composer.text() ?? "",
        settingsOpen = parts !== null && !parts.settings.root.hidden;
    forgetListeners(EVENTS);
    watchModelsDialog();
    on("trouble", (name, error) => notify(`${t(name)} ${error.message}`));
    on("models", () => {
        if (models.state === "ready" && chat.conversation.models.length === 0 && models.list.length > 0)
            setModels(usualModels());
    });
    applyTheme();
    applyLanguage();
    const transcript = makeTranscript({settings: () => showSettings(true), models: () => openModels(0)});
    const composer = makeComposer({models: () => openModels(0), editLast: () => transcript.editLast()});
    const settings = makeSettings({close: () => showSettings(false), look: mount});
    const sidebar = makeSidebar({
        models: () => openModels(0),
        close: () => {
            if (NARROW.matches) showSidebar(false);
            composer.focus();
        },
    });
    parts = {transcript, composer, settings, sidebar};
    const curtain = h("div.curtain", {onclick: () => showSidebar(false)});
    document.body.replaceChildren(
        h(
            "a.skip",
            {
                href: "#",
                onclick: (event) => {
                    event.preventDefault();
                    composer.focus();
                },
            },
            t("skip"),
        ),
        sidebar.root,
        curtain,
        h("div.middle", {}, makeBar(), transcript.root, composer.root),
        settings.root,
    );
    showSidebar(prefs.sidebar && !NARROW.matches);
    composer.setText(draft);
    for (const name of ["conversation", "running", "models"]) emit(name);
    if (settingsOpen) showSettings(true);
    else composer.focus();
}

async function main() {
    DARK.addEventListener("change", applyTheme);
    document.addEventListener("keydown", onKey);
    window.addEventListener("beforeunload", (event) => {
        if (isRunning()) event.preventDefault();
    });
    startConversation();
    mount();
    await watchModels();
    version = (await getJson("api/version").catch(() => ({version: ""}))).version;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

function onKey(event) {
    const control = event.ctrlKey || event.metaKey,
        key = event.key.toLowerCase();
    const typing = event.target.closest?.("input, textarea, select") !== null;
    if (document.querySelector("dialog[open]") !== null) return;
    if (control && !event.shiftKey && key === "k") openModels(0);
    else if (control && !event.shiftKey && key === "b") toggleSidebar();
    else if (control && key === ",") showSettings(parts.settings.root.hidden);
    else if (event.altKey && !control && event.code === "KeyN") startConversation();
    else if (key === "escape" && isRunning()) stopAll();
    else if (event.key === "?" && !typing) openHelp(version);
    else return;
    event.preventDefault();
}

main();
