/* sidebar.js - the conversations kept in this browser: to open, rename, delete; and the models' memory. */
import {chat, openConversation, removeConversation, renameConversation, startConversation} from "./chat.js";
import {confirmFirst} from "./dialogs.js";
import {h, icon, iconButton, mark, on} from "./dom.js";
import {age, t} from "./i18n.js";
import {memoryParts} from "./model_facts.js";
import {models} from "./models.js";
import {listConversations} from "./store.js";

/* actions: {models, close}: close is called when something was chosen, for narrow screens. */
export function makeSidebar(actions) {
    const list = h("nav.list", {"aria-label": t("conversations")});
    const filter = h("input", {
        type: "search",
        placeholder: t("search"),
        "aria-label": t("search_conversations"),
        oninput: () => draw(),
    });
    const gauge = h("button.gauge", {type: "button", onclick: actions.models});
    const start = h(
        "button.new",
        {
            type: "button",
            title: "Alt+N",
            onclick: () => {
                startConversation();
                actions.close();
            },
        },
        icon("plus"),
        t("new_conversation"),
    );
    const root = h(
        "aside.sidebar",
        {"aria-label": t("conversations")},
        h("div.brand", {}, mark(), h("span", {}, "houle"), iconButton("close", t("close"), actions.close)),
        start,
        h("label.search", {}, icon("search"), filter),
        list,
        gauge,
    );
    let heads = [],
        loading = 0;

    function rename(head, item) {
        const input = h("input.rename", {value: head.title, "aria-label": t("rename")});
        let over = false;
        const end = async (keep) => {
            if (over) return;
            over = true;
            if (keep) await renameConversation(head.id, input.value);
            draw();
        };
        input.addEventListener("keydown", (event) => {
            if (event.key === "Enter") end(true);
            if (event.key === "Escape") {
                event.stopPropagation();
                end(false);
            }
        });
        input.addEventListener("blur", () => end(true));
        item.replaceChildren(input);
        input.select();
    }

    function entry(head) {
        const current = head.id === chat.conversation?.id;
        const open = h(
            "button.open",
            {
                type: "button",
                "aria-current": current ? "true" : null,
                title: head.title,
                onclick: async () => {
                    await openConversation(head.id);
                    actions.close();
                },
            },
            head.title || t("untitled"),
        );
        const item = h(
            "div.item",
            {},
            open,
            h(
                "span.tools",
                {},
                iconButton("edit", t("rename"), () => rename(head, item)),
                iconButton("bin", t("delete"), async () => {
                    if (await confirmFirst(t("delete_question", {title: head.title}), t("delete")))
                        await removeConversation(head.id);
                }),
            ),
        );
        item.classList.toggle("current", current);
        return item;
    }

    function draw() {
        if (list.querySelector(".rename") === document.activeElement && document.activeElement !== null) return;
        const wanted = filter.value.trim().toLocaleLowerCase();
        const parts = [];
        let group = null;
        for (const head of heads) {
            if (wanted !== "" && !head.title.toLocaleLowerCase().includes(wanted)) continue;
            if (age(head.updated) !== group) parts.push(h("h2", {}, (group = age(head.updated))));
            parts.push(entry(head));
        }
        if (parts.length === 0) parts.push(h("p.hint", {}, wanted === "" ? t("no_conversations") : t("nothing_found")));
        list.replaceChildren(...parts);
    }

    async function renew() {
        const turn = ++loading; /* of answers that overtake one another, the last question's counts */
        const found = await listConversations();
        if (turn !== loading) return;
        heads = found;
        draw();
    }

    function drawGauge() {
        const {memory} = models;
        gauge.hidden = memory === null;
        if (memory === null) return;
        const loaded = models.list.filter((m) => m.status?.value === "loaded").length;
        gauge.replaceChildren(...memoryParts(memory));
        gauge.title = t("models_loaded", {n: loaded});
    }

    on("list", renew);
    on("conversation", draw);
    on("models", drawGauge);
    drawGauge();
    renew();
    return {root};
}
