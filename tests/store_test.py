"""store_test.py HOULE [TORTURE] - the store's commands: pull, list, show, rm, verify; names, paths, caches of other
programs, the disk, who may. What networks do to pulls is in store_network_test.py."""
import json
import os
import pathlib
import pty
import resource
import shutil
import subprocess
import threading
import time
import unittest

from hub_server import HubServer, git_sha1, sha256
from store_case import CONFIG, HOULE, LARGE, MIB, SMALL, StoreCase, TORTURE, gguf, main, safetensors


class StoreTest(StoreCase):
    # ---- ordinary life ----------------------------------------------------------------------------------------------

    def test_gguf(self):
        """The whole way of a GGUF model: pull, list, show, verify, pull again, remove."""
        self.hub.add("acme/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": SMALL, "Tiny-Q8_0.gguf": LARGE, "README.md": b"hello",
                                        "LICENSE": b"do what you like", ".gitattributes": b"x"}, licence="mit")
        done = self.pull("acme/Tiny-GGUF")
        self.assertIn("others: Q8_0", done.stderr)
        self.assertIn("memory: about", done.stderr)
        self.assertIn("disk:", done.stderr)
        shown = self.check_file("tiny", SMALL)
        self.assertEqual(shown["name"], "acme/Tiny-GGUF:Q4_K_M")
        self.assertEqual(shown["licence"], "mit")
        self.assertEqual(shown["publisher"], "acme")
        self.assertEqual(shown["revision"], self.hub.repos["acme/Tiny-GGUF"]["main"].commit)
        self.assertEqual({f["name"]: f["sha256"] for f in shown["files"]},
                         {"Tiny-Q4_K_M.gguf": sha256(SMALL), "LICENSE": sha256(b"do what you like")})
        with open(os.path.join(os.path.dirname(shown["path"]), "houle.json")) as opened:
            self.assertEqual(json.load(opened)["name"], "acme/Tiny-GGUF:Q4_K_M")
        self.assertIn("2 of 2 files are good", self.run_houle("verify").stdout)
        self.hub.reset()
        self.assertIn("was here already", self.pull("acme/Tiny-GGUF").stdout)
        self.assertEqual(self.hub.sent_bytes(), 0)
        self.assertEqual(len(self.hub.requests), 1)
        self.assertIn("was here already", self.pull("tiny").stdout)
        self.pull("acme/Tiny-GGUF:Q8_0")
        self.check_file("tiny:q8_0", LARGE)
        self.assertIn("could be any of", self.run_houle("show", "tiny", code=1).stderr)
        self.run_houle("rm", "tiny:q4_k_m")
        self.check_file("tiny", LARGE)
        self.assertIn("is removed", self.run_houle("rm", "tiny").stdout)
        self.assertEqual(self.listed(), {})
        self.assertEqual(os.listdir(self.models), [".partial"])
        self.assertEqual(self.partials(), [])

    def test_names_in_other_commands(self):
        """A name of the store does wherever a MODEL is wanted, and what runs is the same as by the path."""
        tiny = next((place / "text/llama" for place in (pathlib.Path(os.environ.get("HOULE_GOLDEN", "/nonexistent")),
                                                        pathlib.Path(__file__).parent / "golden")
                     if (place / "text/llama").is_dir()), None)
        if tiny is None:
            self.skipTest("no golden model is here")
        self.pull(str(tiny), "--copy", "--name", "acme/pet")
        for words in (["run", None, "--ids", "1,2,3", "-n", "8", "--temp", "0", "--print-ids", "--ignore-eos"],
                      ["inspect", None, "--memory"]):
            by_path, by_name = [self.run_houle(*[model if w is None else w for w in words]).stdout
                                for model in (str(tiny), "pet")]
            self.assertEqual(by_path.replace(str(tiny), ""), by_name.replace(self.listed()["acme/pet"]["path"], ""))
        out = [os.path.join(self.home, name) for name in ("path.safetensors", "name.safetensors")]
        for model, file in zip((str(tiny), "acme/pet"), out):
            self.run_houle("logits", model, "--ids", "1,2,3", "--out", file)
        self.assertEqual(*(pathlib.Path(file).read_bytes() for file in out))
        self.assertIn("did you mean acme/pet?", self.run_houle("run", "acme/pat", "--ids", "1", code=1).stderr)
        self.assertIn("no such file", self.run_houle("run", "./pet", "--ids", "1", code=1).stderr)

    def test_safetensors(self):
        """A sharded model with its small files; copies, pickles and code stay where they are."""
        shards = {"model-0000%d-of-00003.safetensors" % i: safetensors(5 * MIB, "w%d" % i, i) for i in (1, 2, 3)}
        index = {"weight_map": {"w%d" % i: "model-0000%d-of-00003.safetensors" % i for i in (1, 2, 3)}}
        files = {"config.json": CONFIG, "tokenizer.json": b"{}", "tokenizer_config.json": b'{"chat_template": "x"}',
                 "model.safetensors.index.json": json.dumps(index).encode(), "pytorch_model.bin": b"pickle" * 5000,
                 "original/consolidated.00.pth": b"pickle" * 5000, "consolidated.safetensors": safetensors(MIB),
                 "modeling_acme.py": b"import os", **shards}
        self.hub.add("acme/Base", files)
        self.pull("acme/Base")
        shown = json.loads(self.run_houle("show", "base", "--json").stdout)
        self.assertEqual(sorted(f["name"] for f in shown["files"]),
                         sorted(["config.json", "tokenizer.json", "tokenizer_config.json",
                                 "model.safetensors.index.json", *shards]))
        self.assertEqual(shown["type"], "BF16")
        for name, data in shards.items():
            self.check_file("base", data, name)
        self.run_houle("inspect", shown["path"])
        self.run_houle("verify", "base")

    def test_choices(self):
        """Quantisations, files, parts of split models, and what is said when there is no such thing."""
        parts = {"big/x-Q8_0-0000%d-of-00002.gguf" % (i + 1): gguf(50_000, seed=i + 1, split=(i, 2)) for i in (0, 1)}
        self.hub.add("acme/x", {"x-Q4_0.gguf": SMALL, "x-UD-Q3_K_XL.gguf": SMALL, **parts})
        self.pull("acme/x", "--quant", "q8_0")
        shown = json.loads(self.run_houle("show", "acme/x:Q8_0", "--json").stdout)
        self.assertEqual(len(shown["files"]), 2)
        self.assertTrue(shown["path"].endswith("big/x-Q8_0-00001-of-00002.gguf"))
        self.run_houle("inspect", shown["path"])
        self.pull("acme/x:Q3_K_XL")
        self.pull("acme/x:x-Q4_0.gguf")
        self.assertEqual(set(self.listed()), {"acme/x:Q8_0", "acme/x:UD-Q3_K_XL", "acme/x:Q4_0"})
        self.assertIn("there are: Q4_0", self.pull("acme/x:Q9_0", code=1).stderr)
        self.hub.add("acme/pickles", {"pytorch_model.bin": b"x" * 20000, "config.json": CONFIG})
        self.assertIn("pickles only", self.pull("acme/pickles", code=1).stderr)
        self.assertIn("no such revision", self.pull("acme/x@nowhere", code=1).stderr)
        self.assertIn("owner/name", self.pull("something", code=1).stderr)
        for bad in ("../../etc/passwd", "a/b/c", "acme/x:../y", "acme/..", "acme/x@../y"):
            self.pull(bad, code=1)

    def test_plan(self):
        """--dry-run reads headers only; a disk that is too small is told before anything large is fetched."""
        self.hub.add("acme/Large-GGUF", {"Large-Q8_0.gguf": LARGE})
        done = self.pull("acme/Large-GGUF", "--dry-run")
        self.assertIn("was not fetched", done.stdout)
        self.assertIn("40.4 MiB in 1 to fetch", done.stderr)
        self.assertRegex(done.stderr, r"memory: about 29\d MiB with a context of 2048")
        self.assertLess(self.hub.sent_bytes(), 4 * MIB)
        self.assertEqual(self.listed(), {})
        self.hub.add("acme/broken", {"broken-Q8_0.gguf": b"GGUF" + b"\xff" * 100_000})
        self.assertIn("--force", self.pull("acme/broken", code=1).stderr)
        self.pull("acme/broken", "--force")

    def test_mirror_without_sizes(self):
        """A hub whose list has names only: sizes and checksums are asked for file by file."""
        self.hub.sizes = False
        self.hub.add("acme/m", {"config.json": CONFIG, "model.safetensors": safetensors(MIB)})
        self.pull("acme/m")
        shown = json.loads(self.run_houle("show", "acme/m", "--json").stdout)
        self.assertEqual({f["name"]: f["bytes"] for f in shown["files"]},
                         {"config.json": len(CONFIG), "model.safetensors": len(safetensors(MIB))})

    def test_update(self):
        """A newer revision is told, taken on request, and only what changed is fetched."""
        old, new = safetensors(MIB, seed=1), safetensors(MIB, seed=2)
        keep = safetensors(2 * MIB, "k", seed=3)
        index = json.dumps({"weight_map": {"w": "a.safetensors", "k": "b.safetensors"}}).encode()
        files = {"config.json": CONFIG, "model.safetensors.index.json": index, "a.safetensors": old,
                 "b.safetensors": keep}
        self.hub.add("acme/m", files)
        self.pull("acme/m")
        first = self.check_file("acme/m", old, "a.safetensors")
        self.hub.add("acme/m", {**files, "a.safetensors": new})
        done = self.pull("acme/m")
        self.assertIn("newer revision", done.stderr)
        self.assertIn("--update", done.stderr)
        self.check_file("acme/m", old, "a.safetensors")
        self.hub.reset()
        self.pull("acme/m", "--update")
        self.assertEqual(self.hub.sent_bytes("b.safetensors"), 0)
        second = self.check_file("acme/m", new, "a.safetensors")
        self.check_file("acme/m", keep, "b.safetensors")
        self.assertNotEqual(first["path"], second["path"])
        self.assertFalse(os.path.exists(first["path"]))
        self.run_houle("verify")
        self.hub.add("acme/m", {**files, "a.safetensors": new, "README.md": b"new words"})
        self.assertIn("are the same", self.pull("acme/m").stderr)

    def test_hub_away(self):
        """Without the hub, a model that is here is still here; others are an error, soon."""
        self.hub.add("acme/x", {"x-Q4_0.gguf": SMALL})
        self.pull("acme/x")
        self.hub.fault("status", code=500, times=99, where="hub")
        done = self.pull("acme/x")
        self.assertIn("is here, complete; whether there is a newer revision cannot be told", done.stderr)
        began = time.monotonic()
        self.assertIn("500", self.pull("acme/y", code=1).stderr)
        nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
        self.pull("acme/x", env=nowhere)
        self.assertIn("127.0.0.1", self.pull("acme/y", code=1, env=nowhere).stderr)
        self.assertLess(time.monotonic() - began, 20)

    def test_addresses(self):
        """Direct links: one file, a split model, a changed file, pages of the hub; no credentials are kept."""
        self.hub.plain = {"dir/m-Q8_0.gguf": SMALL}
        address = self.hub.url + "/plain/dir/m-Q8_0.gguf"
        self.pull(address + "?signature=secret")
        shown = self.check_file("127.0.0.1/m:Q8_0", SMALL)
        self.assertEqual(shown["origin"], address)
        self.assert_not_kept(b"secret")
        self.assertIn("was here already", self.pull(address).stdout)
        self.hub.plain["dir/m-Q8_0.gguf"] = changed = gguf(120_000, seed=9)
        self.assertIn("has changed since", self.pull(address).stderr)
        self.pull(address, "--update")
        self.check_file("127.0.0.1/m:Q8_0", changed)
        for i in (0, 1):
            self.hub.plain["s-Q4_0-0000%d-of-00002.gguf" % (i + 1)] = gguf(50_000, seed=i + 1, split=(i, 2))
        self.pull(self.hub.url + "/plain/s-Q4_0-00001-of-00002.gguf")
        self.assertEqual(len(json.loads(self.run_houle("show", "s:Q4_0", "--json").stdout)["files"]), 2)
        self.run_houle("inspect", self.listed()["127.0.0.1/s:Q4_0"]["path"])
        self.assertIn("first part", self.pull(self.hub.url + "/plain/s-Q4_0-00002-of-00002.gguf", code=1).stderr)
        self.assertIn("gguf", self.pull(self.hub.url + "/plain/dir/x.bin", code=1).stderr)
        self.assertIn("404", self.pull(self.hub.url + "/plain/none.gguf", code=1).stderr)
        self.hub.add("acme/x", {"x-Q4_0.gguf": SMALL})
        self.pull(self.hub.url + "/acme/x/blob/main/x-Q4_0.gguf")
        self.check_file("acme/x:Q4_0", SMALL)

    # ---- who may ----------------------------------------------------------------------------------------------------

    def test_token(self):
        """Gated models: what to do is said; the token reaches the hub and nobody else."""
        self.hub.add("acme/gated", {"g-Q8_0.gguf": SMALL}, gated=True)
        self.hub.token = "hf_secret"
        page = self.hub.url + "/acme/gated"
        stderr = self.pull("acme/gated", code=1).stderr
        self.assertIn(page, stderr)
        self.assertIn("HF_TOKEN", stderr)
        stderr = self.pull("acme/gated", code=1, env={"HF_TOKEN": "hf_wrong"}).stderr
        self.assertIn("accept the licence", stderr)
        self.assertNotIn("hf_wrong", stderr)
        self.hub.reset()
        self.pull("acme/gated", env={"HF_TOKEN": "hf_secret"})
        self.check_file("acme/gated", SMALL)
        sent = {where for where, _, headers in self.hub.requests if "authorization" in headers}
        self.assertEqual(sent, {"hub"})
        self.assertTrue([r for r in self.hub.requests if r[0] == "cdn"])
        other = HubServer()
        self.addCleanup(other.close)
        other.plain["m-Q8_0.gguf"] = SMALL
        self.pull(other.url + "/plain/m-Q8_0.gguf", env={"HF_TOKEN": "hf_secret"})
        self.assertFalse([r for r in other.requests if "authorization" in r[2]])
        self.assertIn("line break", self.pull("acme/gated2", code=1, env={"HF_TOKEN": "a\r\nX: y"}).stderr)
        self.assertIn("no such model", self.pull("acme/nothing", code=1).stderr)
        self.assert_not_kept(b"hf_secret")

    def test_links_in_the_store(self):
        """A link in the store's folder does not make houle write elsewhere."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        elsewhere = os.path.join(self.home, "elsewhere")
        os.makedirs(elsewhere)
        os.makedirs(self.models)
        os.symlink(elsewhere, os.path.join(self.models, "acme"))
        self.assertIn("link", self.pull("acme/x", code=1).stderr)
        self.assertEqual(os.listdir(elsewhere), [])

    def test_models_folder_on_another_disk(self):
        """The folder of the models itself may be a link: that is how people use a second disk."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        elsewhere = os.path.join(self.home, "elsewhere")
        os.makedirs(elsewhere)
        os.makedirs(self.data)
        os.symlink(elsewhere, self.models)
        self.pull("acme/x")
        self.check_file("acme/x", SMALL)

    # ---- the disk ---------------------------------------------------------------------------------------------------

    def test_full_disk(self):
        """A disk that is too small, and one that fills up on the way (as root, with a small file system)."""
        folder = os.path.join(self.home, "small")
        os.makedirs(folder)
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], capture_output=True).returncode == 0
        if not mounted:
            self.skipTest("no small file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", folder], capture_output=True)
        env = {"XDG_DATA_HOME": folder}
        self.hub.add("acme/huge", {"huge-Q8_0.gguf": gguf(100 * MIB, seed=4)})
        stderr = self.pull("acme/huge", code=1, env=env).stderr
        self.assertIn("make room", stderr)
        self.assertLess(self.hub.sent_bytes(), 4 * MIB)
        parts = {"p-Q8_0-0000%d-of-00002.gguf" % (i + 1): gguf(24 * MIB, seed=i + 1, split=(i, 2)) for i in (0, 1)}
        self.hub.add("acme/p", parts)
        self.hub.rate = 8 * MIB
        filler = os.path.join(folder, "filler")

        def fill():
            time.sleep(1.0)
            with open(filler, "wb") as opened:
                try:
                    while True:
                        opened.write(b"x" * MIB)
                        opened.flush()
                except OSError:
                    pass
        thread = threading.Thread(target=fill)
        thread.start()
        stderr = self.pull("acme/p", "--connections", "1", code=1, env=env).stderr
        thread.join()
        self.assertIn("disk is full", stderr)
        os.unlink(filler)
        self.hub.rate = 0
        self.pull("acme/p", env=env)
        done = self.run_houle("verify", env=env)
        self.assertIn("2 of 2 files are good", done.stdout)

    def test_file_size_limit(self):
        """'ulimit -f' is an error, not a signal that ends the program."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        stderr = self.pull("acme/x", code=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                                  (MIB, MIB))).stderr
        self.assertIn("ulimit", stderr)
        self.pull("acme/x")

    def test_read_only_store(self):
        """A store that cannot be written to can still be listed and used."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        self.pull("acme/x")
        subprocess.run(["chmod", "-R", "a-w", self.data], check=True)
        self.addCleanup(subprocess.run, ["chmod", "-R", "u+w", self.data])
        self.assertIn("acme/x:Q8_0", self.listed())

    # ---- what is here -----------------------------------------------------------------------------------------------

    def test_verify_and_repair(self):
        """Altered, short and missing files are found, and a pull fetches those alone."""
        shards = {"model-0000%d-of-00002.safetensors" % i: safetensors(2 * MIB, "w%d" % i, i) for i in (1, 2)}
        index = {"weight_map": {"w%d" % i: "model-0000%d-of-00002.safetensors" % i for i in (1, 2)}}
        self.hub.add("acme/m", {"config.json": CONFIG, "model.safetensors.index.json": json.dumps(index).encode(),
                                **shards})
        self.pull("acme/m")
        path = self.listed()["acme/m"]["path"]
        first = os.path.join(path, "model-00001-of-00002.safetensors")
        with open(first, "r+b") as opened:
            opened.seek(MIB)
            opened.write(b"altered")
        os.unlink(os.path.join(path, "config.json"))
        done = self.run_houle("verify", code=1)
        self.assertRegex(done.stdout, "altered +acme/m +model-00001-of-00002.safetensors")
        self.assertRegex(done.stdout, "missing +acme/m +config.json")
        self.hub.reset()
        self.pull("acme/m")
        self.assertEqual(self.hub.sent_bytes("00002-of"), 0)
        self.run_houle("verify")
        os.truncate(first, 1000)
        self.assertRegex(self.run_houle("verify", "acme/m", code=1).stdout, "short +acme/m")
        self.pull("acme/m")
        self.run_houle("verify")
        verdicts = json.loads(self.run_houle("verify", "--json").stdout)["files"]
        self.assertEqual({v["verdict"] for v in verdicts}, {"good"})

    def test_paths(self):
        """Files and folders of the user: registered, never touched, copied on request."""
        folder = os.path.join(self.home, "mine")
        os.makedirs(folder)
        file = os.path.join(folder, "pet-Q8_0.gguf")
        with open(file, "wb") as opened:
            opened.write(SMALL)
        self.assertIn("is registered", self.pull("./mine/pet-Q8_0.gguf").stdout)
        self.assertEqual(self.listed()["pet:Q8_0"]["path"], file)
        self.assertEqual(self.listed()["pet:Q8_0"]["licence"], "mit")
        self.assertIn("was here already", self.pull(file).stdout)
        self.assertIn("stay where they lie", self.run_houle("rm", "pet").stdout)
        self.assertTrue(os.path.exists(file))
        self.pull(file, "--copy", "--name", "pets/copy")
        shown = self.check_file("pets/copy", SMALL)
        self.assertTrue(shown["path"].startswith(self.models))
        self.assertNotEqual(os.stat(shown["path"]).st_ino, os.stat(file).st_ino)
        self.assertIn("was here already", self.pull(file, "--copy", "--name", "pets/copy").stdout)
        with open(file, "ab") as opened:
            opened.write(b"x")
        self.assertIn("another model", self.pull(file, "--name", "pets/copy", code=1).stderr)
        self.run_houle("rm", "pets/copy")
        self.assertFalse(os.path.exists(shown["path"]))
        with open(os.path.join(folder, "nonsense.gguf"), "wb") as opened:
            opened.write(b"nonsense")
        self.assertIn("GGUF", self.pull(os.path.join(folder, "nonsense.gguf"), code=1).stderr)
        self.assertIn("No such file", self.pull("./nothing.gguf", code=1).stderr)

    def test_export_and_import(self):
        """A model's folder, copied by whatever means, is a package: its checksums are compared on the way in."""
        self.hub.add("acme/m", {"config.json": CONFIG, "model.safetensors": safetensors(2 * MIB)}, licence="mit")
        self.pull("acme/m")
        stick = os.path.join(self.home, "stick")
        shutil.copytree(self.listed()["acme/m"]["path"], stick)
        self.run_houle("rm", "acme/m")
        self.hub.reset()
        self.pull(stick, "--copy")
        listed = self.listed()["acme/m"]
        self.assertEqual((listed["licence"], listed["publisher"]), ("mit", "acme"))
        self.run_houle("verify", "acme/m")
        self.run_houle("rm", "acme/m")
        self.pull(stick)
        self.assertEqual(self.listed()["acme/m"]["path"], stick)
        self.run_houle("rm", "acme/m")
        self.assertTrue(os.path.exists(os.path.join(stick, "model.safetensors")))
        with open(os.path.join(stick, "model.safetensors"), "r+b") as opened:
            opened.seek(MIB)
            opened.write(b"altered")
        self.assertIn("altered on the way", self.pull(stick, "--copy", code=1).stderr)
        os.unlink(os.path.join(stick, "model.safetensors"))
        self.assertIn("missing", self.pull(stick, code=1).stderr)
        self.assertEqual(self.hub.requests, [])

    def test_hugging_face_cache(self):
        """A model in the Hugging Face cache is listed, used by a pull where it lies, and never deleted."""
        weights = safetensors(2 * MIB)
        repo = self.hub.add("acme/m", {"config.json": CONFIG, "model.safetensors": weights, "LICENSE": b"x"})
        base = os.path.join(self.home, ".cache/huggingface/hub/models--acme--m")
        snapshot = os.path.join(base, "snapshots", repo.commit)
        os.makedirs(snapshot)
        os.makedirs(os.path.join(base, "blobs"))
        os.makedirs(os.path.join(base, "refs"))
        with open(os.path.join(base, "refs/main"), "w") as opened:
            opened.write(repo.commit)
        for name, data, digest in (("config.json", CONFIG, git_sha1(CONFIG)),
                                   ("model.safetensors", weights, sha256(weights))):
            with open(os.path.join(base, "blobs", digest), "wb") as opened:
                opened.write(data)
            os.symlink("../../blobs/" + digest, os.path.join(snapshot, name))
        listed = self.listed()["acme/m"]
        self.assertEqual((listed["source"], listed["path"], listed["type"]), ("huggingface", snapshot, "BF16"))
        self.assertIn("belongs to another program", self.run_houle("rm", "acme/m", code=1).stderr)
        self.run_houle("verify", "acme/m")
        self.run_houle("inspect", listed["path"])
        self.hub.reset()
        self.assertIn("is used there", self.pull("acme/m").stderr)
        self.assertEqual(self.hub.sent_bytes(), 0)
        self.assertEqual(self.listed()["acme/m"]["licence"], "apache-2.0")
        self.assertIn("was here already", self.pull("acme/m").stdout)
        self.run_houle("rm", "acme/m")
        self.assertTrue(os.path.exists(os.path.join(snapshot, "model.safetensors")))

    def test_ollama_and_lm_studio(self):
        """Ollama's blobs and LM Studio's files: listed, resolved, and used by a pull if their bytes are right."""
        blobs = os.path.join(self.home, "ollama/blobs")
        manifests = os.path.join(self.home, "ollama/manifests/registry.ollama.ai/library/pet")
        os.makedirs(blobs)
        os.makedirs(manifests)
        with open(os.path.join(blobs, "sha256-" + sha256(SMALL)), "wb") as opened:
            opened.write(SMALL)
        with open(os.path.join(manifests, "latest"), "w") as opened:
            json.dump({"layers": [{"mediaType": "application/vnd.ollama.image.model", "size": len(SMALL),
                                   "digest": "sha256:" + sha256(SMALL)}]}, opened)
        studio = os.path.join(self.home, ".lmstudio/models/acme/y-GGUF")
        os.makedirs(studio)
        other = gguf(200_000, seed=7)
        with open(os.path.join(studio, "y-Q4_0.gguf"), "wb") as opened:
            opened.write(other)
        env = {"OLLAMA_MODELS": os.path.join(self.home, "ollama")}
        names = {m["name"]: m for m in json.loads(self.run_houle("list", "--json", env=env).stdout)["models"]}
        self.assertEqual(set(names), {"pet:latest", "acme/y-GGUF:Q4_0"})
        self.run_houle("inspect", names["pet:latest"]["path"])
        self.run_houle("verify", "pet", env=env)
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL, "LICENSE": b"l"})
        self.hub.add("acme/y-GGUF", {"y-Q4_0.gguf": other})
        self.assertIn("Ollama", self.pull("acme/x", env=env).stderr)
        self.assertIn("LM Studio", self.pull("acme/y-GGUF", env=env).stderr)
        self.assertEqual(self.hub.sent_bytes(), 0)
        shown = json.loads(self.run_houle("show", "acme/x", "--json", env=env).stdout)
        self.assertEqual(shown["path"], os.path.join(blobs, "sha256-" + sha256(SMALL)))
        self.run_houle("verify", "acme/x", "acme/y-GGUF", env=env)
        self.run_houle("rm", "acme/x", env=env)
        # The same name and size, but other bytes: fetched, not believed.
        self.run_houle("rm", "acme/y-GGUF", env=env)
        wrong = bytearray(other)
        wrong[-1] ^= 1
        with open(os.path.join(studio, "y-Q4_0.gguf"), "wb") as opened:
            opened.write(wrong)
        self.pull("acme/y-GGUF", env=env)
        self.assertGreater(self.hub.sent_bytes(), len(other))

    def test_equal_content_is_fetched_once(self):
        """The same bytes under another name cost a link."""
        self.hub.add("acme/a", {"a-Q8_0.gguf": LARGE})
        self.hub.add("acme/b", {"b-Q8_0.gguf": LARGE})
        self.pull("acme/a")
        self.hub.reset()
        self.pull("acme/b")
        self.assertEqual(self.hub.sent_bytes(), 0)
        self.run_houle("rm", "acme/a")
        self.check_file("acme/b", LARGE)

    # ---- what is seen -----------------------------------------------------------------------------------------------

    def test_progress_bar(self):
        """On a terminal: rate, bytes and time left, and no escape sequences from strangers."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE}, licence="\x1b[31mred")
        self.hub.rate = 6 * MIB
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            os.execve(HOULE, [HOULE, "pull", "acme/x", "--connections", "3"], self.environment(COLUMNS="100"))
        shown = b""
        while True:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        text = shown.decode("utf-8", "replace")
        self.assertRegex(text, r"fetching .*\d+% [\d.]+ MiB of 40\.4 MiB, [\d.]+ MiB/s, 0:\d\d left")
        self.assertNotIn("\x1b[31m", text)
        self.assertIn("licence ", text)
        self.assertNotIn("\x1b[31m", self.run_houle("list").stdout)
        self.assertNotIn("\x1b[31m", self.run_houle("show", "acme/x").stdout)

    def test_no_network_but_for_pull(self):
        """list, show, verify, rm and inspect never ask anybody."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        self.pull("acme/x")
        self.hub.reset()
        for words in (["list"], ["show", "acme/x"], ["verify"], ["rm", "acme/x"], ["list"]):
            self.run_houle(*words)
        self.assertEqual(self.hub.requests, [])

    # ---- without memory ---------------------------------------------------------------------------------------------

    @unittest.skipUnless(TORTURE, "the program that makes allocations fail is not given")
    def test_without_memory(self):
        """Each allocation of a pull fails in its turn: an error each time, nothing lost, and then it works."""
        index = {"weight_map": {"w1": "a.safetensors", "w2": "b.safetensors"}}
        self.hub.add("acme/m", {"config.json": CONFIG, "a.safetensors": safetensors(60_000, "w1"),
                                "model.safetensors.index.json": json.dumps(index).encode(),
                                "b.safetensors": safetensors(20_000, "w2")})
        env = self.environment(HOULE_RETRY_SCALE="0", HOULE_RETRY_ATTEMPTS="2")
        done = subprocess.run([TORTURE, "acme/m"], env=env, capture_output=True, text=True, timeout=280)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-3000:])
        self.run_houle("verify", "acme/m")


if __name__ == "__main__":
    main()
