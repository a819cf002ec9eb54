#!/usr/bin/env python3
"""Makes a Python wheel (PEP 427) of a built binary: wheel.py BINARY FOLDER.

`pip install` of the wheel gives the command `achromat`. It has no Python code and needs none, so one
wheel serves every Python 3. The name of the platform follows from the binary: manylinux_2_N when it
needs the C library of glibc 2.N at most, linux when it needs other libraries, any for a script.
Only the standard library is used.
"""

import argparse
import base64
import hashlib
import re
import struct
import sys
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

# Machines of ELF files, as wheels name them.
MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}

# Libraries of glibc and gcc that every manylinux platform has (PEP 600).
PLATFORM_LIBRARIES = re.compile(r"(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux.*)\.so\.\d+")

# Entries of an ELF file's dynamic section.
NEEDED, STRINGS, VERSIONS, VERSIONS_COUNT = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF

# What a program header says that its segment is.
LOADED, DYNAMIC = 1, 2


class Unknown(Exception):
    """The platform can't be told from the binary."""


class Elf:
    """The parts of a 64-bit little-endian ELF file that say what it needs."""

    def __init__(self, data):
        if data[4:6] != b"\x02\x01":
            raise Unknown("it is not 64-bit and little-endian")
        self.data = data
        (self.machine,) = struct.unpack_from("<H", data, 18)
        (headers,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        segments = [struct.unpack_from("<IIQQQQ", data, headers + size * n) for n in range(count)]
        # Offset in the file, address in memory and size of each.
        self.loaded = [(s[2], s[3], s[5]) for s in segments if s[0] == LOADED]
        dynamic = [(s[2], s[5]) for s in segments if s[0] == DYNAMIC]
        self.entries = []
        for start, length in dynamic:
            for at in range(start, start + length, 16):
                self.entries.append(struct.unpack_from("<QQ", data, at))

    def values(self, tag):
        return [value for entry, value in self.entries if entry == tag]

    def offset(self, address):
        for offset, start, size in self.loaded:
            if start <= address < start + size:
                return offset + address - start
        raise Unknown(f"nothing is loaded at address {address:#x}")

    def string(self, place):
        start = self.offset(self.values(STRINGS)[0]) + place
        return self.data[start : self.data.index(b"\0", start)].decode()

    def libraries(self):
        return [self.string(place) for place in self.values(NEEDED)]

    def versions(self):
        """Names of the symbols' versions that it needs, such as GLIBC_2.34."""
        for address in self.values(VERSIONS):
            at = self.offset(address)
            for _ in range(self.values(VERSIONS_COUNT)[0]):
                _, count, _, first, following = struct.unpack_from("<HHIII", self.data, at)
                entry = at + first
                for _ in range(count):
                    _, _, _, name, next_entry = struct.unpack_from("<IHHII", self.data, entry)
                    yield self.string(name)
                    entry += next_entry
                at += following


def platform(data):
    """The wheel's name of the platform that a binary is for."""
    if data[:2] == b"#!":
        return "any"
    if data[:4] != b"\x7fELF":
        raise Unknown("it is neither an ELF binary nor a script")
    elf = Elf(data)
    machine = MACHINES.get(elf.machine)
    if machine is None:
        raise Unknown(f"ELF machine {elf.machine} has no name here")
    libraries = elf.libraries()
    if not libraries:
        # Linked statically: it runs on any Linux.
        return f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    found = (re.fullmatch(r"GLIBC_2\.(\d+)(\.\d+)*", name) for name in elf.versions())
    minors = [int(version[1]) for version in found if version]
    if not minors or not all(PLATFORM_LIBRARIES.fullmatch(name) for name in libraries):
        return f"linux_{machine}"
    # pip knows no platform of that kind older than 2.5.
    return f"manylinux_2_{max(5, *minors)}_{machine}"


def workspace(key):
    """A key of [workspace.package] in Cargo.toml."""
    text = (PROJECT / "Cargo.toml").read_text(encoding="utf-8")
    section = text.split("[workspace.package]")[1].split("\n[")[0]
    return re.search(rf'^{key} = "(.*)"', section, re.MULTILINE)[1]


def version():
    """The version as Python writes it: 0.2.0-rc.1 is 0.2.0rc1."""
    written = workspace("version")
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(a|alpha|b|beta|rc)\.?(\d+))?", written)
    if found is None:
        sys.exit(f"wheel.py: Python has no such version as {written}")
    number, stage, place = found.groups()
    if stage is None:
        return number
    return number + {"alpha": "a", "beta": "b"}.get(stage, stage) + place


def metadata(version):
    head = f"""Metadata-Version: 2.4
Name: achromat
Version: {version}
Summary: One Chroma address in front of many: a replicating proxy for the Chroma vector database
License-Expression: {workspace("license")}
License-File: LICENSE
Keywords: chroma,vector database,proxy,replication
Requires-Python: >=3
Description-Content-Type: text/markdown

"""
    return head + (PROJECT / "README.md").read_text(encoding="utf-8")


class Wheel:
    """A wheel that is being written."""

    def __init__(self, path):
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []

    def add(self, name, content, mode=0o644):
        entry = zipfile.ZipInfo(name)  # dated 1980: equal binaries make equal wheels
        entry.create_system = 3  # Unix, so that the mode counts
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self.archive.writestr(entry, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(content)}\n")

    def close(self, record):
        self.record.append(f"{record},,\n")
        self.add(record, "".join(self.record).encode())
        self.archive.close()


def build(binary, folder, tag):
    number = version()
    stem = f"achromat-{number}"
    path = folder / f"{stem}-py3-none-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    tags = "".join(f"Tag: py3-none-{one}\n" for one in tag.split("."))
    wheel = Wheel(path)
    wheel.add(f"{stem}.data/scripts/achromat", binary, 0o755)
    wheel.add(f"{stem}.dist-info/METADATA", metadata(number).encode())
    # A package of a binary belongs to one platform, although there is no extension module in it.
    wheel.add(
        f"{stem}.dist-info/WHEEL",
        f"Wheel-Version: 1.0\nGenerator: achromat\nRoot-Is-Purelib: false\n{tags}".encode(),
    )
    wheel.add(f"{stem}.dist-info/licenses/LICENSE", (PROJECT / "LICENSE").read_bytes())
    wheel.close(f"{stem}.dist-info/RECORD")
    return path


def main():
    parser = argparse.ArgumentParser(description="Makes a Python wheel of a built binary.")
    parser.add_argument("binary", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platform", help="such as macosx_11_0_arm64; found out when it is not given")
    arguments = parser.parse_args()
    binary = arguments.binary.read_bytes()
    try:
        tag = arguments.platform or platform(binary)
    except Unknown as reason:
        sys.exit(f"wheel.py: the platform of {arguments.binary} is not known, give --platform: {reason}")
    print(build(binary, arguments.folder, tag))


if __name__ == "__main__":
    main()
