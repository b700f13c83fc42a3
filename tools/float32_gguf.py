"""Rewrite a GGUF file with its weights in float32: `python tools/float32_gguf.py IN.gguf OUT.gguf`.

llama.cpp multiplies quantized weights with quantized activations, transformers dequantizes the
weights first. On the float32 file both compute the same function. Everything else in the file
(tokenizer, template, settings) is copied.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, ReaderField
from gguf.quants import dequantize

WRITTEN_ANEW = {"general.architecture", "general.file_type", "general.quantization_version"}


def copy_settings(reader: GGUFReader, writer: GGUFWriter) -> None:
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in WRITTEN_ANEW:
            copy_field(field, writer)
    writer.add_file_type(LlamaFileType.ALL_F32)


def copy_field(field: ReaderField, writer: GGUFWriter) -> None:
    kind, *of = field.types
    sub = of[-1] if kind is GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)


def rewrite(source: Path, out: Path) -> None:
    """Write `source` to `out` with every tensor in float32."""
    reader = GGUFReader(source)
    writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
    copy_settings(reader, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rewrite(options.source, options.out)


if __name__ == "__main__":
    main()
