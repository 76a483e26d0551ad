"""Learning transfer as its authors describe it (Chijiwa, ICLR 2024), written anew from the paper: torch for gradients and
products, scipy for assignments, one thread. Runs jobs for bench/official.ts, which writes their folders: one request a
line on stdin, one JSON answer a line: per step objective, sweeps and held-out accuracy; CPU milliseconds by part.

Request: folder, limit (tab-separated). Once so many CPU seconds are spent, a job ends within a step, with the steps it
has finished.

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


class OutOfTime(Exception):
    pass


class Clock:
    """CPU seconds in all and by part; `with clock.part(name)` books them, and ends the job where they pass the limit."""

    def __init__(self, limit):
        self.limit = limit
        self.spent = defaultdict(float)
        self.begin = time.process_time()

    def total(self):
        return time.process_time() - self.begin

    def part(self, name):
        return Part(self, name)


class Part:
    def __init__(self, clock, name):
        self.clock = clock
        self.name = name

    def __enter__(self):
        self.start = time.process_time()

    def __exit__(self, *_):
        self.clock.spent[self.name] += time.process_time() - self.start
        if self.clock.total() > self.clock.limit:
            raise OutOfTime


class Job:
    """What a folder holds."""

    def __init__(self, folder):
        def floats(name):
            return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.f32", dtype="<f4"))

        def labels(name):
            return torch.from_numpy(numpy.fromfile(f"{folder}/{name}.i32", dtype="<i4")).long()

        def state(name):
            values, at, tensors = floats(name), 0, {}
            for key, shape in self.parameters:
                size = int(numpy.prod(shape))
                tensors[key] = values[at : at + size].reshape(shape)
                at += size
            return tensors

        with open(f"{folder}/job.json") as file:
            about = json.load(file)
        self.is_gmt, self.fixed, self.graph, self.parameters = about["method"] == "gmt", about["fixed"], about["graph"], about["parameters"]
        self.groups, self.views, self.axes = about["groups"], about["views"], about["axes"]
        self.fractions, self.orders = about["fractions"], about["orders"]
        self.inputs = floats("batches").reshape([-1, *about["input"]]).split(about["batchSizes"])
        self.classes = labels("batches").split(about["batchSizes"])
        self.held_inputs = floats("held").reshape([-1, *about["input"]])
        self.held_classes = labels("held")
        self.source_start, self.source_end, self.target_start = state("source-start"), state("source-end"), state("target")


class Transfer:
    def __init__(self, job, limit):
        self.job = job
        self.next_batch = 0
        self.steps = []
        self.clock = Clock(limit)

    def run(self):
        job = self.job
        try:
            self.accuracy(job.target_start)  # the best step may be none at all
            permutations, pairs = self.identity(), []
            for step in range(1, len(job.fractions)):
                if job.is_gmt:
                    pairs = [self.pair_at(point, permutations) for point in range(step)]
                else:
                    pairs.append(self.pair_at(step - 1, permutations))
                permutations, sweeps = self.solve(pairs, job.orders[step - 1])
                accuracy = self.accuracy(self.shifted(self.interpolated(job.fractions[step]), permutations))
                paused = time.process_time()
                # The objective is not part of the authors' program: not on the clock.
                self.steps.append({"sweeps": sweeps, "accuracy": accuracy, "objective": self.objective(pairs, permutations)})
                self.clock.begin += time.process_time() - paused
        except OutOfTime:
            pass
        return {"steps": self.steps, "cpuMs": {**{key: 1e3 * value for key, value in self.clock.spent.items()}, "total": 1e3 * self.clock.total()}}

    def forward(self, parameters, x):
        values = {"input": x}
        for node in self.job.graph["nodes"]:
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
        return values[self.job.graph["output"]]

    def gradient(self, parameters, batch):
        with self.clock.part("gradients"):
            leaves = {key: value.clone().requires_grad_(True) for key, value in parameters.items()}
            loss = F.cross_entropy(self.forward(leaves, self.job.inputs[batch]), self.job.classes[batch])
            return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))

    def permuted(self, key, tensor, permutations, but=None):
        tensor = tensor.reshape(self.job.views[key])
        for axis, group in enumerate(self.job.axes[key]):
            if group is not None and axis != but:
                tensor = tensor.index_select(axis, permutations[group])
        return tensor

    def interpolated(self, fraction):
        end = self.job.source_end
        return {key: value + fraction * (end[key] - value) for key, value in self.job.source_start.items()}

    def shifted(self, point, permutations):
        start = self.job.source_start
        return {
            key: value + self.permuted(key, point[key] - start[key], permutations).reshape(value.shape)
            for key, value in self.job.target_start.items()
        }

    def pair_at(self, step, permutations):
        batch = step if self.job.fixed else self.next_batch
        self.next_batch += 1
        source = self.interpolated(self.job.fractions[step])
        return self.gradient(self.shifted(source, permutations), batch), self.gradient(source, batch)

    def similarity(self, pairs, group, permutations):
        with self.clock.part("similarity"):
            size = group["size"]
            total = torch.zeros(size, size)
            for target, source in pairs:
                for member in group["members"]:
                    key, axis = member["tensor"], member["axis"]
                    t = target[key].reshape(self.job.views[key]).moveaxis(axis, 0).reshape(size, -1)
                    s = self.permuted(key, source[key], permutations, axis).moveaxis(axis, 0).reshape(size, -1)
                    total += t @ s.T
            return total.numpy()

    def identity(self):
        return {group["id"]: torch.arange(group["size"]) for group in self.job.groups}

    def solve(self, pairs, orders):
        permutations = self.identity()
        for sweep in range(100):
            progress = False
            for index in orders[sweep % len(orders)]:
                group = self.job.groups[index]
                a = self.similarity(pairs, group, permutations)
                with self.clock.part("assignment"):
                    rows, columns = linear_sum_assignment(a, maximize=True)
                    before = float(a[rows, permutations[group["id"]].numpy()].sum(dtype=numpy.float64))
                    after = float(a[rows, columns].sum(dtype=numpy.float64))
                    permutations[group["id"]] = torch.from_numpy(columns)
                    progress = progress or after > before + 1e-7
            if not progress:
                break
        return permutations, sweep + 1

    def objective(self, pairs, permutations):
        total = 0.0
        for target, source in pairs:
            for key, axes in self.job.axes.items():
                if key in target and any(group is not None for group in axes):
                    t = target[key].reshape(self.job.views[key]).double()
                    total += float((t * self.permuted(key, source[key], permutations).double()).sum())
        return total

    def accuracy(self, parameters):
        with self.clock.part("evaluation"), torch.no_grad():
            return float((self.forward(parameters, self.job.held_inputs).argmax(1) == self.job.held_classes).float().mean())


versions = {"python": sys.version.split()[0], "torch": torch.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__}
print(json.dumps(versions), flush=True)
for line in sys.stdin:
    folder, limit_seconds = line.rstrip("\n").split("\t")
    print(json.dumps(Transfer(Job(folder), float(limit_seconds)).run()), flush=True)
