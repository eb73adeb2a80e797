"""A GGUF file of a few kilobytes: a random Llama of two layers that knows eight tokens."""

from pathlib import Path

import gguf
import numpy as np

TOKENS = ["<|endoftext|>", "a", "b", "c", "Ġ", "ab", "Ġa", "i"]
D, FF, HEADS = 32, 64, 2
# name of a block's tensor -> shape
BLOCK = {
    "attn_norm": (D,),
    "ffn_norm": (D,),
    "attn_q": (D, D),
    "attn_k": (D // HEADS, D),
    "attn_v": (D // HEADS, D),
    "attn_output": (D, D),
    "ffn_gate": (FF, D),
    "ffn_up": (FF, D),
    "ffn_down": (D, FF),
}


def write_gguf(
    path: Path, *, tokenizer: bool = True, arch: str = "llama", layers: int = 2, seed: int = 0, half: str = ""
) -> Path:
    """The file; without `tokenizer` it holds weights alone.

    `half`: matrices in float16, and norms in float32 that "fit" into float16, or do "not".
    """
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_vocab_size(len(TOKENS))
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(TOKENS)
        writer.add_token_types([3, *[1] * (len(TOKENS) - 1)])
        writer.add_token_merges(["a b", "Ġ a"])
        for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_unk_token_id, writer.add_pad_token_id):
            add(0)
        writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %} a")
    random = np.random.default_rng(seed)
    shapes = {"token_embd": (len(TOKENS), D), "output_norm": (D,)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(layers) for name, shape in BLOCK.items()}
    for name, shape in shapes.items():
        values = 0.3 * random.standard_normal(shape).astype(np.float32)
        if half and (len(shape) > 1 or half == "fit"):
            values = values.astype(np.float16).astype(np.float16 if len(shape) > 1 else np.float32)
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
