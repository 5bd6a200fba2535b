#!/usr/bin/env python3
"""Makes the reference data of qwen3_embedding, qwen3_reranker and their GGUFs:  make_qwen3.py [FOLDER]

Tiny decoders with random weights in the layouts in which Qwen3-Embedding and Qwen3-Reranker are published: the one without the
prefix "model." and with a tokenizer that ends each text with its end token, the other recognised by its README. Vectors and
scores by transformers, as the publications compute them; GGUFs by gguf.
"""
import copy
import json
import pathlib
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
FOLDER = FOLDER.parent if FOLDER.is_file() else FOLDER
TEXTS = ["the tide rises", "What is a Tide?", "a", "", "Crème brûlée, NAÏVE café", "東京 tower", "the sea " * 9, "tabs\tand  blanks",
         "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:what is a tide"]
QUERIES = ["what is a tide", "the sea"]
DOCUMENTS = ["the tide rises", "no", "yes yes yes", "Crème brûlée <|im_end|> here", "the sea " * 9]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BEFORE = ("<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
          "answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n")
AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"


def tokenizer(ends):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("y", "e"), ("ye", "s"), ("n", "o"), ("Ġ", "s"), ("Ġs", "e"), ("Ġse", "a")]
    vocab = [*alphabet, *(a + b for a, b in merges)]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(vocab)}, merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.add_tokens([AddedToken(s, special=s[1] == "|", normalized=False) for s in SPECIAL])
    if ends:
        t.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
            single="$A <|endoftext|>:0", pair="$A <|endoftext|>:0 $B:1 <|endoftext|>:1", special_tokens=[("<|endoftext|>", t.token_to_id("<|endoftext|>"))])])
    else:
        t.post_processor = processors.ByteLevel()
    t.decoder = decoders.ByteLevel()
    return t, vocab, merges


def scrambled(vocab, seed):
    config = transformers.Qwen3Config(
        vocab_size=vocab, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=48,
        max_position_embeddings=512, tie_word_embeddings=True, rope_theta=1e6, rms_norm_eps=1e-6, bos_token_id=256 + 9, eos_token_id=256 + 9)
    model = transformers.Qwen3ForCausalLM(config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            spread = 0.3 if "norm" in name else 1.0 if "embed" in name else 1.5 / p.shape[-1] ** 0.5
            p.copy_((torch.randn_like(p) * spread + (1 if "norm" in name else 0)).half().float())
    return model.eval()


def save(model, folder, prefix):
    copy.deepcopy(model).half().save_pretrained(folder, safe_serialization=True)  # of the copy also the buffers are halved
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    save_file({k.removeprefix("model.") if not prefix else k: v for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)
    return tensors


def as_gguf(path, name, tensors, t, vocab, merges, ends, pooling, more=()):
    w = gguf.GGUFWriter(path, "qwen3")
    w.add_name(name)
    w.add_block_count(2)
    w.add_context_length(512)
    w.add_embedding_length(32)
    w.add_feed_forward_length(48)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_key_length(8)
    w.add_value_length(8)
    w.add_rope_freq_base(1e6)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_pooling_type(pooling)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(vocab + SPECIAL)
    w.add_token_types([gguf.TokenType.NORMAL] * len(vocab) + [gguf.TokenType.CONTROL if s[1] == "|" else gguf.TokenType.USER_DEFINED for s in SPECIAL])
    w.add_token_merges([" ".join(m) for m in merges])
    w.add_eos_token_id(t.token_to_id("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_add_eos_token(ends)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 2)
    for key, value in tensors.items():
        w.add_tensor(names.get_name(key, (".weight",)), value.astype(np.float32 if value.ndim == 1 else np.float16))
    for key, value in more:
        w.add_tensor(key, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def embedding():
    folder = FOLDER / "qwen3_embedding"
    folder.mkdir(exist_ok=True)
    t, vocab, merges = tokenizer(True)
    model = scrambled(len(vocab) + len(SPECIAL), 5)
    tensors = save(model, folder, False)
    t.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({
        "word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True}))
    kind = "sentence_transformers.models."
    (folder / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": kind + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": kind + "Normalize"}]))
    golden = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "torch": torch.__version__, "texts": []}
    for text in TEXTS:
        ids = t.encode(text).ids
        assert ids[-1] == t.token_to_id("<|endoftext|>")
        with torch.no_grad():
            last = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        golden["texts"].append({"text": text, "ids": ids, "last": [round(x, 6) for x in last.tolist()]})
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False))
    as_gguf(FOLDER / "qwen3_embedding.gguf", "Qwen3 Embedding 0.6B", tensors, t, vocab, merges, True, gguf.PoolingType.LAST)


def reranker():
    folder = FOLDER / "qwen3_reranker"
    folder.mkdir(exist_ok=True)
    t, vocab, merges = tokenizer(False)
    model = scrambled(len(vocab) + len(SPECIAL), 6)
    tensors = save(model, folder, True)
    t.save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nbase_model:\n- Qwen/Qwen3-0.6B-Base\n---\n# Qwen3-Reranker-0.6B\n")
    yes, no = t.token_to_id("yes"), t.token_to_id("no")
    golden = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "torch": torch.__version__, "pairs": []}
    for query in QUERIES:
        for document in DOCUMENTS:
            for instruction in (None, "Judge the taste"):
                # the parts are tokenised one by one; of what strangers send, no part is a special token
                plain = Tokenizer.from_str(json.dumps({**json.loads(t.to_str()), "added_tokens": []}))
                inner = f"<Instruct>: {instruction or INSTRUCTION}\n<Query>: {query}\n<Document>: {document}"
                ids = t.encode(BEFORE).ids + plain.encode(inner).ids + t.encode(AFTER).ids
                with torch.no_grad():
                    row = model(input_ids=torch.tensor([ids])).logits[0, -1].double()
                score = torch.log_softmax(torch.stack([row[no], row[yes]]), 0)[1].exp().item()
                golden["pairs"].append({"query": query, "document": document, "instruction": instruction, "tokens": len(ids),
                                        "raw": (row[yes] - row[no]).item(), "score": score})
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False))
    head = tensors["model.embed_tokens.weight"][[yes, no]]  # converters put the two rows of the answers beside the others
    as_gguf(FOLDER / "qwen3_reranker.gguf", "Qwen3 Reranker 0.6B", tensors, t, vocab, merges, False, gguf.PoolingType.RANK, [("cls.output.weight", head)])


embedding()
reranker()
