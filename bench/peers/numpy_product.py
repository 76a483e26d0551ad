"""Times numpy's f32 product for bench/product.ts: one request a line (form, size, repetitions; tab-separated), one JSON answer a line. CPU time, one thread."""
import json
import sys
import time

import numpy

config = numpy.__config__.get_info("blas_opt_info") if hasattr(numpy.__config__, "get_info") else {}
print(json.dumps({"python": sys.version.split()[0], "numpy": numpy.__version__, "blas": ",".join(config.get("libraries", []))}), flush=True)
for line in sys.stdin:
    form, size, repetitions = line.rstrip("\n").split("\t")
    size = int(size)
    random = numpy.random.default_rng(1)
    a = random.random((size, size), dtype=numpy.float32) - numpy.float32(0.5)
    b = random.random((size, size), dtype=numpy.float32) - numpy.float32(0.5)
    right = b.T if form == "NT" else b
    out = numpy.empty((size, size), dtype=numpy.float32)
    numpy.matmul(a, right, out=out)
    start = time.process_time()
    for _ in range(int(repetitions)):
        numpy.matmul(a, right, out=out)
    print(json.dumps({"milliseconds": (time.process_time() - start) * 1e3 / int(repetitions)}), flush=True)
