"""Prints docs/api.md: every service, message and enum of hermes.v1 with the comments of the .proto file.

Run as `python -m protos.reference`, in the repository. Needs grpcio-tools, which only development installs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).parents[1]
SOURCE = "protos/hermes_v1.proto"

# Where a comment stands, as numbers of fields in descriptor.proto: (4, 0, 2, 1) is message 0, field 1.
CommentPath = tuple[int, ...]
_MESSAGE, _ENUM, _SERVICE, _SYNTAX = 4, 5, 6, 12
_FIELD, _VALUE, _METHOD = 2, 2, 2

_SCALARS = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_SINT32: "sint32",
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_UINT32: "uint32",
    FieldDescriptorProto.TYPE_UINT64: "uint64",
}


class Uncommented(Exception):
    """A part of the contract has no comment; the message names it."""


def main() -> None:
    """Prints the page."""
    sys.stdout.write(page())


def page() -> str:
    """The page as Markdown. Raises Uncommented."""
    contract = _contract()
    comments = {tuple(place.path): place for place in contract.source_code_info.location}
    texts = {path: " ".join(place.leading_comments.split()) for path, place in comments.items()}
    introduction = "\n".join(line.strip() for line in comments[(_SYNTAX,)].leading_comments.splitlines())
    lines = [
        f"# API: `{contract.package}`",
        "",
        f"<!-- Generated from {SOURCE} by `make docs`. Change the comments there. -->",
        "",
        introduction.strip(),
        "",
        "## Services",
        "",
    ]
    for index, service in enumerate(contract.service):
        lines += _service(service, (_SERVICE, index), texts)
    lines += ["## Messages", ""]
    for index, message in enumerate(contract.message_type):
        lines += _message(message, (_MESSAGE, index), texts)
    lines += ["## Enums", ""]
    for index, enum in enumerate(contract.enum_type):
        lines += _enum(enum, (_ENUM, index), texts)
    return "\n".join(lines).rstrip() + "\n"


def _contract() -> FileDescriptorProto:
    with tempfile.TemporaryDirectory(prefix="hermes-protos-") as folder:
        out = Path(folder) / "descriptors"
        options = ["--include_source_info", f"--descriptor_set_out={out}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", *options, SOURCE]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def _service(service: ServiceDescriptorProto, path: CommentPath, texts: Mapping[CommentPath, str]) -> Iterator[str]:
    yield from (f"### {service.name}", "", _comment(service.name, path, texts), "")
    yield from ("| call | request | response | |", "|---|---|---|---|")
    for index, method in enumerate(service.method):
        comment = _comment(f"{service.name}.{method.name}", (*path, _METHOD, index), texts)
        stream = "stream of " if method.server_streaming else ""
        yield f"| `{method.name}` | {_linked(method.input_type)} | {stream}{_linked(method.output_type)} | {comment} |"
    yield ""


def _message(message: DescriptorProto, path: CommentPath, texts: Mapping[CommentPath, str]) -> Iterator[str]:
    yield from (f"### {message.name}", "", _comment(message.name, path, texts), "")
    if not message.field:
        return
    yield from ("| field | number | type | |", "|---|---:|---|---|")
    for index, field in enumerate(message.field):
        comment = _comment(f"{message.name}.{field.name}", (*path, _FIELD, index), texts)
        yield f"| `{field.name}` | {field.number} | {_type(field, message)} | {comment} |"
    yield ""


def _enum(enum: EnumDescriptorProto, path: CommentPath, texts: Mapping[CommentPath, str]) -> Iterator[str]:
    yield from (f"### {enum.name}", "", _comment(enum.name, path, texts), "", "| value | number | |", "|---|---:|---|")
    for index, value in enumerate(enum.value):
        comment = _comment(f"{enum.name}.{value.name}", (*path, _VALUE, index), texts)
        yield f"| `{value.name}` | {value.number} | {comment} |"
    yield ""


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = _SCALARS[field.type] if field.type in _SCALARS else _linked(field.type_name)
    entry = next((nested for nested in message.nested_type if field.type_name.endswith(f".{nested.name}")), None)
    if entry is not None and entry.options.map_entry:
        return f"map of {_type(entry.field[0], entry)} to {_type(entry.field[1], entry)}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else name


def _linked(full_name: str) -> str:
    name = full_name.rsplit(".", 1)[-1]
    return f"`{full_name.lstrip('.')}`" if full_name.startswith(".google.") else f"[{name}](#{name.lower()})"


def _comment(name: str, path: CommentPath, texts: Mapping[CommentPath, str]) -> str:
    if not texts.get(path):
        raise Uncommented(f"{SOURCE}: {name} has no comment; write one on the line above it")
    return texts[path].replace("|", "\\|")


if __name__ == "__main__":
    main()
