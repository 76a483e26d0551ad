"""Makes the folders beside it: tiny networks of transformers, LoRA adapters on them as PEFT trains and saves them, and what PEFT
merges the two to, with its scores of the batch below.

python make.py; made with transformers 5.17, PEFT 0.21, torch 2.13.
"""
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    DistilBertConfig, DistilBertForSequenceClassification, GPT2Config, GPT2LMHeadModel, ViTConfig, ViTForImageClassification,
)

HERE = os.path.dirname(os.path.abspath(__file__))


def distilbert():
    return DistilBertForSequenceClassification(DistilBertConfig(
        vocab_size=11, max_position_embeddings=8, dim=8, n_heads=2, n_layers=2, hidden_dim=32, num_labels=3, dropout=0, attention_dropout=0,
        seq_classif_dropout=0,
    ))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_head=2, n_layer=2, embd_pdrop=0, attn_pdrop=0, resid_pdrop=0, bos_token_id=0,
        eos_token_id=0,
    ))


def vit():
    return ViTForImageClassification(ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32, num_labels=3,
        hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    ))


TOKENS = torch.tensor([[1, 4, 7, 9, 10, 2, 3, 5], [1, 5, 2, 8, 6, 4, 4, 9]])
IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
LABELS = torch.tensor([0, 2])

# Folder, network, what it is trained on, the adapter's settings.
CASES = [
    ("distilbert", distilbert, dict(input_ids=TOKENS, labels=LABELS), dict(
        task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["q_lin", "v_lin", "lin1"],
    )),
    # Conv1D, [in, out], square and not; the embedding of positions; alphas and ranks of their own; scales by the root of the rank.
    ("gpt2", gpt2, dict(input_ids=TOKENS, labels=TOKENS), dict(
        task_type="CAUSAL_LM", r=2, lora_alpha=3, target_modules=["c_attn", "attn.c_proj", "wpe"], fan_in_fan_out=True, use_rslora=True,
        rank_pattern={"h.1.attn.c_attn": 4}, alpha_pattern={"h.1.attn.c_attn": 5},
    )),
    # Queries, keys and values of their own, which the network's weight has joined; biases are trained too.
    ("vit", vit, dict(pixel_values=IMAGES, labels=LABELS), dict(
        r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "query", "value"], bias="lora_only", modules_to_save=["classifier"],
    )),
]

for folder, network, batch, settings in CASES:
    at = os.path.join(HERE, folder)
    shutil.rmtree(at, ignore_errors=True)
    os.makedirs(at)
    torch.manual_seed(1)
    base = network()
    state = {name: value.clone().contiguous() for name, value in base.state_dict().items() if name != "lm_head.weight"}
    save_file(state, os.path.join(at, "base.safetensors"), {"format": "pt"})
    adapted = get_peft_model(base, LoraConfig(**settings))
    optimiser = torch.optim.AdamW(adapted.parameters(), lr=0.02)
    for _ in range(8):
        optimiser.zero_grad()
        adapted(**batch).loss.backward()
        optimiser.step()
    adapted.save_pretrained(at, save_embedding_layers=False)
    os.remove(os.path.join(at, "README.md"))
    adapted.eval()
    with torch.no_grad():
        scores = adapted(**batch).logits.contiguous()
    merged = adapted.merge_and_unload().state_dict()
    tensors = {name: merged[name].clone().contiguous() for name in state}
    save_file({**tensors, "scores": scores}, os.path.join(at, "merged.safetensors"), {"format": "pt"})
