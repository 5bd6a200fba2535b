#!/usr/bin/env python3
"""Makes the reference data of this folder:  make_embed.py [FOLDER]

Tiny encoders with random weights (kept as float16, computed in float32) and tokenizers of their own, in the layouts in which such
models are published; vectors and scores by transformers and tokenizers, a GGUF by gguf (the versions are written into golden.json).
"""
import json
import pathlib
import string
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
FOLDER = FOLDER.parent if FOLDER.is_file() else FOLDER
TEXTS = [
    "the tide rises", "What is a Tide?", "a", "Crème brûlée, NAÏVE café", "東京 tower", "the sea the sea the sea the sea the sea",
    "tabs\tand  blanks", "don't! (really)", "zzz qqq", "the [SEP] is text here",
]
PAIRS = [("what is a tide", text) for text in TEXTS[:6]] + [("the sea", "the sea")]
SHAPE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=48,
             hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def word_pieces():
    words = "the tide rises what is a sea tower cafe creme brulee naive text here and blank really don t".split()
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.ascii_lowercase[:20], *"!?,.()'", *words]
    vocab += ["##" + c for c in string.ascii_lowercase[:20]] + ["##s", "##es", "東"]
    vocab = list(dict.fromkeys(vocab))
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.decoder = decoders.WordPiece()
    t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return t, vocab


def byte_pieces():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "Ġt", "he", "Ġthe"]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(vocab)}, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return t, vocab


def unigram():
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(c, -4.0 - 0.01 * i) for i, c in enumerate(string.ascii_letters + "?!,.()'" + "èûéÏ東京")]
    pieces += [("▁the", -2.5), ("▁sea", -3.0), ("▁tide", -3.1), ("▁is", -3.2)]
    t = Tokenizer(models.Unigram(pieces, unk_id=3))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
                                                     special_tokens=[("<s>", 0), ("</s>", 2)])
    t.decoder = decoders.Metaspace()
    t.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return t, [p for p, _ in pieces]


def rounded(row):
    return [round(x, 6) for x in row.tolist()]


def scramble(model, seed):
    """Nothing trivial: norms that are not one, biases that are not zero, distributions that are not flat."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            spread = 0.3 if "norm" in name.lower() or name.endswith("bias") else 0.5 if "embeddings" in name else 2 / p.shape[-1] ** 0.5
            p.copy_((torch.randn_like(p) * spread + (1 if name.endswith("LayerNorm.weight") else 0)).half().float())
    return model.eval().float()


def make(name, config_class, model_class, tokenizer, seed, rerank, **more):
    t, vocab = tokenizer
    folder = FOLDER / name
    config = config_class(vocab_size=len(vocab), **SHAPE, **more)
    model = scramble(model_class(config), seed)
    model.half().save_pretrained(folder, safe_serialization=True)
    model = model_class.from_pretrained(folder, dtype=torch.float32).eval()  # whole: buffers were halved, too
    t.save(str(folder / "tokenizer.json"))
    golden = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "torch": torch.__version__}
    if rerank:
        golden["pairs"] = []
        for a, b in PAIRS:
            e = t.encode(a, b)
            ids, kinds = torch.tensor([e.ids]), torch.tensor([e.type_ids])
            more = {"token_type_ids": kinds} if config.type_vocab_size > 1 else {}
            with torch.no_grad():
                golden["pairs"].append({"query": a, "document": b, "ids": e.ids, "score": model(input_ids=ids, **more).logits[0, 0].item()})
    else:
        golden["texts"] = []
        for text in TEXTS:
            if "[SEP]" in text and name == "bert":  # characters for us; the library would take it for the token
                continue
            e = t.encode(text)
            with torch.no_grad():
                h = model(input_ids=torch.tensor([e.ids])).last_hidden_state[0]
            golden["texts"].append({"text": text, "ids": e.ids, "mean": rounded(h.mean(0)), "first": rounded(h[0]), "last": rounded(h[-1])})
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
                                                                        "pooling_mode_mean_tokens": True}))
        kind = "sentence_transformers.models."
        (folder / "modules.json").write_text(json.dumps([
            {"idx": 0, "name": "0", "path": "", "type": kind + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": kind + "Normalize"}]))
    if name == "bert":
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", "utf-8")
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False))


def make_gguf(name, source):
    """The same in a GGUF, with the names, keys and pieces that llama.cpp's converter gives them."""
    folder = FOLDER / source
    config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    vocab = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    w = gguf.GGUFWriter(FOLDER / name, "bert")
    w.add_name("tiny")
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_layer_norm_eps(config["layer_norm_eps"])
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.CLS)
    w.add_tokenizer_model("bert")
    w.add_token_type_count(config["type_vocab_size"])
    words = sorted(vocab, key=vocab.get)
    special = [p.startswith("[") and p.endswith("]") and len(p) > 2 for p in words]
    w.add_token_list([p if s else p[2:] if p.startswith("##") else "\u2581" + p for p, s in zip(words, special)])
    w.add_token_types([gguf.TokenType.CONTROL if s else gguf.TokenType.NORMAL for s in special])
    for key, piece in (("bos", "[CLS]"), ("eos", "[SEP]"), ("seperator", "[SEP]"), ("padding", "[PAD]"), ("unknown", "[UNK]"),
                       ("cls", "[CLS]"), ("mask", "[MASK]")):
        w.add_uint32(f"tokenizer.ggml.{key}_token_id", vocab[piece])
    names = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
             "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
             "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
             "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
             "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
    for tensor, numbers in tensors.items():
        stem, part = tensor.rsplit(".", 1)
        if stem.startswith("pooler"):
            continue
        layer = stem.split(".")[2] if stem.startswith("encoder") else None
        there = names[stem.split(".", 3)[3] if layer else stem]
        there = f"blk.{layer}.{there}.{part}" if layer else f"{there}.{part}"
        matrix = numbers.ndim == 2 and not there.startswith(("position", "token_types"))
        w.add_tensor(there, numbers if matrix else numbers.astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_both_ways():
    """A decoder's layers that see what follows, too, in windows where the layer has one."""
    t, vocab = unigram()
    config = transformers.Gemma3TextConfig(
        vocab_size=len(vocab), hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, query_pre_attn_scalar=16, sliding_window=8, max_position_embeddings=64, use_bidirectional_attention=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_theta=10000.0, rope_local_base_freq=1000.0)
    make("gemma_both", lambda vocab_size, **_: config, transformers.Gemma3TextModel, (t, vocab), 5, False)


def main():
    t = transformers
    make_both_ways()
    one = {"num_labels": 1}
    make("bert", t.BertConfig, t.BertModel, word_pieces(), 1, False, pad_token_id=0)
    make_gguf("bert.gguf", "bert")
    make("roberta", t.RobertaConfig, t.RobertaModel, byte_pieces(), 2, False, pad_token_id=1, type_vocab_size=1)
    make("bert_rerank", t.BertConfig, t.BertForSequenceClassification, word_pieces(), 3, True, pad_token_id=0, **one)
    make("xlm_roberta", t.XLMRobertaConfig, t.XLMRobertaForSequenceClassification, unigram(), 4, True, pad_token_id=1, type_vocab_size=1,
         layer_norm_eps=1e-5, **one)


main()
