"""Encoded pictures: read rightly, or refused in words that a user can act on."""

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.dali_pipelines.decode import Decoder
from medseg.data.encoded import GREY16, RGB, check, decode, encoded_tensor, portable
from medseg.data.image import GREY8
from medseg.errors import InputError
from medseg.tasks import task_named
from tests.shared import SHARED, needs_shared

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 255, (40, 60, 3), np.uint8)
GREYS = RNG.integers(0, 65535, (40, 60), np.uint16)
PLANES = COLOURS.transpose(2, 0, 1)


def saved(pixels: np.ndarray | Image.Image, form: str, **how: object) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, form, **how)
    return file.getvalue()


def tiff(pixels: np.ndarray, **how: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **({"photometric": "rgb"} | how))
    return file.getvalue()


def part(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(rows: bytes, bits: int = 8, kind: int = 2, interlaced: int = 0, *more: bytes) -> bytes:
    """A PNG of 60 x 40 pixels from the bytes of its rows."""
    header = struct.pack(">IIBBBBB", 60, 40, bits, kind, 0, 0, interlaced)
    parts = (part(b"IHDR", header), *more, part(b"IDAT", zlib.compress(rows)), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced(pixels: np.ndarray) -> bytes:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return b"".join(rows(pixels[y::down, x::across]) for x, y, across, down in passes)


BIG = GREYS.astype(">u2")
READ = {
    "PNG": png(rows(COLOURS)),
    "PNG, interlaced": png(interlaced(COLOURS), 8, 2, 1),
    "PNG, its gamma told": png(rows(COLOURS), 8, 2, 0, part(b"gAMA", struct.pack(">I", 100_000))),
    "PNG, its pixels in many parts": png(rows(COLOURS)).replace(
        part(b"IDAT", zlib.compress(rows(COLOURS))),
        b"".join(part(b"IDAT", bytes([byte])) for byte in zlib.compress(rows(COLOURS))),
    ),
    "TIFF": tiff(COLOURS),
    "TIFF, strips": tiff(COLOURS, rowsperstrip=7),
    "TIFF, tiles": tiff(COLOURS, tile=(16, 16)),
    "TIFF, planes": tiff(PLANES, planarconfig="separate"),
    "TIFF, big-endian": tiff(COLOURS, byteorder=">"),
    "TIFF, 64-bit": tiff(COLOURS, bigtiff=True),
    "TIFF, deflated": tiff(COLOURS, compression="zlib"),
    "TIFF, differences deflated": tiff(COLOURS, compression="zlib", predictor=True),
    **{f"TIFF, {how}": saved(COLOURS, "TIFF", compression=how) for how in ("tiff_lzw", "packbits", "zstd")},
}


@pytest.mark.parametrize("name", READ)
def test_every_pixel_of_a_lossless_picture_is_read(name: str) -> None:
    assert check(READ[name], RGB) == (40, 60)
    assert np.array_equal(decode(READ[name], RGB), COLOURS)


LOSSY = {
    "TIFF, JPEG inside": saved(COLOURS, "TIFF", compression="jpeg"),
    "JPEG": saved(COLOURS, "JPEG"),
    "JPEG, progressive": saved(COLOURS, "JPEG", progressive=True),
    "JPEG, 4:4:4": saved(COLOURS, "JPEG", subsampling=0),
    "JPEG, 4:1:1": saved(COLOURS, "JPEG", subsampling="4:1:1"),
    "JPEG, stored as RGB": saved(COLOURS, "JPEG", keep_rgb=True),
}


@pytest.fixture(scope="module")
def dali() -> Decoder:
    return Decoder(task_named("brain-lgg").decoding["decode"])


@pytest.mark.parametrize("name", [*READ, *LOSSY])
def test_dali_reads_the_same_pixels(name: str, dali: Decoder) -> None:
    steps = {step.name: step.run for step in task_named("brain-lgg").pipeline.steps}
    tensors = steps["check"]({"encoded": encoded_tensor([(READ | LOSSY)[name]])}, None)
    assert np.array_equal(dali(tensors)["volume"], steps["decode"](tensors, None)["volume"])
    assert np.array_equal(dali(tensors)["volume"][0], decode((READ | LOSSY)[name], RGB))


def test_sixteen_bits_are_read_interlaced_too() -> None:
    for data in (png(rows(BIG), 16, 0), png(interlaced(BIG), 16, 0, 1)):
        check(data, GREY16)
        assert np.array_equal(decode(data, GREY16), GREYS)


EXTRA = np.dstack([COLOURS, COLOURS[..., :1]])
FRAMES = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[::-1])]
OTHER_KINDS = {
    "16 bits, TIFF": tiff(COLOURS.astype(np.uint16) * 257),
    "12 bits in 16, TIFF": tiff(COLOURS.astype(np.uint16) * 16),
    "16 bits, tiles": tiff(COLOURS.astype(np.uint16), tile=(16, 16)),
    "16 bits, planes": tiff(PLANES.astype(np.uint16), planarconfig="separate"),
    "32 bits": tiff(COLOURS.astype(np.uint32)),
    "floats": tiff(COLOURS.astype(np.float32) / 255),
    "half floats": tiff(COLOURS.astype(np.float16) / 255),
    "signed": tiff(COLOURS.astype(np.int8)),
    "two pages": tiff(np.stack([COLOURS, COLOURS])),
    "three pages that are meant as colours": tiff(PLANES, photometric="minisblack"),
    "CMYK, TIFF": tiff(EXTRA, photometric="separated"),
    "L*a*b*": tiff(COLOURS, photometric="cielab"),
    "alpha, TIFF": tiff(EXTRA, extrasamples=["unassalpha"]),
    "premultiplied alpha": tiff(EXTRA, extrasamples=["assocalpha"]),
    "palette, TIFF": saved(FRAMES[0].quantize(16), "TIFF"),
    "palette, PNG": saved(FRAMES[0].quantize(16), "PNG"),
    "grey": saved(COLOURS[..., 0], "TIFF"),
    "black and white": saved(Image.fromarray(COLOURS[..., 0]).convert("1"), "TIFF"),
    "a transparent colour": saved(COLOURS, "PNG", transparency=(1, 2, 3)),
    "frames": saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "16 bits, PNG": png(rows(COLOURS.astype(">u2")), 16, 2),
    "CMYK, JPEG": saved(FRAMES[0].convert("CMYK"), "JPEG"),
    "pictures of a camera": saved(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
    "WebP": saved(COLOURS, "WEBP"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_picture_of_another_kind_is_refused_in_words(name: str) -> None:
    for read in (check, decode, portable):
        with pytest.raises(InputError, match="expected an 8-bit RGB JPEG, PNG or TIFF") as caught:
            read(OTHER_KINDS[name], RGB)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_mask_has_eight_bits(bits: int) -> None:
    narrow = png(b"\0" * 40 * (1 + 60 * bits // 8 + (60 * bits % 8 > 0)), bits, 0)
    with pytest.raises(InputError, match="expected an 8-bit grey PNG or TIFF"):
        check(narrow, GREY8)


def changed(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


WHOLE = png(rows(COLOURS))
PIXELS = WHOLE.index(b"IDAT") + 4
DAMAGED = {
    "checksum of its part IDAT": changed(WHOLE, PIXELS + 100),
    "checksum of its part IEND": changed(WHOLE, len(WHOLE) - 1),
    "ends too early": WHOLE[:-20],
    "ends too early after its pixels": WHOLE[:-12],
    "not as many as its header says: short": png(rows(COLOURS[:20])),
    "not as many as its header says: one byte": png(rows(COLOURS)[:-1]),
    "not as many as its header says: long": png(rows(COLOURS) + b"more"),
    "or do not unpack": png(rows(COLOURS)).replace(
        part(b"IDAT", zlib.compress(rows(COLOURS))), part(b"IDAT", zlib.compress(rows(COLOURS))[:-4])
    ),
    "a part XXXX that PNG does not know": png(rows(COLOURS), 8, 2, 0, part(b"XXXX", b"")),
}


@pytest.mark.parametrize("words", DAMAGED)
def test_damage_to_a_png_is_seen(words: str) -> None:
    with pytest.raises(InputError) as caught:
        check(DAMAGED[words], RGB)
    assert words.split(":")[0].split(" after ")[0] in str(caught.value)
    assert "copy it again" in str(caught.value)


def every_bit(data: bytes, step: int) -> Iterator[bytes]:
    return (changed(data, at, at % 8) for at in range(8, len(data), step))


def test_strips_that_are_too_short_are_seen() -> None:
    with tifffile.TiffFile(io.BytesIO(READ["TIFF"])) as file:
        tag = file.pages[0].tags["StripByteCounts"]
    short = READ["TIFF"][: tag.valueoffset] + struct.pack("<I", 500) + READ["TIFF"][tag.valueoffset + 4 :]
    with pytest.raises(InputError, match="strips are too short"):
        check(short, RGB)


def test_no_bit_of_a_png_can_change_unseen() -> None:
    for damaged in every_bit(saved(GREYS[:8, :8], "PNG"), 1):
        with pytest.raises(InputError):
            check(damaged, GREY16)


def test_bytes_that_are_no_picture_are_refused_without_naming_a_python_object() -> None:
    with pytest.raises(InputError) as caught:
        check(b"no picture", GREY16, "slice")
    assert str(caught.value) == "slice is no picture that Pillow knows; expected a 16-bit grey PNG"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_that_lost_its_directory_is_said_to_be_cut_short(order: str, big: bool) -> None:
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}H", 43 if big else 42)
    start += struct.pack(f"{order}HHQ", 8, 0, 100) if big else struct.pack(f"{order}I", 100)
    with pytest.raises(InputError, match=r"slice is a TIFF that is cut short: .* byte 100, and it has 60 bytes; exp"):
        check(start.ljust(60, b"\0"), RGB, "slice")


def test_half_a_tiff_is_said_to_be_cut_short() -> None:
    whole = saved(COLOURS, "TIFF", compression="tiff_lzw")  # by libtiff, which writes the directory last
    with pytest.raises(InputError, match="cut short"):
        check(whole[: len(whole) // 2], RGB)


def test_a_whole_jpeg_has_its_size() -> None:
    assert check(LOSSY["JPEG"], RGB) == (40, 60)


def test_a_jpeg_whose_stream_breaks_is_refused_though_its_end_is_there() -> None:
    data = bytearray(LOSSY["JPEG"])
    tables = data.index(b"\xff\xc4")  # the Huffman tables
    data[tables + 5 : tables + 21] = b"\xff" * 16
    with pytest.raises(InputError, match="picture cannot be read"):
        check(bytes(data), RGB)


def test_a_jpeg_that_pillow_makes_pixels_of_is_refused_where_its_stream_does_not_add_up() -> None:
    whole = saved(Image.fromarray(COLOURS).resize((240, 160)), "JPEG", quality=90)
    pixels = whole.index(b"\xff\xda")
    refused = 0
    for damaged in (changed(whole, at, at % 8) for at in range(pixels + 20, len(whole) - 2, len(whole) // 100)):
        try:
            check(damaged, RGB)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 15  # the rest decodes to other pixels without a sign, by whichever decoder


def test_a_sampling_of_colour_that_is_rare_is_read(dali: Decoder) -> None:
    data = bytearray(LOSSY["JPEG, 4:4:4"])
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31  # three times as much brightness as colour along a row
    data = bytes(data)
    try:
        wanted = np.array(Image.open(io.BytesIO(data)))
    except OSError:
        pytest.skip("this Pillow does not read it either")
    check(data, RGB)
    assert np.array_equal(decode(data, RGB), wanted)


@needs_shared
def test_real_pictures_that_were_read_wrongly() -> None:
    data = (SHARED / "cases/23-tiff-orientation-3/1.tif").read_bytes()
    assert np.array_equal(decode(data, RGB), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    with pytest.raises(InputError, match="of 16 bits a channel; expected an 8-bit RGB"):
        check((SHARED / "cases/24-tiff-16-bit-rgb/1.tif").read_bytes(), RGB)
    with pytest.raises(InputError, match="checksum of its part IDAT"):
        check((SHARED / "cases/security/png_bad_idat_crc.png").read_bytes(), GREY16)
