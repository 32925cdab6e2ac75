"""What a given file is when it is not a checkpoint: a pointer, a web page, an archive, another framework's file."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

_TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the start of torch.save's files before they were zips
_STATE = "save the network's state_dict() with torch.save, or as safetensors"
_UNPACK = "unpack it, and give the file of weights in it"
_CONVERT = "convert its weights to a PyTorch state_dict"
# The first bytes of a file -> what it is and what to do.
_MAGIC = {
    b"\x89HDF\r\n\x1a\n": f"is an HDF5 file, as Keras and TensorFlow write them: {_CONVERT}",
    b"\x93NUMPY": f"is one NumPy array: {_STATE}",
    b"GGUF": f"is a GGUF file: {_CONVERT}",
    b"ftrt": f"is a TensorRT engine, without the network's weights by name: {_STATE}",
    b"\x1f\x8b": f"is compressed with gzip: {_UNPACK}",
    b"BZh": f"is compressed with bzip2: {_UNPACK}",
    b"\xfd7zXZ\x00": f"is compressed with xz: {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"is compressed with zstd: {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"is a 7z archive: {_UNPACK}",
    b"Rar!": f"is a RAR archive: {_UNPACK}",
    b"\x89PNG": "is a PNG picture: give the file of weights",
    b"\xff\xd8\xff": "is a JPEG picture: give the file of weights",
    b"%PDF": "is a PDF document: give the file of weights",
}
_LINKED = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")  # the parts of a TensorFlow checkpoint


def disguise(file: Path) -> str:
    """What the file is instead of a checkpoint, and what to do, as the end of a sentence; "" if it may be one."""
    if file.is_dir():
        return "is a folder: give the file of weights in it"
    with file.open("rb") as opened:
        head = opened.read(4096)
    if not head.strip(b"\0"):
        return (
            "is empty: fetch it again"
            if not head
            else "begins with zeros, like an interrupted download: fetch it again"
        )
    known = next((words for magic, words in _MAGIC.items() if head.startswith(magic)), "")
    return known or _by_suffix(file) or _binary(file, head) or _text(file, head)


def _by_suffix(file: Path) -> str:
    if _LINKED.search(file.name):
        return f"is a part of a TensorFlow checkpoint: {_CONVERT}"
    return f"is a TensorFlow graph: {_CONVERT}" if file.suffix == ".pb" else ""


def _binary(file: Path, head: bytes) -> str:
    if head.startswith(b"PK"):
        return _zip(file)
    if head[257:262] == b"ustar":
        return f"is a tar archive: {_UNPACK}"
    if head[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model: {_CONVERT}"
    if (
        head[:1] == b"\x08"
        and 3 <= head[1] <= 30
        and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42")
    ):
        return f"is an ONNX file, whose weights have other names: {_STATE}"
    if head[:1] == b"\x80" and 2 <= head[1] <= 5 and not head.startswith(_TORCH_PICKLE):
        return f"is a plain Python pickle, which could run code: {_STATE} if you trust it"
    return ""


def is_safetensors(file: Path) -> bool:
    """Whether the file begins like safetensors; its name does not matter."""
    with file.open("rb") as opened:
        head = opened.read(9)
    return len(head) == 9 and head[8:] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= file.stat().st_size - 8


def _text(file: Path, head: bytes) -> str:
    """What a text file is, as the end of a sentence; "" for bytes that are not a text."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` in the clone"
    if re.match(rb"<!doctype|<html|<head|<body|<\?xml|<error", start, re.IGNORECASE):
        page = "an XML" if start[:5].lower() in (b"<?xml", b"<erro") else "an HTML"
        return f"is {page} page, which a refused download leaves behind: fetch the file itself"
    if start.startswith((b"{", b"[")):
        return _json(file)
    if start.startswith((b"outs:", b"md5:")):
        return "is a DVC pointer, not the weights: run `dvc pull`"
    if re.fullmatch(rb"[\t\n\r\x20-\x7e]{1,4096}", head):
        return "is a text: give the file of weights"
    return ""


def _json(file: Path) -> str:
    try:
        content = json.loads(file.read_bytes()[: 64 << 20])
    except (ValueError, RecursionError):
        return "is a text: give the file of weights"
    if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
        parts = sorted({str(part)[:80] for part in content["weight_map"].values()})
        return f"is the index of weights in {len(parts)} files ({', '.join(parts[:2])}, ...): join them into one file"
    return "is a JSON text, not the weights: give the file of weights"


def _zip(file: Path) -> str:
    """What a zip is, as the end of a sentence; "" for an undamaged PyTorch checkpoint, which is a zip too."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            return _held(names) if not _is_torch(names) else _damage(archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return "is cut off or damaged: fetch it again"


def _is_torch(names: list[str]) -> bool:
    inside = {name.partition("/")[2] for name in names}
    return "data.pkl" in inside and not _is_program(inside)


def _is_program(inside: set[str]) -> bool:
    return "constants.pkl" in inside or any(name.startswith("code/") for name in inside)


def _held(names: list[str]) -> str:
    inside = {name.partition("/")[2] for name in names}
    if _is_program(inside):
        return "is a TorchScript program: save torch.jit.load(FILE).state_dict() with torch.save if you trust it"
    if "archive_format" in inside:
        return f"is a program of torch.export: {_STATE}"
    if any(name.endswith(".weights.h5") for name in names):
        return f"is a Keras model: {_CONVERT}"
    if any(name.endswith(".npy") for name in names):
        return f"is an archive of NumPy arrays: {_STATE}"
    weights = [
        name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".model", ".state"))
    ]
    if any(Path(name).name in ("plans.json", "plans.pkl", "dataset.json") for name in names):
        return "is the archive of an nnU-Net model, which is not one of medseg's networks: predict with nnU-Net"
    if weights:
        return f"is a zip archive with {weights[0][:80]} in it: {_UNPACK}"
    return "is a zip archive without weights: give the file of weights"


def _damage(archive: zipfile.ZipFile) -> str:
    """The first part whose checksum is wrong, in words; torch does not test checksums itself."""
    for part in archive.infolist():
        if not part.CRC:  # it was saved without a checksum
            continue
        try:
            with archive.open(part) as opened:
                while opened.read(1 << 20):
                    pass
        except zipfile.BadZipFile:
            return f"is damaged (the checksum of {part.filename} differs): fetch it again"
    return ""
