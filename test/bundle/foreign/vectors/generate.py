"""Makes the vectors beside it with the real libraries: torch, numpy, h5py, onnx. Those of TensorFlow.js and safetensors
have generators of their own, generate-tfjs.mjs and generate-safetensors.py.

Debian: apt-get install python3-torch python3-h5py python3-onnx; /usr/bin/python3 generate.py
What each file holds is written to expected.json: name -> {dtype, shape, values}, so that tests need no Python.
Made with torch 1.13, numpy 1.24, h5py 3.7, onnx 1.12.
"""
import argparse
import dataclasses
import datetime
import enum
import json
import os
import pathlib
import struct
from collections import Counter, OrderedDict

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
expected = {}


def at(name):
    return os.path.join(HERE, name)


TORCH = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64"}


def record(file, tensors):
    """tensors: name -> torch tensor or (dtype name, numpy array)."""
    listed = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, tuple):
            dtype, array = tensor
        else:
            dtype, array = TORCH[tensor.dtype], tensor.detach().to(torch.float64).numpy() if tensor.dtype != torch.complex64 else None
        listed[name] = {"dtype": dtype, "shape": list(array.shape), "values": [float(v) for v in np.asarray(array, dtype=np.float64).ravel()]}
    expected[file] = listed


def values(*shape, seed=0):
    """Numbers that F16 and BF16 hold exactly, all different."""
    count = int(np.prod(shape)) if shape else 1
    return ((np.arange(count) - seed) / 8).reshape(shape).astype(np.float32)


@dataclasses.dataclass
class Config:
    width: int = 3


class AttributeDict(dict):
    """As PyTorch Lightning's."""


def training(state):
    """What training scripts put beside the weights."""
    return {"args": argparse.Namespace(lr=0.1, initial=torch.ones(2)), "best": np.float64(0.5), "numpy_rng": np.random.RandomState(0).get_state(),
            "output": pathlib.PosixPath("runs/small"), "config": Config(), "hyper_parameters": AttributeDict(width=3, scale=torch.ones(1)),
            "begun": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), "seen": {1, 2}, "frozen": frozenset(["conv"]), "raw": b"\xff",
            "milestones": Counter([3, 5]), "optimizer_class": torch.optim.SGD, "callbacks": {Config: {"patience": 3}}, "ema": torch.nn.Linear(1, 1),
            "state_dict": state}


class Weights(OrderedDict):
    pass


class Colour(enum.Enum):
    RED = "red"
    GREEN = 2

    def __reduce_ex__(self, protocol):
        # As every Python but 3.11.0 to 3.11.3 writes them; those write the class and the name of the member, as Shape's here.
        return Colour, (self.value,)


class Shape(enum.Enum):
    ROUND = 1


class Layers(enum.Flag):
    FIRST = 1
    LAST = 2


class Outer:
    class Inner(enum.IntEnum):
        ONE = 1

    class Config:
        def __init__(self):
            self.width = 3

    def scale(self):
        pass


class Stop(Exception):
    pass


def classes(state):
    """Members of enums and kinds of OrderedDict, the state dict one of them."""
    output = Weights(loss=0.5)
    output.note = "beside the items"
    return {"colour": Colour.RED, "per_colour": {Colour.RED: torch.ones(1), Colour.GREEN: torch.zeros(1)}, "shape": Shape.ROUND,
            "layers": Layers.FIRST | Layers.LAST, "inner": Outer.Inner.ONE, "config": Outer.Config(), "output": output, "nothing": Weights(),
            "scale": Outer().scale, "error": Stop("early"), "state_dict": Weights(state)}


def make_torch():
    torch.manual_seed(0)
    model = torch.nn.Sequential(OrderedDict([
        ("conv", torch.nn.Conv2d(1, 2, 3)), ("norm", torch.nn.BatchNorm2d(2)), ("relu", torch.nn.ReLU()),
        ("flatten", torch.nn.Flatten()), ("head", torch.nn.Linear(8, 3)),
    ]))
    state = model.state_dict()
    torch.save(state, at("state-dict.pt"))
    record("state-dict.pt", state)
    torch.save(state, at("state-dict-legacy.pt"), _use_new_zipfile_serialization=False)
    record("state-dict-legacy.pt", state)
    torch.save(state, at("state-dict-protocol4.pt"), pickle_protocol=4)
    record("state-dict-protocol4.pt", state)

    base = torch.from_numpy(values(4, 6))
    views = {
        "transposed": base.t(), "sliced": base[1:3, ::2], "offset": base[2], "same": base, "scalar": base[3, 5],
        "empty": torch.zeros(0, 3), "one": base[:, 1:2],
        "permuted": torch.from_numpy(values(2, 3, 4, 5)).permute(3, 2, 0, 1), "channels_last": torch.from_numpy(values(2, 3, 2, 2)).contiguous(memory_format=torch.channels_last),
    }
    for suffix, new in (("", True), ("-legacy", False)):
        torch.save(views, at(f"views{suffix}.pt"), _use_new_zipfile_serialization=new)
        record(f"views{suffix}.pt", views)

    dtypes = {str(dtype).split(".")[1]: torch.from_numpy(values(3)).mul(8).to(dtype) for dtype in TORCH if dtype != torch.complex64}
    torch.save(dtypes, at("dtypes.pth"))
    record("dtypes.pth", dtypes)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 7, "best": 0.5, "arch": "small", "done": True, "note": None, "size": torch.Size([1, 4, 4]),
                  "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "parameter": torch.nn.Parameter(torch.ones(2))}
    torch.save(checkpoint, at("checkpoint.pt"))
    flat = {f"state_dict.{k}": v for k, v in checkpoint["state_dict"].items()}
    for index, state in checkpoint["optimizer"]["state"].items():
        flat[f"optimizer.state.{index}.momentum_buffer"] = state["momentum_buffer"]
    flat["parameter"] = checkpoint["parameter"]
    record("checkpoint.pt", flat)

    beside = training(checkpoint["state_dict"])
    torch.save(beside, at("training.pt"))
    # Without the module, whose source text this form would keep beside it.
    plain = {k: v for k, v in beside.items() if k != "ema"}
    torch.save(plain, at("training-protocol4-legacy.pt"), pickle_protocol=4, _use_new_zipfile_serialization=False)
    for name in ("training.pt", "training-protocol4-legacy.pt"):
        record(name, {f"state_dict.{k}": v for k, v in checkpoint["state_dict"].items()})

    beside = classes(checkpoint["state_dict"])
    torch.save(beside, at("classes.pt"))
    torch.save(beside, at("classes-protocol4-legacy.pt"), pickle_protocol=4, _use_new_zipfile_serialization=False)
    for name in ("classes.pt", "classes-protocol4-legacy.pt"):
        record(name, {**{f"state_dict.{k}": v for k, v in checkpoint["state_dict"].items()},
                      "per_colour.__main__.Colour(\"red\")": torch.ones(1), "per_colour.__main__.Colour(2)": torch.zeros(1)})

    # What must be refused.
    torch.save(model, at("refused-whole-model.pt"))
    torch.save({"weight": torch.ones(1).expand(1000, 1000)}, at("refused-expanded.pt"))

    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/trajport-was-here",))
    torch.save({"weight": torch.ones(2), "evil": Evil()}, at("refused-call.pt"))
    torch.save({"weight": torch.ones(2), "evil": Evil()}, at("refused-call-legacy.pt"), _use_new_zipfile_serialization=False)


def make_numpy():
    arrays = {
        "F32": values(2, 3), "F64": values(4).astype(np.float64), "F16": values(2, 2).astype(np.float16), "I64": np.arange(3), "I32": np.arange(12, dtype=np.int32).reshape(3, 4),
        "I16": np.arange(2, dtype=np.int16), "I8": np.arange(2, dtype=np.int8), "U8": np.arange(5, dtype=np.uint8), "BOOL": np.array([True, False]),
        "U16": np.arange(2, dtype=np.uint16), "U32": np.arange(2, dtype=np.uint32), "U64": np.arange(2, dtype=np.uint64),
    }
    named = {f"layer.{dtype}": (dtype, array) for dtype, array in arrays.items()}
    named["scalar"] = ("F32", np.float32(1.5))
    named["empty"] = ("F32", np.zeros((0, 3), np.float32))
    named["long"] = ("F32", values(1000)[:, None][:40])
    np.savez(at("arrays.npz"), **{name: array for name, (_, array) in named.items()})
    record("arrays.npz", named)


def make_onnx():
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    arrays = {"fc.weight": ("F32", values(3, 4)), "half": ("F16", values(3).astype(np.float16)), "double": ("F64", values(2).astype(np.float64)),
              "shape": ("I64", np.array([-1, 4])), "flags": ("BOOL", np.array([True, False])), "scalar": ("F32", np.array(2.5, np.float32))}
    raw = [numpy_helper.from_array(array, name) for name, (_, array) in arrays.items()]
    lists = {
        "listed.float": ("F32", TensorProto.FLOAT, np.array([1.5, -2], np.float32)), "listed.int64": ("I64", TensorProto.INT64, np.array([-3, 2 ** 40])),
        "listed.int8": ("I8", TensorProto.INT8, np.array([-1, 7], np.int8)), "listed.double": ("F64", TensorProto.DOUBLE, np.array([0.1, 3])),
        "listed.uint32": ("U32", TensorProto.UINT32, np.array([1, 2 ** 31], np.uint32)), "listed.int32": ("I32", TensorProto.INT32, np.array([-5, 5], np.int32)),
        "listed.half": ("F16", TensorProto.FLOAT16, np.array([1.5, -2], np.float16)), "listed.bfloat": ("BF16", TensorProto.BFLOAT16, np.array([1.5, -2], np.float32)),
    }
    listed = [helper.make_tensor(name, kind, array.shape, array) for name, (_, kind, array) in lists.items()]

    def model(initialisers):
        node = helper.make_node("Gemm", ["x", "fc.weight"], ["y"], transB=1)
        graph = helper.make_graph([node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])], initializer=initialisers)
        return helper.make_model(graph, producer_name="generate.py")

    onnx.save(model(raw + listed), at("model.onnx"))
    record("model.onnx", {**arrays, **{name: (dtype, array) for name, (dtype, _, array) in lists.items()}})
    if os.path.exists(at("external.onnx.data")):
        os.remove(at("external.onnx.data"))  # onnx appends to it
    onnx.save(model([numpy_helper.from_array(arrays["fc.weight"][1], "fc.weight"), numpy_helper.from_array(arrays["double"][1], "double")]), at("external.onnx"),
              save_as_external_data=True, all_tensors_to_one_file=True, location="external.onnx.data", size_threshold=0)
    record("external.onnx", {"fc.weight": arrays["fc.weight"], "double": arrays["double"]})


def make_gguf():
    """By hand, after the published description: Debian has no gguf package."""
    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw
    tensors = {"token_embd.weight": ("F32", 0, values(3, 4)), "blk.0.half": ("F16", 1, values(2, 3, 2).astype(np.float16)), "blk.0.bias": ("F64", 28, values(5).astype(np.float64))}
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama"), text("general.alignment") + struct.pack("<II", 4, 64),
             text("llama.rope") + struct.pack("<If", 6, 0.5), text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
             text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3), text("general.flag") + struct.pack("<IB", 7, 1)]
    infos, data = b"", b""
    for name, (_, kind, array) in tensors.items():
        infos += text(name) + struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}Q", *reversed(array.shape)) + struct.pack("<IQ", kind, len(data))
        data += array.tobytes() + bytes(-array.nbytes % 64)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    with open(at("model.gguf"), "wb") as out:
        out.write(head + bytes(-len(head) % 64) + data)
    record("model.gguf", {name: (dtype, array) for name, (dtype, _, array) in tensors.items()})


def make_hdf5():
    """Files laid out as Keras 2 (model.save, save_weights) and Keras 3 (.weights.h5 inside .keras) lay them out."""
    import io
    import zipfile

    import h5py
    conv, head = values(3, 3, 1, 2), values(8, 3, seed=4)
    keras2 = {"model_weights/conv2d/conv2d/kernel:0": conv, "model_weights/conv2d/conv2d/bias:0": values(2), "model_weights/dense/dense/kernel:0": head,
              "model_weights/dense/dense/bias:0": values(3), "optimizer_weights/SGD/iter:0": np.array(7)}
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        keras2[f"model_weights/batch_normalization/batch_normalization/{name}:0"] = values(2, seed=len(name))
    keras3 = {"layers/conv2d/vars/0": conv, "layers/conv2d/vars/1": values(2), "layers/dense/vars/0": head, "layers/dense/vars/1": values(3), "optimizer/vars/0": np.array(7)}
    for index in range(4):
        keras3[f"layers/batch_normalization/vars/{index}"] = values(2, seed=index)
    mixed = {"half": values(4).astype(np.float16), "double": values(2, 2).astype(np.float64), "bool": np.array([True, False]), "uint8": np.arange(4, dtype=np.uint8),
             "int64": np.array([-1, 2]), "scalar": np.float32(1.5), "empty": np.zeros((0, 3), np.float32), **{f"many/{i}": np.float32(i) for i in range(40)}}

    def dtype_of(array):
        return {"f": "F", "i": "I", "u": "U"}.get(array.dtype.kind, "") + str(8 * array.dtype.itemsize) if array.dtype.kind != "b" else "BOOL"

    def write(target, arrays, numbered=False, **how):
        with h5py.File(target, "w", **how) as file:
            file.attrs["layer_names"] = [b"conv2d", b"dense"]
            for path, array in arrays.items():
                file.create_dataset(path, data=array)
        return {numbered_name(path) if numbered else path: (dtype_of(np.asarray(array)), np.asarray(array)) for path, array in arrays.items()}

    def numbered_name(path):
        layer, _, index = path.rpartition("/vars/")
        kind = layer.rpartition("/")[2]
        table = {"conv2d": ["kernel", "bias"], "dense": ["kernel", "bias"], "batch_normalization": ["gamma", "beta", "moving_mean", "moving_variance"]}
        return f"{layer}/{table[kind][int(index)]}" if kind in table else path

    record("keras2.h5", write(at("keras2.h5"), keras2))
    record("mixed.h5", write(at("mixed.h5"), mixed))
    record("latest.h5", write(at("latest.h5"), {k: v for k, v in mixed.items() if "/" not in k}, libver="latest"))
    for name, how in (("links.h5", {}), ("links-latest.h5", {"libver": "latest"})):
        listed = write(at(name), {"group/a": values(3)}, **how)
        with h5py.File(at(name), "r+", **how) as file:
            file["group/hard"] = file["group/a"]
            file["group/soft"] = h5py.SoftLink("/group/a")
            # A group of the old kind would become one of the new.
            if how:
                file["group/external"] = h5py.ExternalLink("other.h5", "/a")
        record(name, {**listed, "group/hard": listed["group/a"]})
    inner = io.BytesIO()
    listed = write(inner, keras3, numbered=True)
    with zipfile.ZipFile(at("model.keras"), "w") as archive:
        for name, content in (("metadata.json", b'{"keras_version": "3.4.1"}'), ("config.json", b'{"class_name": "Sequential"}'), ("model.weights.h5", inner.getvalue())):
            archive.writestr(zipfile.ZipInfo(name), content)
    record("model.keras", listed)
    with h5py.File(at("refused-chunked.h5"), "w") as file:
        file.create_dataset("w", data=values(64), chunks=(16,), compression="gzip")
    with h5py.File(at("refused-strings.h5"), "w") as file:
        file.create_dataset("names", data=np.array([b"a", b"bc"]))
    with h5py.File(at("refused-big-endian.h5"), "w") as file:
        file.create_dataset("w", data=values(2).astype(">f4"))


make_torch()
make_numpy()
make_hdf5()
make_onnx()
make_gguf()

# The same files as a module, for runtimes without a file system: bytes as they are in the repository, made once.
import base64
PORTABLE = ["checkpoint.pt", "views-legacy.pt", "arrays.npz", "model.gguf", "model.onnx", "keras2.h5", "latest.h5"]
with open(os.path.join(HERE, "..", "..", "..", "portable", "foreign-vectors.ts"), "w") as out:
    out.write("/** Files of test/bundle/foreign/vectors, deflated; written by generate.py there. */\nexport const deflated: Readonly<Record<string, string>> = {\n")
    import zlib
    for name in PORTABLE:
        with open(at(name), "rb") as file:
            packed = zlib.compressobj(9, zlib.DEFLATED, -15)
            text = base64.b64encode(packed.compress(file.read()) + packed.flush()).decode()
        out.write(f"  '{name}': '{text}',\n")
    out.write("};\n")

with open(at("expected.json")) as before:
    expected.update({name: listed for name, listed in json.load(before).items() if name.startswith(("tfjs-", "safetensors-"))})
with open(at("expected.json"), "w") as out:
    json.dump(expected, out, separators=(",", ":"), sort_keys=True)
    out.write("\n")
