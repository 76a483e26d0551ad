"""What PyTorch makes of a graph, for test/fuzz/graph-checks.ts: one request a line on stdin, one JSON answer a line.

Request: graph, tensors (parameters and buffers by name: shape, data), trained (names), inputs, labels, count, loss, draws.
Answer: scores in evaluation mode, and in training mode the loss and every gradient, all in f64; rounding, the largest
error that f32 causes of a tensor's gradient, valueRounding, the same of scores and loss. Shapes are worked out by
PyTorch, not taken from us.
"""
import json
import math
import sys

import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def features(x):
    """The axis of channels or features."""
    return 1 if x.dim() == 4 else -1


def along_features(x, function):
    return function(x.movedim(features(x), -1)).movedim(-1, features(x))


def per_channel(vector, x):
    return vector.reshape([1, -1] + [1] * (x.dim() - 2))


def pad(x, padding, value=0.0):
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def transposed(node, x, weight, bias):
    top, bottom, left, right = node["padding"]
    settings = {"stride": node["stride"], "dilation": node["dilation"], "groups": node["groups"]}
    if (top, left) == (bottom, right):
        return F.conv_transpose2d(x, weight, bias, padding=(top, left), output_padding=node["output_padding"], **settings)
    whole = F.conv_transpose2d(x, weight, None, **settings)
    rows, columns = node["output_padding"]
    whole = F.pad(whole, (0, columns, 0, rows))
    y = whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]
    return y if bias is None else y + per_channel(bias, y)


def attention(node, inputs, padded):
    heads, key_heads = node["heads"], node["key_heads"]
    if len(inputs) == 1:
        width = inputs[0].shape[2] // (heads + 2 * key_heads)
        inputs = inputs[0].split([heads * width, key_heads * width, key_heads * width], dim=2)
    q, k, v = (x.unflatten(2, (count, -1)).transpose(1, 2) for x, count in zip(inputs, (heads, key_heads, key_heads)))
    k, v = (x.repeat_interleave(heads // key_heads, dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
    if node["causal"]:
        scores = scores.masked_fill(torch.ones(scores.shape[2:], dtype=torch.bool).triu(1), -math.inf)
    if node.get("masked"):
        scores = scores.masked_fill(padded[:, None, None, :], -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def types(separator, tokens, padded):
    """1 behind the first separator, but for padding."""
    is_separator = (tokens == separator).long()
    behind = is_separator.cumsum(1) - is_separator > 0
    return (behind if padded is None else behind & ~padded).long()


def apply(node, inputs, of, training, tokens, padded):
    op, name, x = node["op"], node["name"], inputs[0]
    own = lambda suffix: of(f"{name}.{suffix}")
    bias = own("bias") if node.get("bias") else None
    if op == "dense":
        return along_features(x, lambda rows: F.linear(rows, own("weight").T if node.get("transposed") else own("weight"), bias))
    if op == "tied_dense":
        return along_features(x, lambda rows: F.linear(rows, of(node["with"] + ".weight")))
    if op == "conv2d":
        return F.conv2d(pad(x, node["padding"]), own("weight"), bias, node["stride"], 0, node["dilation"], node["groups"])
    if op == "conv_transpose2d":
        return transposed(node, x, own("weight"), bias)
    if op in ("relu", "relu6", "silu", "hardsigmoid", "hardswish", "tanh", "sigmoid"):
        return getattr(torch if op in ("relu", "tanh", "sigmoid") else F, op)(x)
    if op == "leaky_relu":
        return F.leaky_relu(x, node["slope"])
    if op == "elu":
        return F.elu(x, node["alpha"])
    if op == "gelu":
        return F.gelu(x, approximate=node["approximate"])
    if op == "max_pool":
        return F.max_pool2d(pad(x, node["padding"], -math.inf), node["kernel"], node["stride"])
    if op == "average_pool":
        return F.avg_pool2d(pad(x, node["padding"]), node["kernel"], node["stride"])
    if op in ("adaptive_max_pool", "global_max_pool"):
        return F.adaptive_max_pool2d(x, node.get("size", 1))
    if op in ("adaptive_average_pool", "global_average_pool"):
        return F.adaptive_avg_pool2d(x, node.get("size", 1))
    if op == "batch_norm":
        statistics = None if training else own("running_mean"), None if training else own("running_var")
        return F.batch_norm(x, *statistics, own("weight"), own("bias"), training, 0.0, node["epsilon"])
    if op == "group_norm":
        # Not F.group_norm, which refuses groups of a single value.
        return torch.group_norm(x, node["groups"], own("weight"), own("bias"), node["epsilon"])
    if op == "layer_norm":
        return along_features(x, lambda rows: F.layer_norm(rows, rows.shape[-1:], own("weight"), own("bias"), node["epsilon"]))
    if op == "rms_norm":
        return along_features(x, lambda rows: rows * torch.rsqrt((rows * rows).mean(-1, keepdim=True) + node["epsilon"]) * own("weight"))
    if op == "softmax":
        return x.softmax(features(x))
    if op == "layer_scale":
        return along_features(x, lambda rows: rows * own(node["parameter"]).flatten())
    if op == "flatten":
        return x.flatten(1)
    if op == "add":
        return sum(inputs[1:], x)
    if op == "multiply":
        return x * inputs[1]
    if op == "concat":
        return torch.cat(inputs, features(x))
    if op == "slice":
        return x.narrow(features(x), node["start"], node["length"])
    if op == "tokens":
        return x.flatten(2).transpose(1, 2)
    if op == "transpose":
        return x.transpose(1, 2)
    if op == "reshape":
        return x.reshape(-1, *node["shape"])
    if op == "embedding":
        return F.embedding(x, own("weight"))
    if op == "position_embedding":
        return x + (of(name)[0] if node["bare"] else own("weight"))[: x.shape[1]]
    if op == "type_embedding":
        return x + (F.embedding(types(node["separator"], tokens, padded), own("weight")) if "separator" in node else own("weight")[0])
    if op == "class_token":
        return torch.cat([of(name).expand(x.shape[0], 1, -1), x], 1)
    if op == "select_token":
        return x[:, node["index"]]
    if op == "mean_tokens":
        return x.mean(1)
    if op == "attention":
        return attention(node, inputs, padded)
    raise ValueError(op)


def loss_of(scores, labels, loss):
    scores = scores.reshape(len(labels), -1)
    if loss["kind"] == "softmax-cross-entropy":
        return F.cross_entropy(scores, labels, label_smoothing=loss["labelSmoothing"])
    targets = F.one_hot(labels, scores.shape[1]).to(scores.dtype)
    return (F.mse_loss if loss["kind"] == "mean-squared-error" else F.binary_cross_entropy_with_logits)(scores, targets)


LAST_BIT = 2.0**-23


def off(x):
    return x * (1 + LAST_BIT * (2 * torch.rand_like(x) - 1))


def noisy(x):
    """Off by up to an f32's last bit, and so is its gradient."""
    y = off(x)
    if y.requires_grad:
        y.register_hook(off)
    return y


def compute(request, tensors, rounded=lambda x: x, dtype=torch.float64):
    graph = request["graph"]
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    trained = {name: tensors[name].clone().requires_grad_() for name in request["trained"]}
    own = {**tensors, **trained}
    inputs = torch.tensor(request["inputs"], dtype=torch.long if "vocabulary" in graph else dtype).reshape(request["count"], *graph["input"])

    padded = inputs == graph["padding"] if "padding" in graph else None

    def forward(training):
        values = {"input": inputs}
        for node in graph["nodes"]:
            values[node["name"]] = rounded(apply(node, [values[name] for name in node["inputs"]], own.__getitem__, training, inputs, padded))
        return values[graph["output"]]

    loss = loss_of(forward(True), torch.tensor(request["labels"]), request["loss"])
    if trained:
        loss.backward()
    gradients = {name: torch.zeros_like(x) if x.grad is None else x.grad.double() for name, x in trained.items()}
    return forward(False).flatten().tolist(), loss.item(), gradients


def largest_error(gradients, truth):
    """Of a tensor, relative to itself or a thousandth of the largest, as graph-checks.ts has it."""
    floor = max([1e-9] + [1e-3 * t.norm().item() for t in truth.values()])
    return max([0.0] + [(gradients[name] - t).norm().item() / max(t.norm().item(), floor) for name, t in truth.items()])


def value_error(scores, loss, true_scores, true_loss):
    """Of scores or loss, with a floor as graph-checks.ts has it."""
    of = lambda a, b: (a - b).norm().item() / max(b.norm().item(), 1e-3)
    return max(of(torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)) for x, y in ((scores, true_scores), ([loss], [true_loss])))


def rounding_of(request, tensors, truth):
    """Everything on the way off in f64, and f32 itself from points that are off: each misses what the other happens to round to nothing."""
    noise = []

    def note(got, wanted):
        noise.append((largest_error(got[2], wanted[2]), value_error(*got[:2], *wanted[:2])))

    for _ in range(request["draws"]):
        note(compute(request, tensors, noisy), truth)
    for _ in range(request["draws"]):
        moved = {name: off(tensor).float().double() for name, tensor in tensors.items()}
        note(compute(request, moved, dtype=torch.float32), compute(request, moved))
    return [max(kind) for kind in zip(*noise)]


print(json.dumps({"torch": torch.__version__}), flush=True)
for line in sys.stdin:
    # A network's verdict must not depend on those before it.
    torch.manual_seed(1)
    request = json.loads(line)
    tensors = {name: torch.tensor(data, dtype=torch.float64).reshape(shape) for name, (shape, data) in request["tensors"].items()}
    truth = compute(request, tensors)
    scores, loss, gradients = truth
    listed = {name: gradient.flatten().tolist() for name, gradient in gradients.items()}
    rounding, of_values = rounding_of(request, tensors, truth)
    # JSON has no infinity, which f32 may end in where f64 does not.
    rounding, of_values = (min(error, 1e300) for error in (rounding, of_values))
    print(json.dumps({"scores": scores, "loss": loss, "gradients": listed, "rounding": rounding, "valueRounding": of_values}), flush=True)
