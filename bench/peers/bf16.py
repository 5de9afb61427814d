#!/usr/bin/env python3
"""Writes a GGUF file's weights again in BF16 (norms and biases stay as they are): what the figures of BF16 are measured on.

usage: bf16.py FILE.gguf OUT.gguf
"""
import pathlib
import sys

import gguf
import numpy


def rounded(values: numpy.ndarray) -> numpy.ndarray:
    return gguf.quants.quantize(values.astype(numpy.float32), gguf.GGMLQuantizationType.BF16)


def write(source: pathlib.Path, out: pathlib.Path) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    matrices = {tensor.name for tensor in reader.tensors if len(tensor.shape) > 1}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        if tensor.name in matrices:
            writer.add_tensor_info(tensor.name, shape, numpy.dtype(numpy.uint16), 2 * tensor.n_elements, gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:  # one at a time: all of them in floats would be twice the file
        if tensor.name in matrices:
            writer.write_tensor_data(rounded(gguf.quants.dequantize(tensor.data, tensor.tensor_type)))
        else:
            writer.write_tensor_data(tensor.data)
    writer.close()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[2])
    if out.exists():
        sys.exit(f"{out} is there already")
    write(pathlib.Path(sys.argv[1]), out)


if __name__ == "__main__":
    main()
