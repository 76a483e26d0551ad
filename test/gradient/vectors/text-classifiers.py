"""Makes distilbert.json, bert.json and bert-pairs.json beside it: scores, loss and gradients of tiny classifiers of texts, in f64.

Written from the papers' descriptions with nn.functional alone, and as PyTorch's users have it: a mask of keys by -inf.
/usr/bin/python3 text-classifiers.py; made with torch 1.13.
"""
import json
import math
import os

import torch
import torch.nn.functional as F

VOCABULARY, POSITIONS, TYPES, WIDTH, HEADS, DEPTH, CLASSES, PADDING = 11, 7, 2, 6, 2, 2, 3, 0

# Of each network what its layers are called.
NAMES = {
    "distilbert": {
        "layer": "distilbert.transformer.layer.{}",
        "attention": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        "norms": ("sa_layer_norm", "output_layer_norm"),
        "mlp": ("ffn.lin1", "ffn.lin2"),
        "pooled": ("pre_classifier", F.relu),
    },
    "bert": {
        "layer": "bert.encoder.layer.{}",
        "attention": ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        "norms": ("attention.output.LayerNorm", "output.LayerNorm"),
        "mlp": ("intermediate.dense", "output.dense"),
        "pooled": ("bert.pooler.dense", torch.tanh),
    },
}

# Full length, short, of one token, and padding amidst.
TOKENS = torch.tensor([[1, 4, 7, 9, 10, 2], [1, 5, 2, 0, 0, 0], [3, 0, 0, 0, 0, 0], [1, 8, 0, 6, 2, 0]])
LABELS = torch.tensor([0, 2, 1, 2])

# Pairs for BERT, each text ended by a 2: full length, short, of three texts, a single one, and padding amidst the second. Types are as
# Hugging Face's tokeniser gives them.
SEPARATOR = 2
PAIRS = torch.tensor([[1, 4, 2, 7, 9, 2], [1, 2, 8, 2, 0, 0], [1, 2, 5, 2, 6, 2], [1, 5, 10, 2, 0, 0], [1, 2, 3, 0, 6, 2]])
PAIRS_TYPES = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
PAIRS_LABELS = torch.tensor([2, 0, 1, 2, 0])


def shapes_of(network):
    names = NAMES[network]
    shapes = {f"{network}.embeddings.word_embeddings.weight": [VOCABULARY, WIDTH]}
    if network == "bert":
        shapes["bert.embeddings.token_type_embeddings.weight"] = [TYPES, WIDTH]
    shapes[f"{network}.embeddings.position_embeddings.weight"] = [POSITIONS, WIDTH]
    shapes[f"{network}.embeddings.LayerNorm"] = [WIDTH]
    for n in range(DEPTH):
        layer = names["layer"].format(n)
        for name in names["attention"]:
            shapes[f"{layer}.{name}"] = [WIDTH, WIDTH]
        shapes[f"{layer}.{names['norms'][0]}"] = [WIDTH]
        shapes[f"{layer}.{names['mlp'][0]}"] = [4 * WIDTH, WIDTH]
        shapes[f"{layer}.{names['mlp'][1]}"] = [WIDTH, 4 * WIDTH]
        shapes[f"{layer}.{names['norms'][1]}"] = [WIDTH]
    shapes[names["pooled"][0]] = [WIDTH, WIDTH]
    shapes["classifier"] = [CLASSES, WIDTH]
    return shapes


def drawn(shape, scale, centre=0.0):
    """Two decimals, as they stand in the file, rounded to f32 as they are read."""
    values = (centre + scale * torch.randn(shape, dtype=torch.float64)).mul(100).round() / 100
    return values.float().double().requires_grad_()


def parameters_of(network):
    parameters = {}
    for name, shape in shapes_of(network).items():
        if name.endswith(".weight"):
            parameters[name] = drawn(shape, 0.7)
        elif len(shape) == 1:
            parameters[f"{name}.weight"] = drawn(shape, 0.2, 1.0)
            parameters[f"{name}.bias"] = drawn(shape, 0.3)
        else:
            parameters[f"{name}.weight"] = drawn(shape, math.sqrt(2 / shape[1]))
            parameters[f"{name}.bias"] = drawn(shape[:1], 0.3)
    return parameters


def scores_of(network, parameters, tokens, types):
    names = NAMES[network]

    def table(name):
        return parameters[f"{network}.embeddings.{name}.weight"]

    def linear(name, x):
        return F.linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, [WIDTH], parameters[f"{name}.weight"], parameters[f"{name}.bias"], 1e-12)

    def attention(layer, x, mask):
        *parts, out = (f"{layer}.{name}" for name in names["attention"])
        q, k, v = (linear(part, x).unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        scores = (q / math.sqrt(WIDTH // HEADS)) @ k.transpose(2, 3)
        weights = scores.masked_fill(mask[:, None, None, :], -math.inf).softmax(-1)
        return linear(out, (weights @ v).transpose(1, 2).flatten(2))

    mask = tokens == PADDING
    x = F.embedding(tokens, table("word_embeddings"))
    if network == "bert":
        x = x + F.embedding(types, table("token_type_embeddings"))
    x = norm(f"{network}.embeddings.LayerNorm", x + table("position_embeddings")[: tokens.shape[1]])
    for n in range(DEPTH):
        layer = names["layer"].format(n)
        first, second = (f"{layer}.{name}" for name in names["norms"])
        up, down = (f"{layer}.{name}" for name in names["mlp"])
        x = norm(first, attention(layer, x, mask) + x)
        x = norm(second, linear(down, F.gelu(linear(up, x))) + x)
    pooled, activation = names["pooled"]
    return linear("classifier", activation(linear(pooled, x[:, 0])))


def listed(tensor):
    return [float(f"{value:.6g}") for value in tensor.flatten().tolist()]


def write(name, network, tokens, types, labels, more):
    """The same parameters for every file of a network."""
    torch.manual_seed(1)
    parameters = parameters_of(network)
    scores = scores_of(network, parameters, tokens, types)
    loss = F.cross_entropy(scores, labels)
    loss.backward()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.json"), "w") as file:
        json.dump(
            {
                "torch": torch.__version__,
                "preset": {
                    "input": [tokens.shape[1]], "classes": CLASSES, "vocabulary": VOCABULARY, "positions": POSITIONS, "width": WIDTH,
                    "heads": HEADS, "depth": DEPTH, **more,
                },
                "tokens": tokens.flatten().tolist(),
                "labels": labels.tolist(),
                "parameters": {name: [round(value, 2) for value in tensor.flatten().tolist()] for name, tensor in parameters.items()},
                "scores": listed(scores),
                "loss": float(f"{loss.item():.9g}"),
                "gradients": {name: listed(tensor.grad) for name, tensor in parameters.items()},
            },
            file,
            separators=(",", ":"),
        )
        file.write("\n")


for network in NAMES:
    write(network, network, TOKENS, torch.zeros_like(TOKENS), LABELS, {})
write("bert-pairs", "bert", PAIRS, PAIRS_TYPES, PAIRS_LABELS, {"separator": SEPARATOR})
