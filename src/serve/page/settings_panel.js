/* settings_panel.js - at the side: what the model is told first, how its words are drawn, how the page looks, the key,
 * and the conversations as a file. */
import {chat, removeConversation, setSetting} from "./chat.js";
import {exportText, readExport} from "./conversation.js";
import {confirmFirst, notify} from "./dialogs.js";
import {emit, h, iconButton, on} from "./dom.js";
import {languages, t} from "./i18n.js";
import {reasoningOf, refreshModels} from "./models.js";
import {apiKey, prefs, setApiKey, setPref} from "./prefs.js";
import {allConversations, isLasting, listConversations, saveConversation} from "./store.js";

/* Bounds are the server's. */
const NUMBERS = [
    {name: "temperature", min: 0, max: 2, step: 0.05},
    {name: "top_p", min: 0, max: 1, step: 0.01},
    {name: "top_k", min: 0, step: 1},
    {name: "min_p", min: 0, max: 1, step: 0.01},
    {name: "max_tokens", min: 1, step: 1},
    {name: "seed", min: 0, step: 1},
];

let ids = 0;

/* A field with its label and, if there is one, an explanation that opens as a tooltip and is read out. */
function field(label, control, hint = null) {
    const id = `field-${++ids}`;
    control.id = id;
    if (hint !== null) control.setAttribute("aria-describedby", `${id}-hint`);
    return h(
        "div.field",
        {},
        h("label", {for: id}, label),
        control,
        hint === null ? null : h("p.hint", {id: `${id}-hint`}, hint),
    );
}

/* Buttons of which one is pressed. */
function segments(label, options, value, choose) {
    const group = h("div.segments", {role: "group", "aria-label": label});
    const draw = (current) =>
        group.replaceChildren(
            ...options.map(([name, words]) =>
                h(
                    "button",
                    {
                        type: "button",
                        "aria-pressed": String(name === current),
                        onclick: () => {
                            draw(name);
                            choose(name);
                        },
                    },
                    words,
                ),
            ),
        );
    draw(value);
    return h("div.field", {}, h("span.label", {}, label), group);
}

function numberField({name, min, max, step}) {
    const input = h("input", {
        type: "number",
        min,
        max,
        step,
        inputmode: "decimal",
        placeholder: t("model_own"),
        value: chat.conversation.settings[name],
        onchange: () => {
            if (input.checkValidity()) setSetting(name, input.value);
            else input.reportValidity();
        },
    });
    return field(t(name), input, t(`${name}_hint`));
}

function download(text, name) {
    const address = URL.createObjectURL(new Blob([text], {type: "application/json"}));
    h("a", {href: address, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
}

async function importFile(file) {
    try {
        const list = readExport(await file.text());
        for (const c of list) await saveConversation(c);
        notify(t("imported", {n: list.length}));
    } catch {
        notify(t("import_failed"));
    }
    emit("list");
}

async function deleteAll() {
    if (!(await confirmFirst(t("delete_all_question"), t("delete_all")))) return;
    for (const head of await listConversations()) await removeConversation(head.id);
}

function keptSection() {
    const file = h("input", {
        type: "file",
        accept: "application/json,.json",
        hidden: true,
        onchange: () => {
            if (file.files.length > 0) importFile(file.files[0]);
            file.value = "";
        },
    });
    const button = (words, action) => h("button.quiet", {type: "button", onclick: action}, words);
    const note = h("p.hint", {}, t("kept_hint"));
    isLasting().then((lasting) => {
        if (!lasting) note.textContent = t("not_kept_hint");
    });
    return h(
        "section",
        {},
        h("h2", {}, t("conversations")),
        note,
        file,
        h(
            "div.row.wrap",
            {},
            button(t("export_one"), () => download(exportText([chat.conversation]), "conversation.json")),
            button(t("export_all"), async () => download(exportText(await allConversations()), "conversations.json")),
            button(t("import"), () => file.click()),
            button(t("delete_all"), deleteAll),
        ),
    );
}

function keySection() {
    const input = h("input", {
        type: "password",
        autocomplete: "off",
        spellcheck: "false",
        placeholder: t("no_key"),
        value: apiKey() ?? "",
    });
    const use = async () => {
        setApiKey(input.value.trim());
        await refreshModels();
    };
    input.addEventListener("change", use);
    const form = h(
        "form",
        {onsubmit: (event) => event.preventDefault()},
        field(t("api_key"), input, t("api_key_hint")),
    );
    return h("section", {}, h("h2", {}, t("access")), form);
}

/* actions: {close, look}: look is called when theme or language have changed. */
export function makeSettings(actions) {
    const body = h("div.body");
    const root = h(
        "aside.settings",
        {
            "aria-label": t("settings"),
            hidden: true,
            tabindex: "-1",
            onkeydown: (event) => {
                if (event.key !== "Escape") return;
                event.stopPropagation();
                actions.close();
            },
        },
        h("header", {}, h("h1", {}, t("settings")), iconButton("close", t("close"), actions.close)),
        body,
    );

    function effortField() {
        const reasoning = reasoningOf(chat.conversation.models);
        if (reasoning === null) return null;
        const levels = reasoning.levels
            ? ["low", "medium", "high"].map((e) => [e, t(`effort_${e}`)])
            : [["medium", t("on")]];
        return segments(
            t("reasoning"),
            [["", t("auto")], ["none", t("off")], ...levels],
            chat.conversation.settings.effort,
            (value) => setSetting("effort", value),
        );
    }

    function draw() {
        const {settings} = chat.conversation;
        const system = h("textarea", {
            rows: "5",
            placeholder: t("system_placeholder"),
            value: settings.system,
            onchange: () => setSetting("system", system.value),
        });
        const numbers = NUMBERS.map(numberField);
        body.replaceChildren(
            h(
                "section",
                {},
                h("h2", {}, t("this_conversation")),
                field(t("system"), system),
                effortField() ?? "",
                h("div.grid", {}, numbers),
                h(
                    "button.quiet",
                    {
                        type: "button",
                        onclick: () => {
                            for (const {name} of NUMBERS) setSetting(name, "");
                            draw();
                        },
                    },
                    t("reset"),
                ),
            ),
            h(
                "section",
                {},
                h("h2", {}, t("look")),
                segments(
                    t("theme"),
                    [
                        ["auto", t("auto")],
                        ["light", t("light")],
                        ["dark", t("dark")],
                    ],
                    prefs.theme,
                    (value) => {
                        setPref("theme", value);
                        actions.look();
                    },
                ),
                segments(
                    t("language"),
                    [["auto", t("auto")], ...Object.entries(languages).map(([tag, l]) => [tag, l.own_name])],
                    prefs.language,
                    (value) => {
                        setPref("language", value);
                        actions.look();
                    },
                ),
            ),
            keySection(),
            keptSection(),
        );
    }

    on("look", () => !root.hidden && draw());
    on("conversation", () => !root.hidden && !body.contains(document.activeElement) && draw());
    return {
        root,
        show(visible) {
            root.hidden = !visible;
            if (visible) {
                draw();
                root.focus();
            }
        },
    };
}
