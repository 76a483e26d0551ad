"""Times scipy's linear_sum_assignment for bench/assignment.ts: one request a line on stdin, one JSON answer a line.

Request: path, rows, columns, repetitions (tab-separated). The file holds little-endian f32; it is converted to f64
before the clock starts, so scipy is not charged for the conversion. CPU time of this process, one thread.
Or: many, path, JSON list of shapes: the optimal sums of the f64 matrices that the file holds one after the other.
"""
import json
import sys
import time

import numpy
import scipy
from scipy.optimize import linear_sum_assignment

print(json.dumps({"python": sys.version.split()[0], "scipy": scipy.__version__, "numpy": numpy.__version__}), flush=True)
loaded = (None, None)
for line in sys.stdin:
    if line.startswith("many\t"):
        _, path, shapes = line.rstrip("\n").split("\t")
        values = numpy.fromfile(path, dtype="<f8")
        at, sums = 0, []
        for rows, columns in json.loads(shapes):
            matrix = values[at : at + rows * columns].reshape(rows, columns)
            at += rows * columns
            row, column = linear_sum_assignment(matrix, maximize=True)
            sums.append(float(sum(matrix[row, column].tolist())))
        print(json.dumps(sums), flush=True)
        continue
    path, rows, columns, repetitions = line.rstrip("\n").split("\t")
    if loaded[0] != line.split("\t")[0:3]:
        matrix = numpy.fromfile(path, dtype="<f4").reshape(int(rows), int(columns)).astype(numpy.float64)
        loaded = (line.split("\t")[0:3], matrix)
    matrix = loaded[1]
    start = time.process_time()
    for _ in range(int(repetitions)):
        row, column = linear_sum_assignment(matrix, maximize=True)
    milliseconds = (time.process_time() - start) * 1e3 / int(repetitions)
    print(json.dumps({"milliseconds": milliseconds, "objective": float(sum(matrix[row, column].tolist()))}), flush=True)
