"""Learning transfer as its authors describe it (Chijiwa, ICLR 2024), written anew from the paper: torch for gradients and
products, scipy for assignments, one thread. Runs the job in the folder given (see bench/official.ts, which writes it) and
prints one JSON line: per step objective, sweeps and held-out accuracy; CPU seconds by part. Where a limit of CPU seconds is given after the
folder, it ends within a step when they are spent, with the steps it has finished.

As in the authors' program: every solve starts from the identity, every lap computes its similarity anew from all pairs, a
sweep counts as progress above 1e-7, GMT gathers all pairs anew at every step.
"""
import json
import sys
import time
from collections import defaultdict

import numpy
import scipy
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

torch.set_num_threads(1)
folder = sys.argv[1]
limit_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")
job = json.load(open(f"{folder}/job.json"))
spent = defaultdict(float)


class OutOfTime(Exception):
    pass


class part:
    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.start = time.process_time()

    def __exit__(self, *_):
        spent[self.name] += time.process_time() - self.start
        if time.process_time() - begin > limit_seconds:
            raise OutOfTime


def floats(name):
    return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.f32", dtype="<f4"))


def labels(name):
    return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.i32", dtype="<i4")).long()


def state(name):
    values, at, tensors = floats(name), 0, {}
    for key, shape in job["parameters"]:
        size = int(numpy.prod(shape))
        tensors[key] = values[at : at + size].reshape(shape)
        at += size
    return tensors


def forward(parameters, x):
    values = {"input": x}
    for node in job["graph"]["nodes"]:
        a = values[node["inputs"][0]]
        op = node["op"]
        weight = parameters.get(f"{node['name']}.weight")
        bias = parameters.get(f"{node['name']}.bias")
        if op == "dense":
            a = F.linear(a, weight, bias)
        elif op == "conv2d":
            a = F.conv2d(a, weight, bias, padding=node["pad"])
        elif op == "relu":
            a = F.relu(a)
        elif op == "max_pool":
            a = F.max_pool2d(a, tuple(node["kernel"]))
        elif op == "global_max_pool":
            a = F.adaptive_max_pool2d(a, 1)
        elif op == "flatten":
            a = a.flatten(1)
        else:
            raise ValueError(op)
        values[node["name"]] = a
    return values[job["graph"]["output"]]


inputs = floats("batches").reshape([-1, *job["input"]]).split(job["batchSizes"])
classes = labels("batches").split(job["batchSizes"])
held_inputs = floats("held").reshape([-1, *job["input"]])
held_classes = labels("held")
source_start, source_end, target_start = state("source-start"), state("source-end"), state("target")
next_batch = 0


def gradient(parameters, batch):
    with part("gradients"):
        leaves = {key: value.clone().requires_grad_(True) for key, value in parameters.items()}
        loss = F.cross_entropy(forward(leaves, inputs[batch]), classes[batch])
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))


def permuted(key, tensor, permutations, but=None):
    tensor = tensor.reshape(job["views"][key])
    for axis, group in enumerate(job["axes"][key]):
        if group is not None and axis != but:
            tensor = tensor.index_select(axis, permutations[group])
    return tensor


def interpolated(fraction):
    return {key: value + fraction * (source_end[key] - value) for key, value in source_start.items()}


def shifted(point, permutations):
    return {
        key: value + permuted(key, point[key] - source_start[key], permutations).reshape(value.shape)
        for key, value in target_start.items()
    }


def pair_at(step, permutations):
    global next_batch
    batch, next_batch = (step, next_batch) if job["fixed"] else (next_batch, next_batch + 1)
    source = interpolated(job["fractions"][step])
    return gradient(shifted(source, permutations), batch), gradient(source, batch)


def similarity(pairs, group, permutations):
    with part("similarity"):
        size = group["size"]
        total = torch.zeros(size, size)
        for target, source in pairs:
            for member in group["members"]:
                key, axis = member["tensor"], member["axis"]
                t = target[key].reshape(job["views"][key]).moveaxis(axis, 0).reshape(size, -1)
                s = permuted(key, source[key], permutations, axis).moveaxis(axis, 0).reshape(size, -1)
                total += t @ s.T
        return total.numpy()


def identity():
    return {group["id"]: torch.arange(group["size"]) for group in job["groups"]}


def solve(pairs, orders):
    permutations = identity()
    for sweep in range(100):
        progress = False
        for index in orders[sweep % len(orders)]:
            group = job["groups"][index]
            a = similarity(pairs, group, permutations)
            with part("assignment"):
                rows, columns = linear_sum_assignment(a, maximize=True)
                before = float(a[rows, permutations[group["id"]].numpy()].sum(dtype=numpy.float64))
                after = float(a[rows, columns].sum(dtype=numpy.float64))
                permutations[group["id"]] = torch.from_numpy(columns)
                progress = progress or after > before + 1e-7
        if not progress:
            break
    return permutations, sweep + 1


def objective(pairs, permutations):
    total = 0.0
    for target, source in pairs:
        for key, axes in job["axes"].items():
            if key in target and any(group is not None for group in axes):
                total += float((target[key].reshape(job["views"][key]).double() * permuted(key, source[key], permutations).double()).sum())
    return total


def accuracy(parameters):
    with part("evaluation"), torch.no_grad():
        return float((forward(parameters, held_inputs).argmax(1) == held_classes).float().mean())


begin = time.process_time()
permutations, pairs, steps = identity(), [], []
try:
    start_accuracy = accuracy(target_start)  # the best step may be none at all
    for step in range(1, len(job["fractions"])):
        if job["method"] == "gmt":
            pairs = [pair_at(point, permutations) for point in range(step)]
        else:
            pairs.append(pair_at(step - 1, permutations))
        permutations, sweeps = solve(pairs, job["orders"][step - 1])
        state = accuracy(shifted(interpolated(job["fractions"][step]), permutations))
        paused = time.process_time()
        # The objective is not part of the authors' program: not on the clock.
        steps.append({"sweeps": sweeps, "accuracy": state, "objective": objective(pairs, permutations)})
        begin += time.process_time() - paused
except OutOfTime:
    pass
total = time.process_time() - begin
print(json.dumps({
    "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__},
    "steps": steps,
    "cpuMs": {**{key: 1e3 * value for key, value in spent.items()}, "total": 1e3 * total},
}))
