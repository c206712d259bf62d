# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny model: random weights, a tokenizer of numbered words. No hub is asked.

Runs in vLLM's environment:  python -m mfs_transport.testbed.vllm.model FOLDER

KV bytes of a token: 2 (K and V) * layers * heads * head size * 2 (bf16) = 4096.
The range of the weights is wide so that greedy outputs differ from prompt to prompt: with
the usual one a model of this size says the same word for ever, and a mix-up of KV would not
be seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

VOCABULARY = 1000
LAYERS, HEADS, HIDDEN = 4, 4, 256
KV_TOKEN_BYTES = 2 * LAYERS * HIDDEN * 2
MOST_TOKENS = 8192


def main(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(2603)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MOST_TOKENS,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    (folder / "made.json").write_text(json.dumps({"kv_token_bytes": KV_TOKEN_BYTES}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
