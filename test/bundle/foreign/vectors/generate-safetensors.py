"""Makes the safetensors vectors beside it with the real library (safetensors 0.8, numpy): python3 generate-safetensors.py

One file of every type it shares with numpy, BF16 through its serialiser, I64 scalars, an empty tensor and metadata; and
one model in two parts with its index, as transformers lays it out. What they hold goes to expected.json.
"""
import json
import os

import numpy as np
import safetensors
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))


def at(name):
    return os.path.join(HERE, name)


def listed(dtype, array):
    return {"dtype": dtype, "shape": list(array.shape), "values": [float(v) for v in np.asarray(array, np.float64).ravel()]}


def values(*shape, seed=0):
    """All different, and exact in F16 and BF16."""
    return ((np.arange(int(np.prod(shape))) - seed) / 8).reshape(shape).astype(np.float32)


names = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
         "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL"}
arrays = {f"layer.{kind}": (values(2, 3) * 8).astype(kind) for kind in names}
arrays["bn.num_batches_tracked"] = np.array(7, np.int64)
arrays["empty"] = np.zeros((0, 3), np.float32)
brain = values(4, seed=2)
cut = (brain.view(np.uint32) >> 16).astype(np.uint16)


def spec(array, dtype):
    return safetensors.TensorSpec(dtype=dtype, shape=list(array.shape), data_ptr=array.ctypes.data, data_len=array.nbytes)


tensors = {**{name: spec(array, str(array.dtype)) for name, array in arrays.items()}, "brain": spec(cut, "bfloat16")}
with open(at("safetensors-types.safetensors"), "wb") as out:
    out.write(safetensors.serialize(tensors, {"format": "np", "note": "grüße"}))

parts = {"safetensors-00001-of-00002.safetensors": {"conv.weight": values(2, 1, 3, 3), "conv.bias": values(2)},
         "safetensors-00002-of-00002.safetensors": {"head.weight": values(3, 8, seed=5)}}
for part, content in parts.items():
    save_file(content, at(part), metadata={"format": "pt"})
whole = {name: array for content in parts.values() for name, array in content.items()}
with open(at("safetensors-sharded.safetensors.index.json"), "w") as out:
    json.dump({"metadata": {"total_size": sum(a.nbytes for a in whole.values())}, "weight_map": {name: part for part, content in parts.items() for name in content}}, out)

with open(at("expected.json")) as before:
    expected = json.load(before)
expected["safetensors-types.safetensors"] = {**{name: listed(names[str(array.dtype)], array) for name, array in arrays.items()}, "brain": listed("BF16", brain)}
expected["safetensors-sharded.safetensors.index.json"] = {name: listed("F32", array) for name, array in whole.items()}
with open(at("expected.json"), "w") as out:
    json.dump(expected, out, separators=(",", ":"), sort_keys=True)
    out.write("\n")
