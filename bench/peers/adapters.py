"""Trains small DistilBERTs of transformers and LoRA adapters of PEFT, and scores them, for bench/adapters.ts: one request a line on
stdin, words separated by tabs, one JSON answer a line.

base FOLDER SEED TEXTS: trains a network until it is right on 95 % of the texts, and saves it; the iterations that it took.
adapt BASE FOLDER TEXTS ITERATIONS: trains an adapter on it, its last layer from zeros, and saves it.
score BASE ADAPTER TEXTS: the share of texts that the base with the adapter is right on.
"""
import json
import sys

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import DistilBertConfig, DistilBertForSequenceClassification

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CONFIG = dict(
    vocab_size=25, max_position_embeddings=16, dim=64, n_heads=4, n_layers=2, hidden_dim=256, num_labels=4, dropout=0.0,
    attention_dropout=0.0, seq_classif_dropout=0.0,
)
ADAPTER = dict(
    task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    modules_to_save=["pre_classifier", "classifier"],
)


def texts(path):
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    longest = max(len(row["input_ids"]) for row in rows)
    tokens = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    return tokens, (tokens != 0).long(), torch.tensor([row["labels"] for row in rows])


def right(model, path):
    tokens, mask, labels = texts(path)
    model.eval()
    with torch.no_grad():
        return (model(input_ids=tokens, attention_mask=mask).logits.argmax(1) == labels).float().mean().item()


def train(model, path, iterations, seed, enough=1):
    """At most so many; every 200 it looks whether it is enough. The iterations that it took."""
    tokens, mask, labels = texts(path)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=2e-3)
    for iteration in range(iterations):
        if enough < 1 and iteration % 200 == 0 and right(model, path) >= enough:
            return iteration
        model.train()
        rows = torch.randint(0, len(labels), (32,))
        optimiser.zero_grad()
        model(input_ids=tokens[rows], attention_mask=mask[rows], labels=labels[rows]).loss.backward()
        optimiser.step()
    return iterations


def load(folder):
    model = DistilBertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    return model


def answer(verb, *words):
    if verb == "base":
        folder, seed, path = words
        torch.manual_seed(int(seed))
        model = DistilBertForSequenceClassification(DistilBertConfig(**CONFIG))
        iterations = train(model, path, 6000, int(seed), 0.95)
        model.save_pretrained(folder)
        return iterations
    if verb == "adapt":
        base, folder, path, iterations = words
        model = get_peft_model(load(base), LoraConfig(**ADAPTER))
        train(model, path, int(iterations), 9)
        model.save_pretrained(folder)
        return None
    base, adapter, path = words
    return right(PeftModel.from_pretrained(load(base), adapter), path)


print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}), flush=True)
for request in sys.stdin:
    print(json.dumps(answer(*request.rstrip("\n").split("\t"))), flush=True)
