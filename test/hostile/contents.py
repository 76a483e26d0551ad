# Prints for each file the SHA-256 that test/hostile/read.ts computes of its contents: read by zipfile, NumPy, and by
# the few lines that safetensors takes.
import hashlib, io, json, struct, sys, zipfile, zlib
import numpy as np

names = {'b1': 'BOOL', 'i1': 'I8', 'u1': 'U8', 'i2': 'I16', 'u2': 'U16', 'f2': 'F16', 'i4': 'I32', 'u4': 'U32', 'f4': 'F32', 'i8': 'I64', 'u8': 'U64', 'f8': 'F64'}

def sha(data):
    return hashlib.sha256(data).hexdigest()

def tensor(name, dtype, shape, data):
    return f"{name} {dtype} [{','.join(map(str, shape))}] {sha(data)}"

def array(name, a):
    data = np.ascontiguousarray(a.astype(a.dtype.newbyteorder('<'))).tobytes()
    return tensor(name, names[a.dtype.str[1:]], a.shape, data)

def contents(path):
    if path.endswith('.zip'):
        z = zipfile.ZipFile(path)
        read = [(i.filename, z.read(i)) for i in z.infolist()]
        return [f'{n} {len(d)} {zlib.crc32(d):08x}' for n, d in read]
    if path.endswith('.npz'):
        z = np.load(path)
        return [array(n, z[n]) for n in z.files]
    if path.endswith('.npy'):
        return [array('', np.load(path))]
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    meta = header.pop('__metadata__', {})
    order = sorted(header.items(), key=lambda item: item[1]['data_offsets'])
    lines = [tensor(k, v['dtype'], v['shape'], raw[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]) for k, v in order]
    quote = lambda s: json.dumps(s, ensure_ascii=False)
    return lines + sorted(f'{quote(k)}={quote(v)}' for k, v in meta.items())

for path in sys.argv[1:]:
    print(sha('\n'.join(contents(path)).encode()))
