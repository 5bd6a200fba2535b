/* transcript.js - the conversation as it is read: questions, replies, branches, what goes wrong, and what it took.
 *
 * Each node of the conversation has a view, made once and kept while the conversation is shown, so that asking or
 * changing the branch moves elements instead of making them anew. */
import {askInstead, chat, goOnWith, isReplyRunning, isRunning, regenerate, showBranch, stopReply} from "./chat.js";
import {isActive, pathOf, siblingsOf} from "./conversation.js";
import {copyText, h, icon, iconButton, mark, on} from "./dom.js";
import {number, seconds, t, tokens} from "./i18n.js";
import {MarkdownView} from "./markdown_view.js";
import {detailsOf, modelOf, models} from "./models.js";
import {factsOf} from "./model_facts.js";

const NEAR = 48; /* pixels from the end within which the view follows what is written */

/* ---- parts of both ----------------------------------------------------------------------------------------------- */

function copyButton(textOf) {
    const button = iconButton("copy", t("copy"), async () => {
        if (!(await copyText(textOf()))) return;
        button.replaceChildren(icon("check"));
        setTimeout(() => button.replaceChildren(icon("copy")), 1600);
    });
    return button;
}

/* < 2/3 > */
function branchSwitch(node) {
    const siblings = siblingsOf(chat.conversation, node);
    if (siblings.length < 2) return null;
    const at = siblings.findIndex((n) => n.id === node.id);
    const step = (by, name, label) =>
        iconButton(name, label, () => showBranch(siblings[at + by]), {disabled: siblings[at + by] === undefined});
    return h(
        "span.branches",
        {role: "group", "aria-label": t("branches")},
        step(-1, "left", t("branch_before")),
        h("span", {}, `${at + 1}/${siblings.length}`),
        step(1, "right", t("branch_after")),
    );
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

class QuestionView {
    constructor(node) {
        this.node = node;
        this.body = h("div.bubble", {}, node.text);
        this.footer = h("footer.actions");
        this.root = h("article.question", {"aria-label": t("you")}, this.body, this.footer);
    }

    update() {
        this.footer.replaceChildren();
        const parts = [
            branchSwitch(this.node),
            copyButton(() => this.node.text),
            iconButton("edit", t("edit"), () => this.edit()),
        ];
        this.footer.append(...parts.filter((p) => p !== null));
    }

    edit() {
        const area = h("textarea", {
            "aria-label": t("edit"),
            rows: Math.min(12, this.node.text.split("\n").length + 1),
            value: this.node.text,
        });
        const end = () => {
            form.replaceWith(this.body);
            this.footer.hidden = false;
        };
        const send = () => {
            if (area.value.trim() === "" || isRunning()) return;
            end();
            askInstead(this.node, area.value.trim());
        };
        const form = h(
            "div.editor",
            {
                onkeydown: (event) => {
                    if (event.key === "Escape") {
                        event.stopPropagation();
                        end();
                    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
                        event.preventDefault();
                        send();
                    }
                },
            },
            area,
            h(
                "div.row",
                {},
                h("span.hint", {}, t("edit_hint")),
                h("button.quiet", {type: "button", onclick: end}, t("cancel")),
                h("button.primary", {type: "button", onclick: send}, t("send")),
            ),
        );
        this.body.replaceWith(form);
        this.footer.hidden = true;
        area.focus();
        area.setSelectionRange(area.value.length, area.value.length);
    }
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

/* What to do about a failure; the server's own words stand before it. */
function adviceFor(error) {
    if (error.kind === "network") return t("advice_network");
    if (error.kind === "broken") return t("advice_broken");
    if (error.kind === "context_length_exceeded") return t("advice_context");
    if (error.status === 401) return t("advice_key");
    if (error.status === 403) return t("advice_denied");
    if (error.status === 404) return t("advice_model");
    if (error.status === 429 || error.status === 503) return t("advice_busy");
    if (error.status === 400) return t("advice_request");
    return t("advice_server");
}

class LaneView {
    constructor(reply, lane) {
        this.reply = reply;
        this.lane = lane;
        this.answer = reply.answers[lane];
        this.prose = h("div.prose");
        this.thoughts = h("div.prose");
        this.summary = h("summary");
        this.reasoning = h("details.reasoning", {hidden: true}, this.summary, this.thoughts);
        this.status = h("div.status", {hidden: true});
        this.failure = h("div.failure", {hidden: true, role: "alert"});
        this.stats = h("div.stats", {hidden: true});
        this.content = new MarkdownView(this.prose);
        this.reasons = new MarkdownView(this.thoughts);
        this.root = h(
            "section.lane",
            {"aria-label": this.answer.model},
            h("header", {}, mark(), h("span.name", {title: this.answer.model}, this.answer.model)),
            this.reasoning,
            this.prose,
            this.status,
            this.failure,
            this.stats,
        );
    }

    update() {
        const {answer} = this;
        const active = isReplyRunning(this.reply) && isActive(answer);
        this.root.setAttribute("aria-busy", String(active));
        this.content.set(answer.content, active);
        this.prose.classList.toggle("growing", active && answer.content !== "");
        this.reasoning.hidden = answer.reasoning === "";
        if (answer.reasoning !== "") {
            const thinking = active && answer.content === "";
            this.reasons.set(answer.reasoning, thinking);
            this.reasoning.classList.toggle("active", thinking);
            this.summary.replaceChildren(
                icon("think"),
                thinking ? t("thinking") : t("thought", {time: seconds((answer.reasoningMs ?? 0) / 1000)}),
            );
        }
        this.showStatus(active);
        this.showFailure();
        this.showStats(active);
    }

    showStatus(active) {
        const {answer} = this;
        const waits = active && answer.content === "" && answer.reasoning === "";
        this.status.hidden = !waits;
        if (!waits) return;
        const progress = answer.progress;
        const words =
            answer.state === "loading"
                ? t("loading_model", {model: answer.model})
                : progress && progress.total > 0
                  ? t("reading_prompt", {done: number(progress.processed), total: number(progress.total)})
                  : t("waiting");
        const parts = [h("span.pulse"), h("span", {}, words)];
        if (progress && progress.total > 256)
            parts.push(h("progress", {max: progress.total, value: progress.processed, "aria-label": words}));
        this.status.replaceChildren(...parts);
    }

    showFailure() {
        const {answer} = this;
        const failed = answer.state === "failed" && answer.error !== null;
        this.failure.hidden = !failed;
        if (!failed) return;
        this.failure.replaceChildren(
            icon("warn"),
            h(
                "div",
                {},
                answer.error.message !== "" && answer.error.kind !== "network"
                    ? h("p", {}, answer.error.message)
                    : null,
                h("p.advice", {}, adviceFor(answer.error)),
                h(
                    "button.quiet",
                    {type: "button", onclick: () => regenerate(this.reply)},
                    icon("again"),
                    t("try_again"),
                ),
            ),
        );
    }

    showStats(active) {
        const {answer} = this,
            parts = [];
        if (answer.rate !== null && answer.rate > 0)
            parts.push(t("rate", {rate: number(answer.rate, answer.rate < 10 ? 1 : 0)}));
        if (answer.firstMs !== null) parts.push(t("first_token", {time: seconds(answer.firstMs / 1000)}));
        if (answer.usage !== null) parts.push(t("tokens_written", {n: number(answer.usage.generated)}));
        if (!active && answer.state === "stopped") parts.push(t("was_stopped"));
        if (answer.finish === "length") parts.push(t("was_cut"));
        this.stats.hidden = parts.length === 0;
        this.stats.title =
            answer.usage === null
                ? ""
                : t("prompt_tokens", {n: number(answer.usage.prompt), cached: number(answer.usage.cached)});
        this.stats.textContent = parts.join(" · ");
    }
}

class ReplyView {
    constructor(node) {
        this.node = node;
        this.lanes = node.answers.map((_, lane) => new LaneView(node, lane));
        this.footer = h("footer.actions");
        const body = h(
            "div.lanes",
            {},
            this.lanes.map((l) => l.root),
        );
        this.root = h("article.reply", {"aria-label": t("answer")}, body, this.footer);
        this.root.classList.toggle("two", this.lanes.length > 1);
    }

    update() {
        this.lanes.forEach((lane) => lane.update());
        const active = isReplyRunning(this.node),
            two = this.lanes.length > 1;
        const parts = [branchSwitch(this.node)];
        if (!two) parts.push(copyButton(() => this.node.answers[0].content));
        parts.push(iconButton("again", t("regenerate"), () => regenerate(this.node), {disabled: isRunning()}));
        this.footer.replaceChildren(...parts.filter((p) => p !== null));
        this.footer.hidden = active;
        if (two) this.lanes.forEach((lane, i) => this.laneActions(lane, i, active));
    }

    laneActions(lane, i, active) {
        lane.actions?.remove();
        const answering = active && isActive(lane.answer);
        const chosen = this.node.chosen === i && chat.conversation.models.length === 1;
        lane.actions = h(
            "div.lane-actions",
            {},
            answering ? iconButton("stop", t("stop"), () => stopReply(this.node.id, i)) : null,
            copyButton(() => lane.answer.content),
            active
                ? null
                : h(
                      "button.quiet",
                      {type: "button", "aria-pressed": String(chosen), onclick: () => goOnWith(this.node, i)},
                      chosen ? icon("check") : null,
                      t("go_on_with"),
                  ),
        );
        lane.root.append(lane.actions);
    }
}

/* ---- when there is nothing yet ----------------------------------------------------------------------------------- */

function welcome(actions) {
    const button = (label, action) => h("button.primary", {type: "button", onclick: action}, label);
    const parts = [mark()];
    if (models.state === "failed")
        parts.push(
            h("h1", {}, t("no_server")),
            h("p", {}, models.failure.kind === "network" ? t("advice_network") : models.failure.message),
        );
    else if (models.state === "key")
        parts.push(
            h("h1", {}, t("key_needed")),
            h("p", {}, t("key_needed_more")),
            button(t("enter_key"), actions.settings),
        );
    else if (models.state === "ready" && models.list.length === 0)
        parts.push(
            h("h1", {}, t("no_models")),
            h("p", {}, t("no_models_more")),
            button(t("get_model"), actions.models),
        );
    else if (models.state === "ready") {
        parts.push(h("h1", {}, t("welcome")));
        const facts = chat.conversation.models
            .map(modelOf)
            .filter((m) => m !== undefined)
            .map((model) =>
                h(
                    "button.card",
                    {type: "button", onclick: actions.models},
                    h("strong", {}, model.id),
                    h("span", {}, factsOf(model, detailsOf(model.id), {state: true}).join(" · ")),
                ),
            );
        parts.push(h("div.cards", {}, facts), h("p.hint", {}, t("welcome_more")));
    }
    return h("div.welcome", {}, parts);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* actions: {settings, models}: what opens these. Returns the element, and what the keys need. */
export function makeTranscript(actions) {
    const list = h("div.messages");
    const announcer = h("div.unseen", {"aria-live": "polite", role: "status"});
    const toEnd = h(
        "button.to-end.iconic",
        {
            type: "button",
            title: t("to_end"),
            "aria-label": t("to_end"),
            hidden: true,
            onclick: () => scrollToEnd("smooth"),
        },
        icon("down"),
    );
    const scroller = h("div.scroller", {tabindex: "-1"}, list);
    const root = h("main", {"aria-label": t("conversation")}, scroller, toEnd, announcer);
    let views = new Map(),
        shown = null,
        follows = true;

    const scrollToEnd = (behavior = "instant") => scroller.scrollTo({top: scroller.scrollHeight, behavior});
    const distance = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    scroller.addEventListener(
        "scroll",
        () => {
            follows = distance() < NEAR;
            toEnd.hidden = follows;
        },
        {passive: true},
    );
    const follow = () => {
        if (follows) scrollToEnd();
        toEnd.hidden = distance() < NEAR;
    };
    new ResizeObserver(follow).observe(scroller);

    function renew() {
        const c = chat.conversation,
            path = pathOf(c);
        if (shown !== c.id) {
            views = new Map();
            shown = c.id;
            follows = true;
        }
        if (path.length === 0) {
            list.replaceChildren(welcome(actions));
            return;
        }
        const roots = path.map((node) => {
            let view = views.get(node.id);
            if (view === undefined || view.node !== node) {
                /* read anew from the store: another object */
                view = node.role === "question" ? new QuestionView(node) : new ReplyView(node);
                views.set(node.id, view);
            }
            view.update();
            return view.root;
        });
        if (roots.length !== list.children.length || roots.some((r, i) => r !== list.children[i]))
            list.replaceChildren(...roots);
        if (path.at(-1).role === "reply" && isReplyRunning(path.at(-1))) follows = true;
        follow();
    }

    on("conversation", renew);
    on("running", renew);
    on("models", () => {
        if (pathOf(chat.conversation).length === 0) renew();
    });
    on("answer", (reply, lane) => {
        const view = views.get(reply.id);
        if (["done", "stopped", "failed"].includes(reply.answers[lane].state)) view?.update();
        else view?.lanes[lane].update();
        follow();
    });
    on("answered", (conversation, reply) => {
        if (conversation !== chat.conversation) return;
        const failed = reply.answers.find((a) => a.state === "failed");
        announcer.textContent = failed
            ? t("announce_failed")
            : t("announce_done", {n: tokens(reply.answers[0].usage?.generated ?? 0)});
    });

    return {
        root,
        editLast() {
            const question = pathOf(chat.conversation).findLast((n) => n.role === "question");
            if (question === undefined || isRunning()) return false;
            views.get(question.id).edit();
            return true;
        },
    };
}
