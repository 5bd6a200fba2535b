#!/usr/bin/env python3
"""plan_test.py HOULE - houle plan, and bench without weights: figures that are finite and agree with one another.

Times are never compared with anything: tests run on busy machines."""
import json
import math
import os
import pathlib

import tiny_model
from store_case import StoreCase, main

CONFIGS = pathlib.Path(__file__).resolve().parent / "data" / "configs"
FEW = os.environ.get("HOULE_TEST_FEW") == "1"


def numbers(value):
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


class PlanTest(StoreCase):
    def json_of(self, *arguments):
        out = json.loads(self.run_houle(*map(str, arguments), "--json", timeout=300).stdout)
        self.assertTrue(all(math.isfinite(n) and n >= 0 for n in numbers(out)), out)
        return out

    def rates(self):
        return pathlib.Path(self.home) / ".cache" / "houle" / "rates.json"

    def check_plan(self, plan):
        own = plan["as_it_is"]
        self.assertGreater(own["prompt_tokens_per_second"], 0)
        self.assertGreater(own["generation_tokens_per_second"], 0)
        self.assertGreater(plan["generation_tokens_per_second_at_full_context"], 0)
        memory = plan["memory"]
        self.assertEqual(own["memory_bytes"], memory["weight_bytes"] + memory["cache_bytes"] + memory["working_bytes"])
        sizes = [row["weight_bytes"] for row in plan["types"]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertTrue(all(row["generation_tokens_per_second"] > 0 for row in plan["types"]))

    def test_local_model(self):
        """Memory is what a session takes; what was measured is used again, and measured anew when it is asked for or broken."""
        model = tiny_model.make(pathlib.Path(self.home) / "model", width=256)
        plan = self.json_of("plan", model, "--ctx", 256)
        self.check_plan(plan)
        self.assertTrue(plan["here"] and plan["exact"] and plan["as_it_is"]["fits"])
        report = self.run_houle("inspect", str(model), "--memory", "--ctx", "256").stdout
        self.assertIn("256 tokens", report)
        self.assertEqual(plan["memory"]["cache_bytes_per_token"], 2 * 2 * 2 * 64 * 2)
        if not plan["disturbed"]:
            first = self.rates().read_text()
            self.json_of("plan", model)
            self.assertEqual(self.rates().read_text(), first)
        self.rates().parent.mkdir(parents=True, exist_ok=True)
        self.rates().write_text('{"key": {}, "linear": 7}')
        self.check_plan(self.json_of("plan", model))
        text = self.run_houle("plan", str(model)).stdout
        for word in ("memory", "speed", "tokens/s", "advice", "q4_k"):
            self.assertIn(word, text)

    def test_configuration(self):
        """A config.json is enough."""
        plan = self.json_of("plan", CONFIGS / "deepseek_v3.json")
        self.check_plan(plan)
        self.assertFalse(plan["exact"])
        self.assertTrue(plan["experts_can_be_streamed"])
        self.assertGreater(plan["memory"]["weight_bytes"], 600 << 30)

    def test_hub(self):
        """Models on the hub: headers are fetched, weights are not, and nothing is kept."""
        model = tiny_model.make(pathlib.Path(self.home) / "model")
        files = {p.name: p.read_bytes() for p in model.iterdir()}
        self.hub.add("acme/tiny", files)
        plan = self.json_of("plan", "acme/tiny")
        self.check_plan(plan)
        self.assertFalse(plan["here"])
        self.assertGreater(plan["disk"]["bytes"], len(files["model.safetensors"]))
        self.assertEqual(self.hub.sent_bytes("model.safetensors"), 0)
        golden = pathlib.Path(__file__).resolve().parent / "golden" / "gguf"
        gguf = next((p for p in sorted(golden.rglob("*.gguf")) if "llama" in p.name and "malformed" not in p.parts), None)
        if gguf is not None:
            self.hub.add("acme/tiny-GGUF", {"tiny-F32.gguf": gguf.read_bytes()})
            plan = self.json_of("plan", "acme/tiny-GGUF")
            self.check_plan(plan)
            self.assertTrue(plan["exact"])
        self.assertFalse(os.path.exists(self.models) and os.listdir(self.models))
        gone = self.run_houle("plan", "acme/nothing", code=1).stderr
        self.assertIn("acme/nothing", gone)

    def test_refusals(self):
        self.assertIn("nowhere", self.run_houle("plan", "./nowhere.gguf", code=1).stderr)
        self.assertIn("--help", self.run_houle("plan", "x", "-p", "0", code=2).stderr)
        self.assertIn("--shape", self.run_houle("bench", "x", "--layers", "2", code=1).stderr)
        config = str(CONFIGS / "smollm2_135m.json")
        self.assertIn("q4_k", self.run_houle("bench", "--shape", config, "--type", "q4_z", code=1).stderr)

    def test_shapes(self):
        """Dense, recurrent and sparse networks run without weights; the whole is told from its kinds of layers."""
        for name, kind in (("smollm2_135m", "q4_0"), ("lfm2_350m", "q4_k"), ("granite_4_0_h_tiny", "q4_k"), ("gpt_oss_20b", None))[:2 if FEW else 4]:
            command = ["bench", "--shape", CONFIGS / f"{name}.json", "--layers", 1, "-p", 8, "-n", 2, "-r", 1, "--profile"]
            result = self.json_of(*command, *(["--type", kind] if kind else []))
            shape = result["shape"]
            self.assertEqual(shape["type"], kind or "mxfp4")
            self.assertLess(shape["layers_measured"], shape["layers"])
            self.assertEqual(sum(k["layers"] for k in shape["kinds"]), shape["layers"])
            self.assertEqual(sum(k["measured"] for k in shape["kinds"]), shape["layers_measured"])
            self.assertTrue(all(k["measured"] > 0 and k["generation_seconds"] > 0 for k in shape["kinds"]))
            self.assertGreater(shape["whole"]["generation_tokens_per_second"], 0)
            self.assertLess(shape["whole"]["generation_tokens_per_second"], result["generation"]["tokens_per_second"])
            self.assertTrue(all(result["profile"][phase] for phase in ("prompt", "generation")))

    def test_kernels(self):
        """Every kernel by itself: forms of weights, attention, rows."""
        if FEW:
            self.skipTest("plain C is slow in this build")
        result = self.json_of("bench", "--kernels", "-r", 1)
        lines = result["kernels"]
        self.assertGreater(len(lines), 60)
        self.assertTrue(all(line["seconds"] > 0 and line["times_plain_c"] > 0 for line in lines))
        self.assertTrue({"linear Q4_K", "attend f16", "recur", "rms_norm"} <= {line["kernel"] for line in lines})


if __name__ == "__main__":
    main()
