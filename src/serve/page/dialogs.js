/* dialogs.js - windows over the page: <dialog> keeps the focus inside and closes with Esc. Also short notices. */
import {h, iconButton} from "./dom.js";
import {t} from "./i18n.js";

/* Opens a window with a title; resolves when it is closed. */
export function openDialog(kind, title, content, onclose = () => {}) {
    const dialog = h(
        `dialog.${kind}`,
        {
            "aria-label": title,
            onclick: (event) => {
                if (event.target === dialog) dialog.close(); /* beside it */
            },
        },
        h(
            "div.window",
            {},
            h(
                "header",
                {},
                h("h1", {}, title),
                iconButton("close", t("close"), () => dialog.close()),
            ),
            content,
        ),
    );
    dialog.addEventListener("close", () => {
        dialog.remove();
        onclose();
        /* The focus is back where it was, but the caret went with the window's field: in Chromium what is typed would
         * go nowhere until the field is focused anew. */
        const back = document.activeElement;
        if (back !== null && back !== document.body) {
            back.blur();
            back.focus();
        }
    });
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
}

/* Asks before something that cannot be undone. */
export function confirmFirst(question, verb) {
    return new Promise((resolve) => {
        let sure = false;
        const no = h("button.quiet", {type: "button", onclick: () => dialog.close()}, t("cancel"));
        const yes = h(
            "button.primary.danger",
            {
                type: "button",
                onclick: () => {
                    sure = true;
                    dialog.close();
                },
            },
            verb,
        );
        const dialog = openDialog("small", t("sure"), [h("p", {}, question), h("div.row.end", {}, no, yes)], () =>
            resolve(sure),
        );
        yes.focus();
    });
}

const KEYS = [
    [["Enter"], "key_send"],
    [["Shift", "Enter"], "key_line"],
    [["Esc"], "key_stop"],
    [["↑"], "key_edit"],
    [["Ctrl", "K"], "key_models"],
    [["Alt", "N"], "key_new"],
    [["Ctrl", "B"], "key_sidebar"],
    [["Ctrl", ","], "key_settings"],
    [["?"], "key_help"],
];

export function openHelp(version) {
    const rows = KEYS.map(([keys, name]) =>
        h(
            "div.key-row",
            {},
            h("dd", {}, t(name)),
            h(
                "dt",
                {},
                keys.map((k) => h("kbd", {}, k)),
            ),
        ),
    );
    return openDialog("small", t("keys"), [
        h("dl.keys", {}, rows),
        h("p.hint", {}, t("about")),
        h("p.hint", {}, `houle ${version}`),
    ]);
}

/* A line that goes by itself. */
export function notify(text) {
    const line = h("div.notice", {role: "status"}, text);
    document.body.append(line);
    setTimeout(() => line.remove(), 5000);
}
