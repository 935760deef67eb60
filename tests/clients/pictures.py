"""Makes a picture and a video that browsers show, out of nothing but numbers."""
import struct
import zlib


def png(width, height, red, green, blue):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    row = b"\0" + bytes((red, green, blue)) * width
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b""))


def bits(*fields):
    """Fields as H.264 writes them: (value, bits), or a number alone in its Exp-Golomb code."""
    text = ""
    for field in fields:
        if isinstance(field, tuple):
            text += format(field[0], "0%db" % field[1])
        else:
            code = format(field + 1, "b")
            text += "0" * (len(code) - 1) + code
    return text


def as_bytes(text):
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def mp4(frames, width=128, height=96, per_second=10):
    """A video in which each picture is one shade of grey, 16 to 235 from the first to the last. Its pictures are not
    compressed (H.264's I_PCM), each stands for itself, and the index comes last, as cameras write it."""
    sps = b"\x67\x42\xc0\x1e" + as_bytes(bits(0, 0, 2, 0, (0, 1), width // 16 - 1, height // 16 - 1, (0b1100, 4)) + "1")
    pps = b"\x68" + as_bytes(bits(0, 0, (0, 2), 0, 0, 0, (0, 3), 0, 0, 0, (0, 3)) + "1")
    pictures = []
    for n in range(frames):
        grey = bytes([16 + 219 * n // (frames - 1)]) * 256 + b"\x80" * 128
        # An IDR slice: first block, type, parameters, frame number, its id (neighbours differ), marking, quality.
        head = b"\x65" + as_bytes(bits(0, 7, 0, (0, 4), n % 2, (0, 2), 0, 25))
        others = (as_bytes(bits(25)) + grey) * (width * height // 256 - 1)
        picture = head + grey + others + b"\x80"
        pictures.append(struct.pack(">I", len(picture)) + picture)

    def box(name, *parts):
        data = b"".join(parts)
        return struct.pack(">I", 8 + len(data)) + name + data

    def full(name, *parts):
        return box(name, b"\0\0\0\0", *parts)

    def words(*numbers):
        return struct.pack(">%dI" % len(numbers), *numbers)

    matrix = words(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    start = box(b"ftyp", b"isom", words(0x200), b"isomavc1")
    avcc = box(b"avcC", b"\x01" + sps[1:4] + b"\xff\xe1" + struct.pack(">H", len(sps)) + sps + b"\x01" +
               struct.pack(">H", len(pps)) + pps)
    entry = box(b"avc1", bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HH", width, height) + words(0x480000, 0x480000, 0) +
                b"\0\1" + bytes(32) + b"\0\x18\xff\xff", avcc)
    table = box(b"stbl", full(b"stsd", words(1), entry), full(b"stts", words(1, frames, 1)),
                full(b"stsc", words(1, 1, frames, 1)),
                full(b"stsz", words(0, frames, *(len(p) for p in pictures))), full(b"stco", words(1, len(start) + 8)))
    media = box(b"mdia", full(b"mdhd", words(0, 0, per_second, frames), b"\x55\xc4\0\0"),
                full(b"hdlr", words(0), b"vide", bytes(13)),
                box(b"minf", box(b"vmhd", words(1, 0, 0)), box(b"dinf", full(b"dref", words(1), box(b"url ", words(1)))), table))
    track = box(b"trak", box(b"tkhd", words(7, 0, 0, 1, 0, frames, 0, 0, 0, 0), matrix,
                             words(width << 16, height << 16)), media)
    index = box(b"moov", full(b"mvhd", words(0, 0, per_second, frames, 0x10000, 0x1000000, 0, 0), matrix, bytes(24),
                              words(2)), track)
    return start + box(b"mdat", *pictures) + index
