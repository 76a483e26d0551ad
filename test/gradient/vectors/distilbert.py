"""Makes distilbert.json beside it: scores, loss and gradients of a tiny DistilBERT for sequence classification, in f64.

Written from the paper's description with nn.functional alone, and as PyTorch's users have it: a mask of keys by -inf.
/usr/bin/python3 distilbert.py; made with torch 1.13.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

VOCABULARY, POSITIONS, WIDTH, HEADS, DEPTH, CLASSES, PADDING = 11, 7, 8, 2, 2, 3, 0

torch.manual_seed(1)
shapes = {
    "distilbert.embeddings.word_embeddings.weight": [VOCABULARY, WIDTH],
    "distilbert.embeddings.position_embeddings.weight": [POSITIONS, WIDTH],
    "distilbert.embeddings.LayerNorm": [WIDTH],
}
for n in range(DEPTH):
    layer = f"distilbert.transformer.layer.{n}"
    for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
        shapes[f"{layer}.attention.{name}"] = [WIDTH, WIDTH]
    shapes[f"{layer}.sa_layer_norm"] = [WIDTH]
    shapes[f"{layer}.ffn.lin1"] = [4 * WIDTH, WIDTH]
    shapes[f"{layer}.ffn.lin2"] = [WIDTH, 4 * WIDTH]
    shapes[f"{layer}.output_layer_norm"] = [WIDTH]
shapes["pre_classifier"] = [WIDTH, WIDTH]
shapes["classifier"] = [CLASSES, WIDTH]


def drawn(shape, scale, centre=0.0):
    """Three decimals, as they stand in the file, rounded to f32 as they are read."""
    values = (centre + scale * torch.randn(shape, dtype=torch.float64)).mul(1000).round() / 1000
    return values.float().double().requires_grad_()


parameters = {}
for name, shape in shapes.items():
    if name.endswith(".weight"):
        parameters[name] = drawn(shape, 0.7)
    elif len(shape) == 1:
        parameters[f"{name}.weight"] = drawn(shape, 0.2, 1.0)
        parameters[f"{name}.bias"] = drawn(shape, 0.3)
    else:
        parameters[f"{name}.weight"] = drawn(shape, math.sqrt(2 / shape[1]))
        parameters[f"{name}.bias"] = drawn(shape[:1], 0.3)


def linear(name, x):
    return F.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])


def norm(name, x):
    return F.layer_norm(x, [WIDTH], parameters[f"{name}.weight"], parameters[f"{name}.bias"], 1e-12)


def attention(name, x, mask):
    q, k, v = (linear(f"{name}.{one}", x).unflatten(2, (HEADS, -1)).transpose(1, 2) for one in ("q_lin", "k_lin", "v_lin"))
    scores = (q / math.sqrt(WIDTH // HEADS)) @ k.transpose(2, 3)
    weights = scores.masked_fill(mask[:, None, None, :], -math.inf).softmax(-1)
    return linear(f"{name}.out_lin", (weights @ v).transpose(1, 2).flatten(2))


def scores_of(tokens):
    mask = tokens == PADDING
    words = F.embedding(tokens, parameters["distilbert.embeddings.word_embeddings.weight"])
    x = norm("distilbert.embeddings.LayerNorm", words + parameters["distilbert.embeddings.position_embeddings.weight"][: tokens.shape[1]])
    for n in range(DEPTH):
        layer = f"distilbert.transformer.layer.{n}"
        x = norm(f"{layer}.sa_layer_norm", attention(f"{layer}.attention", x, mask) + x)
        x = norm(f"{layer}.output_layer_norm", linear(f"{layer}.ffn.lin2", F.gelu(linear(f"{layer}.ffn.lin1", x))) + x)
    return linear("classifier", F.relu(linear("pre_classifier", x[:, 0])))


# Full length, short, of one token, and padding amidst.
tokens = torch.tensor([[1, 4, 7, 9, 10, 2], [1, 5, 2, 0, 0, 0], [3, 0, 0, 0, 0, 0], [1, 8, 0, 6, 2, 0]])
labels = torch.tensor([0, 2, 1, 2])
scores = scores_of(tokens)
loss = F.cross_entropy(scores, labels)
loss.backward()


def listed(tensor):
    return [float(f"{value:.9g}") for value in tensor.flatten().tolist()]


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "distilbert.json"), "w") as file:
    json.dump(
        {
            "torch": torch.__version__,
            "preset": {
                "input": [tokens.shape[1]], "classes": CLASSES, "vocabulary": VOCABULARY, "positions": POSITIONS, "width": WIDTH,
                "heads": HEADS, "depth": DEPTH,
            },
            "tokens": tokens.flatten().tolist(),
            "labels": labels.tolist(),
            "parameters": {name: [round(value, 3) for value in tensor.flatten().tolist()] for name, tensor in parameters.items()},
            "scores": listed(scores),
            "loss": float(f"{loss.item():.9g}"),
            "gradients": {name: listed(tensor.grad) for name, tensor in parameters.items()},
        },
        file,
        separators=(",", ":"),
    )
    file.write("\n")
