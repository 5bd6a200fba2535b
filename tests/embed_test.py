#!/usr/bin/env python3
"""Vectors and scores of texts:  embed_test.py HOULE SIMILAR

Against the reference data of tests/golden/embed (tiny encoders: mean, first and last token, pairs), by the command and by the
server; with HOULE_MINILM naming the folder of all-MiniLM-L6-v2 also that.

Guards against: positions or segments counted from the wrong place, norms exchanged, text that leaks between the texts of a step,
tokens that see only what is before them, a pooling that is not the model's, texts cut without a word.
"""
import base64
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

HOULE, SIMILAR = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden" / "embed"
LEVELS = ("generic", "avx2", "avx512", "avx512vnni", "avx512bf16")


def houle(*args, status=0, env=None, text=""):
    run = subprocess.run([HOULE, *map(str, args)], input=text, capture_output=True, text=True, timeout=300,
                         env={**os.environ, **(env or {})})
    assert run.returncode == status, (args, run.returncode, run.stderr)
    return run.stdout if status == 0 else run.stderr


def vectors(model, texts, *args, env=None):
    lines = houle("embed", model, "--file", "-", "--precision", "f32", *args, env=env, text="\n".join(texts) + "\n").splitlines()
    out = [json.loads(line) for line in lines]
    assert [o["index"] for o in out] == list(range(len(texts)))
    return [o["tokens"] for o in out], np.array([o["embedding"] for o in out], np.float32)


def unit(rows):
    rows = np.array(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def near(got, want, limit=1e-4):
    off = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)).max()
    assert off < limit, off
    return off


def golden_of(name):
    return json.loads((GOLDEN / name / "golden.json").read_text("utf-8"))


def levels():
    """The CPU levels of this machine."""
    return [None] + [level for level in LEVELS
                     if subprocess.run([HOULE, "doctor"], capture_output=True, env={**os.environ, "HOULE_CPU": level}).returncode == 0]


def check_vectors(name):
    golden = golden_of(name)["texts"]
    texts, worst = [t["text"] for t in golden], 0.0
    for level in levels():
        tokens, got = vectors(GOLDEN / name, texts, env={"HOULE_CPU": level} if level else None)
        assert tokens == [len(t["ids"]) for t in golden], (name, tokens)
        worst = max(worst, near(got, unit([t["mean"] for t in golden])))
    _, raw = vectors(GOLDEN / name, texts, "--raw")
    mean = np.array([t["mean"] for t in golden])
    near(raw / np.abs(mean).max(), mean / np.abs(mean).max())
    alone = np.concatenate([vectors(GOLDEN / name, [text], "--threads", 1)[1] for text in texts])
    assert (alone == got).all(), "a text's vector depends on what stands beside it"
    _, many = vectors(GOLDEN / name, texts * 40)
    assert (many.reshape(40, *got.shape) == got).all()
    fast = json.loads(houle("embed", GOLDEN / name, texts[0]))["embedding"]
    assert np.dot(fast, got[0]) > 0.999
    return worst


def copy(folder, name, **changes):
    """A folder like that golden one, with other files: JSON text by name, None to leave one out."""
    shutil.copytree(GOLDEN / name, folder)
    for file, content in changes.items():
        path = folder / file.replace("__", "/").replace("_json", ".json")
        if content is None:
            path.unlink()
        else:
            path.write_text(json.dumps(content))
    return folder


def check_files(folder):
    """What the model's files say is done, or refused by name."""
    golden = golden_of("bert")["texts"]
    texts = [t["text"] for t in golden]
    first = copy(folder / "first", "bert", **{"1_Pooling__config_json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}})
    near(vectors(first, texts)[1], unit([t["first"] for t in golden]))
    last = copy(folder / "last", "bert", **{"1_Pooling__config_json": {"pooling_mode": "lasttoken"}})
    near(vectors(last, texts)[1], unit([t["last"] for t in golden]))
    (last / "modules.json").unlink()
    near(vectors(last, texts)[1], unit([t["last"] for t in golden]))
    shutil.rmtree(last / "1_Pooling")
    near(vectors(last, texts)[1], unit([t["mean"] for t in golden]))
    most = copy(folder / "most", "bert", **{"1_Pooling__config_json": {"pooling_mode_max_tokens": True}})
    assert "pooling" in houle("embed", most, "a", status=1)
    odd = copy(folder / "odd", "bert", modules_json=[{"type": "x.models.WeightedLayerPooling", "path": ""}])
    assert "WeightedLayerPooling" in houle("embed", odd, "a", status=1)
    _, short = vectors(GOLDEN / "bert", texts, "--dimensions", 5)
    near(short, unit([t["mean"][:5] for t in golden]))
    assert "32" in houle("embed", GOLDEN / "bert", "a", "--dimensions", 33, status=1)

    rng = np.random.default_rng(1)
    dense = copy(folder / "dense", "bert")
    modules = json.loads((dense / "modules.json").read_text())
    x = np.array([t["mean"] for t in golden])
    for i, (inner, outer, act) in enumerate([(32, 20, "torch.nn.modules.activation.Tanh"), (20, 8, "torch.nn.modules.linear.Identity")]):
        module = dense / f"{i + 2}_Dense"
        module.mkdir()
        weight, bias = rng.standard_normal((outer, inner)).astype(np.float32), rng.standard_normal(outer).astype(np.float32)
        tensors = {"linear.weight": weight} | ({"linear.bias": bias} if i == 0 else {})
        save_file(tensors, module / "model.safetensors")
        (module / "config.json").write_text(json.dumps({"in_features": inner, "out_features": outer, "bias": i == 0, "activation_function": act}))
        modules.insert(2 + i, {"path": module.name, "type": "sentence_transformers.models.Dense"})
        x = np.tanh(x @ weight.T + bias) if i == 0 else x @ weight.T
    (dense / "modules.json").write_text(json.dumps(modules))
    near(vectors(dense, texts)[1], unit(x))

    pieces = copy(folder / "pieces", "bert", tokenizer_json=None, tokenizer_config_json={"do_lower_case": True})
    assert [len(t["ids"]) for t in golden] == vectors(pieces, texts)[0]
    near(vectors(pieces, texts)[1], unit([t["mean"] for t in golden]))


def check_limits():
    message = houle("embed", GOLDEN / "bert", "a " * 100, status=1)
    assert "102" in message and "48" in message, message
    assert "46" in houle("embed", GOLDEN / "roberta", "a" * 100, status=1)  # two of 48 positions are never used
    assert "writes none" in houle("run", GOLDEN / "bert", "a", status=1)
    assert "scores" in houle("embed", GOLDEN / "bert_rerank", "a", status=1)


def check_gguf():
    """The same weights in a GGUF, whose pooling is the first token's; the tables of names and keys, the other tokenizer."""
    golden = golden_of("bert")["texts"]
    tokens, got = vectors(GOLDEN / "bert.gguf", [t["text"] for t in golden])
    assert tokens == [len(t["ids"]) for t in golden], tokens
    near(got, unit([t["first"] for t in golden]))


def check_qwen3(folder):
    """Decoders that were trained to embed (the row of the end token that closes a text) and to judge (yes or no), as folders and as GGUF."""
    golden = golden_of("qwen3_embedding")["texts"]
    texts, want = [t["text"] for t in golden if t["text"]], unit([t["last"] for t in golden if t["text"]])
    worst = 0.0
    for model in ("qwen3_embedding", "qwen3_embedding.gguf"):
        for level in levels():
            tokens, got = vectors(GOLDEN / model, [t.replace("\n", " ") for t in texts], env={"HOULE_CPU": level} if level else None)
            plain = ["\n" not in t for t in texts]
            assert [n for n, p in zip(tokens, plain) if p] == [len(t["ids"]) for t in golden if t["text"] and "\n" not in t["text"]], tokens
            worst = max(worst, near(got[plain], want[plain]))
    models = folder / "models"
    for name in ("qwen3_embedding", "qwen3_reranker"):
        shutil.copytree(GOLDEN / name, models / name)
        shutil.copy(GOLDEN / f"{name}.gguf", models / f"{name}_gguf.gguf")
    shutil.copytree(GOLDEN / "qwen3_reranker", models / "Qwen3-Reranker-0.6B")
    (models / "Qwen3-Reranker-0.6B" / "README.md").unlink() # the folder's name is what is left
    client = Client(folder, models)
    for model in ("qwen3_embedding", "qwen3_embedding_gguf"):
        answer = client.post("/v1/embeddings", model=model, input=[t["text"] for t in golden])
        worst = max(worst, near([d["embedding"] for d in answer["data"]], unit([t["last"] for t in golden])))
        assert answer["usage"]["prompt_tokens"] == sum(len(t["ids"]) for t in golden), answer["usage"]
        cut = client.post("/v1/embeddings", model=model, input=texts[0], dimensions=8)
        near(cut["data"][0]["embedding"], unit(golden[0]["last"][:8]))
        alone = client.post("/v1/embeddings", model=model, input=texts[2])
        assert alone["data"][0]["embedding"] == answer["data"][2]["embedding"]
        client.post("/v1/rerank", 400, model=model, query="a", documents=["b"])
    pairs = golden_of("qwen3_reranker")["pairs"]
    for model in ("qwen3_reranker", "qwen3_reranker_gguf", "Qwen3-Reranker-0.6B"):
        for query, instruction in {(p["query"], p["instruction"]) for p in pairs}:
            mine = [p for p in pairs if (p["query"], p["instruction"]) == (query, instruction)]
            more = {"instruction": instruction} if instruction else {}
            answer = client.post("/v1/rerank", model=model, query=query, documents=[p["document"] for p in mine], **more)
            worst = max(worst, near([r["relevance_score"] for r in sorted(answer["results"], key=lambda r: r["index"])], [p["score"] for p in mine]))
            assert answer["usage"]["prompt_tokens"] == sum(p["tokens"] for p in mine), answer["usage"]
            assert [r["relevance_score"] for r in answer["results"]] == sorted((r["relevance_score"] for r in answer["results"]), reverse=True)
            raw = client.post("/v1/rerank", model=model, query=query, texts=[p["document"] for p in mine], raw_scores=True, **more)
            near([r["score"] for r in sorted(raw, key=lambda r: r["index"])], [p["raw"] for p in mine], 1e-3)
        assert client.post("/v1/embeddings", 400, model=model, input="a")["error"]["param"] == "model"
    client.server.stop()
    return worst


def check_library():
    """The example program: the library from outside."""
    golden = golden_of("bert")["texts"]
    texts, want = [t["text"] for t in golden], unit([t["mean"] for t in golden])
    out = subprocess.run([SIMILAR, GOLDEN / "bert", *texts], capture_output=True, text=True, check=True, timeout=60).stdout
    near([float(line.split()[0]) for line in out.splitlines()], want[1:] @ want[0], 2e-3)
    long = subprocess.run([SIMILAR, GOLDEN / "bert", "a", "a " * 60], capture_output=True, text=True, timeout=60)
    assert long.returncode == 1 and "62" in long.stderr and "48" in long.stderr, long


class Client:
    def __init__(self, folder, models=None):
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        import serve_case
        serve_case.HOULE = HOULE
        if models is None:
            models = folder / "models"
            for name in ("bert", "bert_rerank", "xlm_roberta"):
                shutil.copytree(GOLDEN / name, models / name)
        config = folder / "config.json"
        config.write_text(json.dumps({"defaults": {"precision": "f32", "cache_type": "f32"}}))
        self.server = serve_case.Server(folder, "--models", str(models), "--config", str(config), "--memory", "1G")

    def post(self, path, status=200, **body):
        got, answer = self.server.post(path, body)
        assert got == status, (path, got, answer)
        return answer


def check_server(folder):
    golden, client = golden_of("bert")["texts"], Client(folder)
    want = unit([t["mean"] for t in golden])
    answer = client.post("/v1/embeddings", model="bert", input=[t["text"] for t in golden])
    near([d["embedding"] for d in answer["data"]], want)
    assert answer["usage"]["prompt_tokens"] == sum(len(t["ids"]) for t in golden)
    answer = client.post("/v1/embeddings", model="bert", input=[t["ids"] for t in golden], encoding_format="base64")
    near([struct.unpack("<32f", base64.b64decode(d["embedding"])) for d in answer["data"]], want)
    answer = client.post("/v1/embeddings", model="bert", input=golden[0]["ids"], dimensions=5)
    near(answer["data"][0]["embedding"], unit(golden[0]["mean"][:5]))
    error = client.post("/v1/embeddings", 400, model="bert", input=["a", "a " * 60])["error"]
    assert error["code"] == "context_length_exceeded" and "62" in error["message"] and "48" in error["message"], error
    assert client.post("/v1/embeddings", 400, model="bert", input="a", dimensions=64)["error"]["param"] == "dimensions"
    assert client.post("/v1/embeddings", 400, model="bert", input=[[1, 4000]])["error"]["param"] == "input"
    assert client.post("/v1/embeddings", 400, model="bert_rerank", input="a")["error"]["param"] == "model"
    error = client.post("/v1/chat/completions", 400, model="bert", messages=[{"role": "user", "content": "a"}])["error"]
    assert error["param"] == "model", error
    assert client.post("/v1/completions", 400, model="bert", prompt="a")["error"]["param"] == "model"

    for name in ("bert_rerank", "xlm_roberta"):
        for query in {p["query"] for p in golden_of(name)["pairs"]}:
            pairs = [p for p in golden_of(name)["pairs"] if p["query"] == query]
            documents = [p["document"] for p in pairs]
            answer = client.post("/v1/rerank", model=name, query=query, documents=documents, return_documents=True)
            scores = {r["index"]: r["relevance_score"] for r in answer["results"]}
            near([scores[i] for i in range(len(pairs))], [1 / (1 + np.exp(-p["score"])) for p in pairs])
            assert [r["index"] for r in answer["results"]] == sorted(scores, key=lambda i: -scores[i])
            assert all(r["document"]["text"] == documents[r["index"]] for r in answer["results"])
            assert answer["usage"]["prompt_tokens"] == sum(len(p["ids"]) for p in pairs)
            best = client.post("/rerank", model=name, query=query, documents=[{"text": d} for d in documents], top_n=1)["results"]
            assert best == [{k: v for k, v in answer["results"][0].items() if k != "document"}]
            raw = client.post("/rerank", model=name, query=query, texts=documents, raw_scores=True)
            near([{r["index"]: r["score"] for r in raw}[i] for i in range(len(pairs))], [p["score"] for p in pairs])
    assert client.post("/v1/rerank", 400, model="bert", query="a", documents=["b"])["error"]["param"] == "model"
    assert client.post("/v1/rerank", 400, model="bert_rerank", query="a", documents=[])["error"]["param"] == "documents"
    assert client.post("/v1/rerank", 400, model="bert_rerank", documents=["b"])["error"]["param"] == "query"
    error = client.post("/v1/rerank", 400, model="bert_rerank", query="a", documents=["b", "b " * 60])["error"]
    assert error["code"] == "context_length_exceeded", error
    client.server.stop()


def check_minilm():
    """The real model, when it is there."""
    model = os.environ.get("HOULE_MINILM")
    if not model:
        return "not there (HOULE_MINILM)"
    golden = json.loads((GOLDEN / "minilm.json").read_text("utf-8"))
    tokens, got = vectors(model, golden["texts"])
    assert tokens == golden["tokens"], tokens
    return f"off by {near(got, golden['vectors']):.1e}"


def main():
    worst = max(check_vectors("bert"), check_vectors("roberta"), check_vectors("gemma_both"))
    check_limits()
    check_gguf()
    check_library()
    with tempfile.TemporaryDirectory(prefix="houle_embed_") as folder:
        check_files(pathlib.Path(folder) / "files")
    with tempfile.TemporaryDirectory(prefix="houle_embed_") as folder:
        check_server(pathlib.Path(folder))
    with tempfile.TemporaryDirectory(prefix="houle_embed_") as folder:
        worst = max(worst, check_qwen3(pathlib.Path(folder)))
    print(f"embed: tiny models off by {worst:.1e}; MiniLM {check_minilm()}")


main()
