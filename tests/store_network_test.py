"""store_network_test.py HOULE - pulls that are killed, cut off, lied to, and told to wait."""
import json
import os
import random
import signal
import subprocess
import time

from hub_server import HubServer
from store_case import CHUNK, CONFIG, HOULE, LARGE, MEDIUM, MIB, SMALL, StoreCase, gguf, main, safetensors


class NetworkTest(StoreCase):
    # ---- cut off ----------------------------------------------------------------------------------------------------

    def test_killed_twenty_times(self):
        """kill -9 at random moments: what is recorded as here is never asked for again, and the result is right."""
        data = gguf(200 * MIB, seed=5)
        self.hub.add("acme/big", {"big-Q8_0.gguf": data})
        self.hub.rate = 14 * MIB
        kills, resumed = 0, 0
        for attempt in range(60):
            known = self.done_chunks()
            with self.hub.lock:
                self.hub.requests.clear()
            process = self.start_pull("acme/big", "--connections", "2")
            try:
                process.wait(random.uniform(0.05, 0.8) if kills < 20 else 120)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            process.communicate()
            self.hub.rate = self.hub.rate if kills < 20 else 0
            for first, last in self.ranges("big-Q8_0"):
                if first == 0 and last < MIB:
                    continue  # the look at the header
                asked = set(range(first // CHUNK, last // CHUNK + 1))
                self.assertFalse(asked & known, "chunks %s were here" % sorted(asked & known))
            resumed += bool(known)
            if process.returncode == 0:
                break
        self.assertEqual(process.returncode, 0)
        self.assertEqual(kills, 20, "the download ended too early to be killed so often")
        self.assertGreater(resumed, 5)
        self.check_file("acme/big", data)
        self.run_houle("verify")
        self.assertEqual(self.partials(), [])
        waste = self.hub.sent_bytes("big-Q8_0") - len(data)
        self.assertLess(waste, 20 * (2 * CHUNK + 3 * MIB), "more was fetched again than the chunks under way")

    def test_killed_with_many_files(self):
        """The same with many small files: killed between files, while moving into place, while noting."""
        files = {"config.json": CONFIG}
        index = {"weight_map": {}}
        for i in range(60):
            name = "model-%05d-of-00060.safetensors" % (i + 1)
            files[name] = safetensors(30_000, "w%d" % i, i)
            index["weight_map"]["w%d" % i] = name
        files["model.safetensors.index.json"] = json.dumps(index).encode()
        self.hub.add("acme/many", files)
        for attempt in range(40):
            process = self.start_pull("acme/many")
            try:
                process.wait(random.uniform(0.02, 0.25) if attempt < 15 else 120)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()
            if process.returncode == 0:
                break
        self.assertEqual(process.returncode, 0)
        self.assertIn("62 of 62 files are good", self.run_houle("verify").stdout)
        self.assertEqual(self.partials(), [])

    def test_interrupted(self):
        """Ctrl-C ends a download with a message, and list, rm and pull know what is here."""
        self.hub.add("acme/big", {"big-Q8_0.gguf": LARGE})
        self.hub.rate = 6 * MIB
        process = self.start_pull("acme/big", "--connections", "2")
        self.wait_until(self.done_chunks)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"the same command goes on", stderr)
        listed = self.listed()["acme/big:Q8_0"]
        self.assertFalse(listed["complete"])
        self.assertGreater(listed["present_bytes"], 0)
        self.assertIn("not complete", self.run_houle("verify", "big", code=1).stdout)
        self.run_houle("rm", "big")
        self.assertEqual(self.partials(), [])
        self.hub.rate = 0
        self.pull("acme/big")
        self.check_file("big", LARGE)

    def test_two_at_once(self):
        """Two processes pull the same model: one says so and leaves it to the other."""
        self.hub.add("acme/big", {"big-Q8_0.gguf": LARGE})
        self.hub.rate = 20 * MIB
        first = self.start_pull("acme/big")
        self.wait_until(lambda: any(name.endswith(".map") for name in self.partials()))
        self.assertIn("another houle", self.pull("acme/big", code=1).stderr)
        self.assertIn("another houle", self.run_houle("rm", "acme/big", code=1).stderr)
        first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0)
        self.check_file("big", LARGE)

    def test_lost_index(self):
        """Without its index, the store believes the files that have the right checksum."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        self.pull("acme/x")
        for name in os.listdir(self.data):
            if name.startswith("index.db"):
                os.unlink(os.path.join(self.data, name))
        self.assertEqual(self.listed(), {})
        self.hub.reset()
        self.pull("acme/x")
        self.assertEqual(self.hub.sent_bytes(), 0)
        self.check_file("acme/x", LARGE)

    # ---- a bad network ----------------------------------------------------------------------------------------------

    def check_survives(self, *faults, seconds=30):
        """The model arrives whole in spite of the faults."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": MEDIUM})
        for fault in faults:
            self.hub.fault(**fault)
        began = time.monotonic()
        self.pull("acme/x")
        self.assertLess(time.monotonic() - began, seconds)
        self.check_file("acme/x", MEDIUM)
        self.run_houle("rm", "acme/x")
        self.hub.reset()

    def test_survives(self):
        """Everything that another try can mend."""
        self.check_survives({"kind": "cut", "after": 1_000_000, "times": 8, "skip": 1})
        self.check_survives({"kind": "cut", "after": 0, "times": 3, "skip": 1})
        self.check_survives({"kind": "short_length", "times": 4, "skip": 1})
        self.check_survives({"kind": "long_length", "times": 4, "skip": 1})
        self.check_survives({"kind": "no_ranges", "times": 3, "skip": 1})
        self.check_survives({"kind": "no_ranges", "times": 999})
        self.check_survives({"kind": "no_ranges", "times": 999},
                            {"kind": "cut", "after": 9 * MIB, "times": 2, "skip": 2})
        self.check_survives({"kind": "extra_bytes", "times": 5, "skip": 1})
        self.check_survives({"kind": "status", "code": 500, "times": 3, "skip": 1})
        self.check_survives({"kind": "status", "code": 503, "times": 3, "skip": 1})
        self.check_survives({"kind": "status", "code": 403, "times": 2, "skip": 5})  # a signature has expired
        self.check_survives({"kind": "status", "code": 502, "times": 2, "where": "hub"})
        self.check_survives({"kind": "stall", "after": 300_000, "times": 2, "skip": 1})

    def test_obeys_retry_after(self):
        """429 with Retry-After: nobody asks again before; without: soon."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        self.hub.fault("status", code=429, times=1, skip=1, headers={"Retry-After": "2"})
        began = time.monotonic()
        self.pull("acme/x")
        self.assertGreater(time.monotonic() - began, 2)
        self.hub.add("acme/y", {"y-Q8_0.gguf": SMALL})
        self.hub.fault("status", code=429, times=1, where="hub", headers={"RateLimit": '"api";r=0;t=1'})
        began = time.monotonic()
        self.pull("acme/y")
        self.assertGreater(time.monotonic() - began, 1)
        self.hub.add("acme/z", {"z-Q8_0.gguf": SMALL})
        self.hub.fault("status", code=429, times=99, where="hub", headers={"Retry-After": "100000"})
        self.assertIn("429", self.pull("acme/z", code=1).stderr)

    def test_gives_up(self):
        """What does not get better ends with a message, and what came before stays."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        for fault, words in (({"kind": "status", "code": 500}, "500"), ({"kind": "status", "code": 404}, "not found"),
                             ({"kind": "cut", "after": 0}, "closed"), ({"kind": "wrong_range"}, "another part"),
                             ({"kind": "compressed"}, "compressed"), ({"kind": "status", "code": 416}, "")):
            self.hub.fault(times=999, skip=4, **fault)
            stderr = self.pull("acme/x", code=1).stderr
            self.assertIn(words, stderr)
            self.hub.reset()
            self.run_houle("rm", "acme/x")
        self.pull("acme/x")
        self.check_file("acme/x", LARGE)

    def test_fewer_connections(self):
        """A server that lets only two connections at a time in is served with two."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        self.hub.rate = 10 * MIB
        hub = self.hub

        class Crowd:
            kind, code, headers, do, after = "status", 503, {}, None, 0

            def strikes(self, where, path):
                return where == "cdn" and hub.open >= 2
        hub.faults.append(Crowd())
        self.pull("acme/x", "--connections", "6")
        self.check_file("acme/x", LARGE)

    def test_wrong_bytes(self):
        """Bytes that are not the publisher's are never put in place, nor kept for the next time."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE, "LICENSE": b"one"})
        self.hub.fault("wrong_bytes", times=1, skip=3)
        self.assertIn("checksum", self.pull("acme/x", code=1).stderr)
        self.assertFalse(self.listed()["acme/x:Q8_0"]["complete"])
        self.hub.reset()
        self.pull("acme/x")
        self.check_file("acme/x", LARGE)
        # A small file, whose checksum is git's.
        self.hub.add("acme/y", {"y-Q8_0.gguf": SMALL, "LICENSE": b"two words"})
        self.hub.fault("wrong_bytes", times=1, match="LICENSE", where="hub")
        self.assertIn("LICENSE", self.pull("acme/y", code=1).stderr)
        self.pull("acme/y")

    def test_content_changes_meanwhile(self):
        """A file that is replaced while it is fetched: one or the other as a whole, never a mixture."""
        old, new = gguf(24 * MIB, seed=1), gguf(24 * MIB, seed=2)
        self.hub.plain["m-Q8_0.gguf"] = old

        def change():
            self.hub.plain["m-Q8_0.gguf"] = new
        self.hub.fault("call", do=change, where="hub", match="/plain/", skip=4)
        self.pull(self.hub.url + "/plain/m-Q8_0.gguf", "--connections", "2")
        self.check_file("m:q8_0", new)
        # On the hub a commit never changes: what does not have its checksum is refused.
        repo = self.hub.add("acme/x", {"x-Q8_0.gguf": old})
        self.hub.fault("call", do=lambda: repo.files.update({"x-Q8_0.gguf": new}), skip=3)
        self.pull("acme/x", code=1)
        repo.files["x-Q8_0.gguf"] = old
        self.hub.reset()
        again = subprocess.run([HOULE, "pull", "acme/x"], env=self.environment(), capture_output=True)
        if again.returncode != 0:  # what came of the other file was kept until its checksum showed it to be wrong
            self.pull("acme/x")
        self.check_file("acme/x", old)

    def test_lies_about_size(self):
        """The list says another size than the server has."""
        repo = self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        self.hub.fault("call", do=lambda: repo.files.update({"x-Q8_0.gguf": LARGE[:-100]}), skip=1)
        self.assertRegex(self.pull("acme/x", code=1).stderr, "should have|another file")

    def test_strange_answers(self):
        """The hub's answer is nonsense, or its list of files leads out of the folder."""
        hub = self.hub
        files = {"../../evil.gguf": SMALL, "/etc/evil.gguf": SMALL, "a/../../evil.gguf": SMALL, "ok-Q8_0.gguf": SMALL}
        hub.add("acme/x", files)
        self.pull("acme/x")
        found = [os.path.join(folder, name) for folder, _, names in os.walk(self.home) for name in names]
        self.assertFalse([path for path in found if "evil" in path])
        answer = {"code": 200, "headers": {"Content-Type": "application/json"}}
        hub.fault("status", where="hub", match="/api/", times=1, **answer)
        self.assertIn("answer", self.pull("acme/x2", code=1).stderr)

    def test_rate_limit(self):
        """--limit-rate holds over all connections."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": gguf(8 * MIB, seed=3)})
        began = time.monotonic()
        self.pull("acme/x", "--limit-rate", "3M")
        seconds = time.monotonic() - began
        self.assertGreater(seconds, 2.2)
        self.assertLess(seconds, 8)

    def test_parallel(self):
        """Several connections at a time, and no more than was said."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": LARGE})
        self.hub.rate = 20 * MIB
        self.pull("acme/x", "--connections", "5")
        self.assertGreaterEqual(self.hub.most_open, 4)
        self.assertLessEqual(self.hub.most_open, 5)
        self.assertLess(self.hub.sent_bytes() - len(LARGE), 4 * MIB)

    def test_proxy(self):
        """http_proxy and no_proxy, as everywhere."""
        self.hub.add("acme/x", {"x-Q8_0.gguf": SMALL})
        other = HubServer()
        self.addCleanup(other.close)
        self.pull("acme/x", env={"http_proxy": other.url})
        self.assertGreater(len([r for r in other.requests if r[0] == "proxy"]), 2)
        self.check_file("acme/x", SMALL)
        self.run_houle("rm", "acme/x")
        other.reset()
        self.pull("acme/x", env={"http_proxy": other.url, "no_proxy": "127.0.0.1"})
        self.assertEqual(other.requests, [])


if __name__ == "__main__":
    main()
