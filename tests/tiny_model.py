"""A model small enough to be made by a test: random weights of the plain decoder, with a real tokenizer and a template.

What it says means nothing, but it says it through everything that a published model goes through."""
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(folder, seed=1, width=64, layers=2, context=512, template=TEMPLATE, experts=0):
    """Writes config.json, model.safetensors and the tokenizer's files; returns the folder. experts: so many in each layer, of which
    a token uses two."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = HERE / "golden" / "tokenizer" / "synth" / "synth_bytebpe"
    shutil.copy(source / "tokenizer.json", folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    ids = list(tokenizer["model"]["vocab"].values()) + [t["id"] for t in tokenizer["added_tokens"]]
    vocab = max(ids) + 1
    settings = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": width, "intermediate_size": 2 * width,
        "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocab,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": context, "tie_word_embeddings": True,
        "hidden_act": "silu",
    }
    if experts:
        config |= {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "num_experts": experts, "num_experts_per_tok": 2,
                   "moe_intermediate_size": width, "norm_topk_prob": True, "head_dim": width // 4, "decoder_sparse_step": 1, "mlp_only_layers": []}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    rng = np.random.default_rng(seed)

    def matrix(rows, cols, scale=1.0):
        return (rng.standard_normal((rows, cols)) * scale / np.sqrt(cols)).astype(np.float32)

    kv = width // 2
    weights = {"model.embed_tokens.weight": matrix(vocab, width, 4.0), "model.norm.weight": np.ones(width, np.float32)}
    for i in range(layers):
        at = f"model.layers.{i}."
        weights |= {
            at + "input_layernorm.weight": np.ones(width, np.float32),
            at + "post_attention_layernorm.weight": np.ones(width, np.float32),
            at + "self_attn.q_proj.weight": matrix(width, width),
            at + "self_attn.k_proj.weight": matrix(kv, width),
            at + "self_attn.v_proj.weight": matrix(kv, width),
            at + "self_attn.o_proj.weight": matrix(width, width),
        }
        if not experts:
            weights |= {
                at + "mlp.gate_proj.weight": matrix(2 * width, width),
                at + "mlp.up_proj.weight": matrix(2 * width, width),
                at + "mlp.down_proj.weight": matrix(width, 2 * width),
            }
            continue
        weights |= {at + "mlp.gate.weight": matrix(experts, width), at + "self_attn.q_norm.weight": np.ones(width // 4, np.float32),
                    at + "self_attn.k_norm.weight": np.ones(width // 4, np.float32)}
        for e in range(experts):
            for name in ("gate_proj", "up_proj", "down_proj"):
                weights[at + f"mlp.experts.{e}.{name}.weight"] = matrix(width, width)
    save_file(weights, folder / "model.safetensors")
    return folder
