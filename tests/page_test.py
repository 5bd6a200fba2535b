#!/usr/bin/env python3
"""The page at / in a real browser: Chromium, driven by Playwright, on a houle serve with tiny models.

    page_test.py HOULE

Skipped (exit status 77) where the Python package playwright or Chromium is absent; script/bootstrap --all installs them.
Some models here say what the test wants: their defaults leave the model one answer only (guided_choice), so what the
browser shows came all the way through model, stream and page.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import tiny_model
from hub_server import HubServer

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

HOULE = None
CHROMIUM = os.environ.get("HOULE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = pathlib.Path(__file__).parent.parent / "src" / "serve" / "page"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking %}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HOSTILE = (
    "<img src=x onerror=\"window.hurt=1\"><script>window.hurt=1</script> [a](javascript:window.hurt=1) "
    "[b](data:text/html,x) <https://ok.example/> ![c](https://pictures.example/x.png)\n\n"
    "```\"><script>window.hurt=1</script>\n</code></pre><script>window.hurt=1</script>\n```\n\n"
    "| <svg onload=window.hurt=1> | b |\n|---|---|\n| <iframe src=javascript:window.hurt=1> | d |\n"
)
RICH = "# A title\n\nSome **strong** words:\n\n- one\n- two\n\n```python\nprint(1)\n```\n"


def say(text, **more):
    return {"path": "models/tiny", "defaults": {"guided_choice": [text], "max_tokens": 600, **more}}


class Case(unittest.TestCase):
    """A server, a browser; for each test a fresh profile. What the page must never do is checked after each."""

    @classmethod
    def setUpClass(cls):
        expect.set_options(timeout=30000)  # builds with sanitizers are slow
        cls.folder = tempfile.TemporaryDirectory(prefix="houle_page_")
        cls.home = pathlib.Path(cls.folder.name)
        tiny_model.make(cls.home / "models" / "tiny", context=4096, template=TEMPLATE)
        tiny_model.make(cls.home / "models" / "other", seed=2, context=4096, template=TEMPLATE)
        tiny_model.make(cls.home / "models" / "slow", width=256, layers=12, context=16384, template=TEMPLATE)
        config = cls.home / "config.json"
        config.write_text(json.dumps({"models": cls.configured()}))
        cls.hub = HubServer()
        cls.start_server("--config", str(config), *cls.arguments())
        cls.playwright = sync_playwright().start()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)

    @classmethod
    def start_server(cls, *arguments):
        """A houle in a home of its own, whose hub is ours."""
        ready = cls.home / "ready"
        environment = {"PATH": os.environ["PATH"], "HOME": str(cls.home), "HF_ENDPOINT": cls.hub.url, "HOULE_RETRY_SCALE": "0.01",
                       "HOULE_RETRY_ATTEMPTS": "2"}
        cls.log = open(cls.home / "log", "w+", encoding="utf-8")
        cls.server = subprocess.Popen([HOULE, "serve", "--port", "0", "--ready-file", str(ready), "--threads", "2", "--memory", "1G", *arguments],
                                      env=environment, stdout=subprocess.DEVNULL, stderr=cls.log)
        until = time.monotonic() + 60
        while not ready.exists() or ready.stat().st_size == 0:
            if cls.server.poll() is not None or time.monotonic() > until:
                raise AssertionError("the server did not start: " + (cls.home / "log").read_text())
            time.sleep(0.02)
        cls.url = ready.read_text().strip() + "/"

    @classmethod
    def configured(cls):
        short = {"max_tokens": 24, "ignore_eos": True, "temperature": 0}
        return {
            "tiny": {"path": "models/tiny", "defaults": short},
            "other": {"path": "models/other", "defaults": short},
            "steady": {"path": "models/slow", "context": 8192, "defaults": {"max_tokens": 500, "ignore_eos": True}},
            "slow": {"path": "models/slow", "context": 16384, "defaults": {"ignore_eos": True}},
            "hostile": say(HOSTILE), "rich": say(RICH),
        }

    @classmethod
    def arguments(cls):
        return []

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        cls.server.send_signal(signal.SIGTERM)
        code = cls.server.wait(60)
        cls.hub.close()
        cls.log.seek(0)
        text = cls.log.read()
        cls.log.close()
        cls.folder.cleanup()
        assert code == 0, f"houle ended with {code}: {text[-3000:]}"

    def setUp(self):
        self.contexts, self.problems, self.requests = [], [], []
        self.page = self.open()

    def open(self, **options):
        """A page of a fresh profile, in English and light if not said otherwise."""
        context = self.browser.new_context(**{"locale": "en-GB", "color_scheme": "light", "viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(20000)
        context.add_init_script("window.breaches = []; addEventListener('securitypolicyviolation',"
                                " (e) => window.breaches.push(`${e.violatedDirective} ${e.blockedURI}`))")
        context.on("request", lambda request: self.requests.append(request.url))
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and self.problems.append(m.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(self.url)
        return page

    def tearDown(self):
        breaches = [b for c in self.contexts for p in c.pages for b in p.evaluate("window.breaches")]
        for context in self.contexts:
            context.close()
        self.assertEqual(breaches, [], "the content security policy was violated")
        self.assertEqual(self.problems, [], "the browser's console has errors")
        foreign = [u for u in self.requests if not u.startswith((self.url, "blob:" + self.url, "data:"))]
        self.assertEqual(foreign, [], "requests went elsewhere")

    # ---- what a user does -------------------------------------------------------------------------------------------

    def choose(self, *models):
        """Sets the conversation's models by the keyboard and the mouse."""
        for slot, model in enumerate(models):
            if slot == 0:
                self.page.keyboard.press("Control+k")
            else:
                self.page.get_by_role("button", name="Two models side by side").click()
            self.page.get_by_label("Find a model").fill(model)
            expect(self.page.locator(".pick")).to_have_count(1)
            self.page.keyboard.press("Enter")
            expect(self.page.locator("dialog")).to_have_count(0)
            expect(self.page.locator(".bar .model-button").nth(slot)).to_contain_text(model)

    @property
    def field(self):
        return self.page.get_by_label("Ask something…")

    def ask(self, text):
        self.field.fill(text)
        self.field.press("Enter")

    def expect_done(self, count=1):
        """So many replies are shown, and all are complete."""
        expect(self.page.locator("article.reply")).to_have_count(count)
        expect(self.page.locator("button.send.stops")).to_have_count(0)

    def reply(self, at=-1, lane=0):
        return self.page.locator("article.reply").nth(at).locator(".lane").nth(lane).locator("> .prose")


class Chat(Case):
    def test_an_answer_is_streamed_and_kept(self):
        page = self.page
        self.choose("steady")
        page.evaluate("""() => {
            window.seen = new Set();
            new MutationObserver(() => {
                const prose = document.querySelector(".lane > .prose");
                if (prose !== null) window.seen.add(prose.textContent.length);
            }).observe(document.body, {subtree: true, childList: true, characterData: true});
        }""")
        self.ask("What is a tide?")
        expect(page.locator("article.question .bubble")).to_have_text("What is a tide?")
        self.expect_done()
        text = self.reply().inner_text()
        self.assertGreater(len(text), 10)
        self.assertGreater(page.evaluate("window.seen.size"), 2, "the answer came in one piece")
        expect(page.locator(".stats")).to_contain_text("tokens/s")
        expect(page.locator(".stats")).to_contain_text("first token after")
        expect(page.locator(".stats")).to_contain_text("500 tokens")
        expect(page.locator(".stats")).to_contain_text("cut off")
        expect(page.locator(".item .open")).to_have_text(["What is a tide?"])
        page.reload()
        page.locator(".item .open").click()
        expect(page.locator(".lane > .prose")).to_have_text(text, use_inner_text=True)
        self.ask("And then?")
        self.expect_done(2)

    def test_shift_enter_breaks_the_line(self):
        self.choose("tiny")
        self.field.press_sequentially("a")
        self.field.press("Shift+Enter")
        self.field.press_sequentially("b")
        self.field.press("Enter")
        expect(self.page.locator(".bubble")).to_have_text("a\nb", use_inner_text=True)
        self.expect_done()

    def test_stop(self):
        for how in ("key", "button"):
            self.page.keyboard.press("Alt+n")
            self.choose("slow")
            self.ask("Go on for ever")
            expect(self.reply()).not_to_be_empty(timeout=60000)
            if how == "key":
                self.page.keyboard.press("Escape")
            else:
                self.page.locator("button.send.stops").click()
            self.expect_done()
            expect(self.page.locator(".stats")).to_contain_text("stopped")

    def test_branches(self):
        page = self.page
        self.choose("tiny")
        self.ask("First")
        self.expect_done()
        page.get_by_role("button", name="Answer once more").click()
        self.expect_done()
        branches = page.locator("article.reply .branches")
        expect(branches).to_have_text("2/2")
        page.get_by_role("button", name="Branch before").click()
        expect(branches).to_have_text("1/2")
        self.ask("Second")
        self.expect_done(2)
        self.field.press("ArrowUp")  # in an empty field: the last question
        page.locator(".editor textarea").fill("Second, otherwise")
        page.locator(".editor textarea").press("Enter")
        self.expect_done(2)
        questions = page.locator(".bubble")
        expect(questions).to_have_text(["First", "Second, otherwise"])
        expect(page.locator("article.question .branches")).to_have_text(["2/2"])
        page.locator("article.question").nth(1).get_by_role("button", name="Branch before").click()
        expect(questions).to_have_text(["First", "Second"])
        page.locator("article.reply").first.get_by_role("button", name="Next branch").click()
        expect(questions).to_have_text(["First"])
        page.reload()
        page.locator(".item .open").click()
        expect(branches).to_have_text("2/2")

    def test_two_models_side_by_side(self):
        page = self.page
        self.choose("tiny", "other")
        self.ask("Both of you")
        self.expect_done()
        expect(page.locator(".lane header .name")).to_have_text(["tiny", "other"])
        expect(page.locator(".stats")).to_have_count(2)
        for lane in (0, 1):
            expect(page.locator(".stats").nth(lane)).to_contain_text("tokens/s")
            expect(page.locator(".stats").nth(lane)).to_contain_text("first token after")
        self.assertNotEqual(self.reply(0, 0).inner_text(), self.reply(0, 1).inner_text())
        self.ask("And again")
        self.expect_done(2)
        expect(page.locator(".lane")).to_have_count(4)
        page.get_by_role("button", name="Go on with this one").nth(3).click()
        expect(page.locator(".bar .model-button")).to_have_text(["other"])
        self.ask("Alone")
        self.expect_done(3)
        expect(page.locator("article.reply").nth(2).locator(".lane header .name")).to_have_text(["other"])

    def test_settings_are_sent(self):
        page, bodies = self.page, []
        page.on("request", lambda r: r.url.endswith("/chat/completions") and bodies.append(json.loads(r.post_data)))
        self.choose("tiny")
        page.keyboard.press("Control+,")
        page.get_by_label("System prompt").fill("Be brief.")
        page.get_by_label("Temperature").fill("0.5")
        page.get_by_label("Most tokens").fill("5")
        page.get_by_label("Seed").fill("7")
        page.locator(".settings .segments").first.get_by_role("button", name="Off").click()
        page.keyboard.press("Escape")
        self.ask("Well?")
        self.expect_done()
        expect(page.locator(".stats")).to_contain_text("5 tokens")
        self.assertEqual(bodies[0]["messages"][0], {"role": "system", "content": "Be brief."})
        self.assertEqual({k: bodies[0][k] for k in ("temperature", "max_tokens", "seed", "reasoning_effort")},
                         {"temperature": 0.5, "max_tokens": 5, "seed": 7, "reasoning_effort": "none"})
        self.assertNotIn("top_p", bodies[0])

    def test_reasoning_is_folded(self):
        deltas = [{"role": "assistant", "reasoning_content": "because "}, {"reasoning_content": "of this"}, {"content": "It is so."}]
        body = "".join("data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": d}]}) for d in deltas) + "data: [DONE]\n\n"
        self.page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
        self.choose("tiny")
        self.ask("Why?")
        self.expect_done()
        expect(self.reply()).to_have_text("It is so.")
        reasoning = self.page.locator("details.reasoning")
        expect(reasoning.locator("summary")).to_contain_text("Thought for")
        expect(reasoning.locator(".prose")).to_be_hidden()
        reasoning.locator("summary").click()
        expect(reasoning.locator(".prose")).to_have_text("because of this")

    def test_errors_say_what_to_do(self):
        page = self.page
        self.choose("tiny")
        self.ask("long " * 6000)
        expect(page.locator(".failure")).to_contain_text("has become too long")
        page.route("**/v1/chat/completions", lambda route: route.abort())
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".failure")).to_contain_text("Is houle serve still running")
        self.problems.clear()  # the browser reports both refusals, as it should

    def test_conversations_are_exported_imported_deleted(self):
        page = self.page
        self.choose("tiny")
        self.ask("Keep me")
        self.expect_done()
        page.keyboard.press("Control+,")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export all").click()
        file = self.home / "conversations.json"
        download.value.save_as(file)
        kept = json.loads(file.read_text("utf-8"))
        self.assertEqual([c["title"] for c in kept["conversations"]], ["Keep me"])
        page.get_by_role("button", name="Delete all").click()
        page.locator("dialog").get_by_role("button", name="Delete all").click()
        expect(page.locator(".item")).to_have_count(0)
        bad = kept["conversations"][0] | {"nodes": {**kept["conversations"][0]["nodes"], "ring1": {"role": "question", "parent": "ring1", "text": 1}}}
        file.write_text(json.dumps(kept | {"conversations": [bad]}), "utf-8")
        page.set_input_files("input[type=file]", file)
        expect(page.locator(".item .open")).to_have_text(["Keep me"])
        page.locator(".item .open").click()
        expect(page.locator("article")).to_have_count(2)
        page.locator(".item").hover()
        page.locator(".item").get_by_role("button", name="Delete").click()
        page.locator("dialog").get_by_role("button", name="Delete").click()
        expect(page.locator(".item")).to_have_count(0)

    def test_a_conversation_deleted_while_it_is_answered_stays_so(self):
        """Its answer is saved every two seconds and at its end; so it came back, also from another tab."""
        page, other = self.page, self.contexts[0].new_page()
        other.goto(self.url)
        for how in ("one", "all", "other tab"):
            page.keyboard.press("Alt+n")
            self.choose("slow")
            self.ask("Go on for ever")
            expect(self.reply()).not_to_be_empty(timeout=60000)
            if how == "all":
                page.keyboard.press("Control+,")
                page.get_by_role("button", name="Delete all").click()
                page.locator("dialog").get_by_role("button", name="Delete all").click()
            else:
                tab = page if how == "one" else other
                tab.locator(".item .tools button").last.dispatch_event("click")  # no hovering: the list is drawn anew all the time
                tab.locator("dialog").get_by_role("button", name="Delete").click()
            for tab in (page, other):
                expect(tab.locator(".item")).to_have_count(0)
            expect(page.locator("article")).to_have_count(0)
            page.wait_for_timeout(2500)
            for tab in (page, other):
                tab.reload()
                expect(tab.locator(".item")).to_have_count(0)

    # ---- what models write ------------------------------------------------------------------------------------------

    def test_markdown_comes_through(self):
        self.choose("rich")
        self.ask("Show me")
        self.expect_done()
        prose = self.reply()
        expect(prose.locator("h2")).to_have_text("A title")
        expect(prose.locator("strong")).to_have_text("strong")
        expect(prose.locator("li")).to_have_text(["one", "two"])
        expect(prose.locator(".language")).to_have_text("python")
        self.contexts[0].grant_permissions(["clipboard-read", "clipboard-write"])
        prose.get_by_role("button", name="Copy").click()
        self.assertEqual(self.page.evaluate("navigator.clipboard.readText()"), "print(1)")

    def test_hostile_text_is_inert(self):
        page = self.page
        self.choose("hostile")
        self.ask(HOSTILE)
        self.expect_done()
        self.assertIn("onerror", self.reply().inner_text())
        self.assertIsNone(page.evaluate("window.hurt ?? null"))
        found = page.evaluate("""() => [...document.querySelectorAll("main *")].map((e) => e.localName)
            .filter((n) => ["img", "script", "iframe", "object", "embed", "form", "style", "link", "meta"].includes(n))""")
        self.assertEqual(found, [])
        links = page.eval_on_selector_all("main a", "all => all.map((a) => [a.protocol, a.rel])")
        self.assertEqual(links, [["https:", "noopener noreferrer nofollow"]] * 2)
        handlers = page.evaluate("""() => [...document.querySelectorAll("*")].flatMap((e) => [...e.attributes])
            .filter((a) => a.name.startsWith("on") || a.name === "style" && a.ownerElement.localName !== "textarea").map((a) => a.name)""")
        self.assertEqual(handlers, [])


class Look(Case):
    def test_languages(self):
        page = self.open(locale="fr-FR")
        expect(page.get_by_label("Posez une question…")).to_be_visible()
        self.assertEqual(page.evaluate("document.documentElement.lang"), "fr")
        page.keyboard.press("Control+,")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_label("Ask something…")).to_be_visible()
        page.reload()
        expect(page.get_by_label("Ask something…")).to_be_visible()

    def test_every_text_is_there_in_both(self):
        words = self.page.evaluate("import('./page/words.js').then((w) => [w.english, w.french])")
        holes = [{name: sorted(re.findall(r"\{\w+\}", text)) for name, text in language.items()} for language in words]
        self.assertEqual(holes[0], holes[1])
        used = {name for file in PAGE.glob("*.js") for name in re.findall(r'\bt\("(\w+)"', file.read_text("utf-8"))}
        self.assertEqual(used - set(words[0]), set())

    def test_dark_and_light(self):
        ground = "getComputedStyle(document.body).backgroundColor"
        light, page = self.page.evaluate(ground), self.open(color_scheme="dark")
        dark = page.evaluate(ground)
        self.assertNotEqual(light, dark)
        page.get_by_role("button", name="Light or dark").click()
        self.assertEqual(page.evaluate(ground), light)
        page.reload()
        self.assertEqual(page.evaluate(ground), light)

    def test_narrow(self):
        self.page = page = self.open(viewport={"width": 360, "height": 640})
        self.choose("rich")
        self.ask("A_word_that_is_far_too_long_to_fit_in_a_line_of_a_telephone_and_may_not_widen_the_page")
        self.expect_done()
        wide = "document.documentElement.scrollWidth"
        self.assertLessEqual(page.evaluate(wide), 360)
        page.keyboard.press("Control+b")
        expect(page.locator(".sidebar")).to_be_visible()
        page.locator(".item .open").click()
        expect(page.locator(".sidebar")).to_be_hidden()
        page.keyboard.press("Control+k")
        self.assertLessEqual(page.evaluate(wide), 360)

    def test_keys_and_names(self):
        page = self.page
        page.locator(".bar").click()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("?")
        expect(page.locator("dialog .key-row")).to_have_count(9)
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        page.keyboard.press("Control+k")
        page.keyboard.press("ArrowDown")
        self.assertIn("pick", page.evaluate("document.activeElement.className"))
        page.keyboard.press("Escape")
        nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, textarea")].filter((e) => !e.closest("[hidden]")
            && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)""")
        self.assertEqual(nameless, [])


class Models(Case):
    def test_load_and_unload(self):
        page = self.page
        page.keyboard.press("Control+k")
        row = page.locator(".model", has=page.get_by_text("other", exact=True))
        expect(row.locator(".facts")).to_contain_text("licence not stated")
        expect(row.locator(".facts")).to_contain_text("context 4 k")
        row.get_by_role("button", name="Load", exact=True).click()
        expect(row.locator(".state")).to_contain_text("in memory")
        row.get_by_role("button", name="Unload", exact=True).click()
        expect(row.locator(".state")).to_contain_text("not loaded")

    def test_pulls(self):
        page = self.page
        data = (self.home / "models" / "tiny" / "model.safetensors").read_bytes()
        files = {f.name: f.read_bytes() for f in (self.home / "models" / "tiny").iterdir() if f.name != "model.safetensors"}
        self.hub.add("acme/fetched", {**files, "model.safetensors": data}, licence="mit")
        page.keyboard.press("Control+k")
        page.get_by_label("Name on the hub").fill("acme/absent")
        page.keyboard.press("Enter")
        expect(page.locator(".pull .failure")).to_contain_text("Check the name")
        page.get_by_role("button", name="Dismiss").click()
        self.hub.rate = len(data) // 4
        page.get_by_label("Name on the hub").fill("acme/fetched")
        page.keyboard.press("Enter")
        expect(page.locator(".pull")).to_contain_text("%")
        page.locator(".pull").get_by_role("button", name="Cancel").click()
        expect(page.locator(".pull")).to_contain_text("Stopped at")
        self.hub.rate = 0
        page.locator(".pull").get_by_role("button", name="Try again").click()
        expect(page.locator(".pull")).to_contain_text("Downloaded")
        row = page.locator(".model", has_text="fetched")
        expect(row.locator(".facts")).to_contain_text("mit")


class Keys(Case):
    @classmethod
    def arguments(cls):
        file = cls.home / "keys.json"
        made = subprocess.run([HOULE, "serve", "--keys", str(file), "--make-key", "guest"], check=True, capture_output=True)
        cls.key = made.stdout.decode().strip()
        return ["--keys", str(file)]

    def test_the_key_is_asked_for_and_used(self):
        page = self.page
        expect(page.locator(".welcome")).to_contain_text("asks for a key")
        page.get_by_role("button", name="Enter the key").click()
        page.get_by_label("API key").fill(self.key)
        page.get_by_label("API key").press("Enter")
        page.keyboard.press("Escape")
        self.choose("tiny")
        self.ask("Hello")
        self.expect_done()
        expect(page.locator(".stats")).to_contain_text("tokens/s")
        page.keyboard.press("Control+k")
        page.get_by_label("Name on the hub").fill("acme/absent")
        page.keyboard.press("Enter")
        expect(page.locator(".pull .failure")).to_contain_text("admin")
        self.assertNotIn(self.key, page.evaluate("JSON.stringify(localStorage)"))
        self.problems.clear()  # the refusals of before are reported by the browser


# ---- the reader of Markdown -----------------------------------------------------------------------------------------

RENDER = """async ([text, steps]) => {
    const {MarkdownView} = await import("./page/markdown_view.js");
    const show = (view) => view.root.innerHTML;
    const whole = new MarkdownView(document.createElement("div"));
    whole.set(text, false);
    const growing = new MarkdownView(document.createElement("div"));
    for (let at = 0; at < text.length; at += steps) {
        const part = text.slice(0, at), fresh = new MarkdownView(document.createElement("div"));
        growing.set(part, true);
        fresh.set(part, true);
        if (show(fresh) !== show(growing)) return `after ${JSON.stringify(part)}: ${show(growing)} but afresh ${show(fresh)}`;
    }
    growing.set(text, false);
    return show(growing) === show(whole) ? show(whole) : `in the end: ${show(growing)} but at once ${show(whole)}`;
}"""
LINK = '<a href="%s" target="_blank" rel="noopener noreferrer nofollow">%s</a>'
MARKDOWN = [
    ("plain", "<p>plain</p>"),
    ("two\nlines\n\nand another", "<p>two<br>lines</p><p>and another</p>"),
    ("*a* **b** ***c*** ~~d~~ `e`", "<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <del>d</del> <code>e</code></p>"),
    ("snake_case_name 2*3*4 and a * b * c", "<p>snake_case_name 2<em>3</em>4 and a * b * c</p>"),
    ("*foo**bar* **x*y*z**", "<p><em>foo**bar</em> <strong>x<em>y</em>z</strong></p>"),
    ("`` a`b `` \\*no\\*", "<p><code>a`b</code> *no*</p>"),
    ("# One\n## Two ##\n###no", "<h2>One</h2><h3>Two</h3><p>###no</p>"),
    ("Under\n===\nlined\n---", "<h2>Under</h2><h3>lined</h3>"),
    ("a\n\n---\n***\n* * *", "<p>a</p><hr><hr><hr>"),
    ("- a\n- b\n  - c\n    - d\n- e", "<ul><li>a</li><li>b<ul><li>c<ul><li>d</li></ul></li></ul></li><li>e</li></ul>"),
    ("3. a\n4. b\n   - c", '<ol start="3"><li>a</li><li>b<ul><li>c</li></ul></li></ol>'),
    ("1. a\n\n   more\n\n2. b", "<ol><li><p>a</p><p>more</p></li><li><p>b</p></li></ol>"),
    ("1. a\n  - b", "<ol><li>a<ul><li>b</li></ul></li></ol>"),
    ("text:\n- a", "<p>text:</p><ul><li>a</li></ul>"),
    ("in 1998.\n1999. was good", "<p>in 1998.<br>1999. was good</p>"),
    ("> a\nlazy\n> > b\n\nc", "<blockquote><p>a<br>lazy</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"),
    ("&lt;b&gt; &amp;amp; <b>x</b><br>y", "<p>&lt;b&gt; &amp;amp; &lt;b&gt;x&lt;/b&gt;<br>y</p>"),
    ("[a *b*](https://c.d/e_(f)) <x@y.zz>", "<p>" + LINK % ("https://c.d/e_(f)", "a <em>b</em>") + " " + LINK % ("mailto:x@y.zz", "x@y.zz") + "</p>"),
    ("see https://a.b/c. (https://d.e/f)", "<p>see " + LINK % ("https://a.b/c", "https://a.b/c") + ". (" + LINK % ("https://d.e/f", "https://d.e/f") + ")</p>"),
    ("[x](javascript:alert(1)) [y](/z) [u][v]", "<p>x y [u][v]</p>"),
    ("\\( a_1 * b * c \\) $$x*y*z$$", '<p><span class="math">\\( a_1 * b * c \\)</span> <span class="math">$$x*y*z$$</span></p>'),
    ("$$\na*b*c\n$$\nthen", '<pre class="math" tabindex="0">$$\na*b*c\n$$</pre><p>then</p>'),
]
BLOCKS = [
    ("```js\nlet a;\n\tb\n```\nafter", ["js", "let a;\n\tb"]),
    ("~~~\n```\n~~~", ["code", "```"]),
    ("- item\n  ```py\n  x\n    y\n  ```\n- next", ["py", "x\n  y"]),
    ("```\nnever closed\n\n# no heading", ["code", "never closed\n\n# no heading"]),
]
TABLE = "| a | b\\|c |\n|:-|-:|\n| `x|y` | **2** |\n| short |\n\nend"
MIXED = RICH + TABLE + "\n\n> quote\n> - x\n>\n> ```\n> code\n> ```\n\n1. one\n\n2. two\n   1. deep\n\n\n3. three\n\n* [ ] to do\n* [x] done\n\n" + HOSTILE
NESTED = ["*" * 20000 + "a" + "*" * 20000, "![" * 20000 + "a" + "](https://b.example)" * 20000, "**a *b " * 9000 + "c* d** " * 9000]
HEAVY = ["*a **b ", "[", "[a](", "<a", "> ", "- ", "_a_ ", "![", "*", "a*", "http://(", "\\(", "$$a", "|", "`a ``b ", "1. a\n", "> a\n", "- a\n  ", "a\n", "| a |\n|-|\n", "&", "**a** "]


class Markdown(Case):
    def render(self, text, steps=1):
        return self.page.evaluate(RENDER, [text, steps])

    def test_what_becomes_what(self):
        for text, html in MARKDOWN:
            with self.subTest(text):
                self.assertEqual(self.render(text), html)

    def test_code_blocks(self):
        for text, expected in BLOCKS:
            with self.subTest(text):
                html = self.render(text)
                found = [re.search(rf"<{tag}[^>]*>([^<]*)</", html).group(1) for tag in ('span class="language"', "code")]
                self.assertEqual(found, expected)

    def test_tables_and_tasks(self):
        html = re.sub(r' (scope|tabindex|role|aria-label|type|disabled)="[^"]*"', "", self.render(TABLE))
        self.assertEqual(html, '<div class="table"><table><thead><tr><th class="to-left">a</th><th class="to-right">b|c</th></tr></thead><tbody>'
                         '<tr><td class="to-left"><code>x|y</code></td><td class="to-right"><strong>2</strong></td></tr>'
                         '<tr><td class="to-left">short</td><td class="to-right"></td></tr></tbody></table></div><p>end</p>')
        self.page.evaluate("async (text) => { const {MarkdownView} = await import('./page/markdown_view.js');"
                           "new MarkdownView(document.querySelector('main')).set(text, false); }", "- [x] a\n- [ ] b")
        self.assertEqual([box.is_checked() for box in self.page.locator(".task input").all()], [True, False])

    def test_growing_is_the_same_as_afresh(self):
        """Whatever the pieces in which a text comes, it looks at each moment as if it had come at once."""
        for steps in (1, 3, 17):
            self.assertNotRegex(self.render(MIXED, steps), r"^(after|in the end)")

    def test_heavy_text_costs_its_length(self):
        """Text that is made to be slow: 60 KB of it in less than a second or two each, where quadratic work took a minute."""
        for text in [piece * (60000 // len(piece)) for piece in HEAVY] + NESTED:
            with self.subTest(text[:30]):
                ms = self.page.evaluate("""async (text) => {
                    const {MarkdownView} = await import("./page/markdown_view.js"), began = performance.now();
                    new MarkdownView(document.createElement("div")).set(text, true);
                    return performance.now() - began;
                }""", text)
                self.assertLess(ms, 3000)


def main():
    if sync_playwright is None or CHROMIUM is None:
        print("skipped: the page is tested with the Python package playwright and Chromium; script/bootstrap --all installs them")
        sys.exit(77)
    global HOULE
    HOULE = sys.argv.pop(1)
    unittest.main(verbosity=1)


if __name__ == "__main__":
    main()
