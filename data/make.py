"""Makes everything in this folder that is not written by hand: run once, its result is committed.

    apt-get install dataset-fashion-mnist=0.0~git20200523.55506a9-1     # Debian 12
    python3 data/make.py

needs Python 3.11 or later and pip, nothing else. Every input is pinned by version and by SHA-256, so a second run
writes the same bytes. (The one exception: a zlib other than 1.2.13 may compress the same images into other bytes.)
"""

import gzip
import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

DATA = Path(__file__).resolve().parent

# Fashion-MNIST: the first images of each split.
DEBIAN = "Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1"
IDX = Path("/usr/share/datasets/fashion-mnist")
COPYRIGHT = Path("/usr/share/doc/dataset-fashion-mnist/copyright")
SPLITS = {"train": ("training", 10_000), "t10k": ("test", 10_000)}
IDX_SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}

# Photographs, as they are in the wheel. Licences and credits are those of the functions' documentation in
# skimage/data/_fetchers.py of that wheel; each one says public domain or CC0.
WHEEL = "scikit-image==0.26.0"
PHOTOGRAPHS = [
    {
        "name": "astronaut",
        "file": "astronaut.png",
        "sha256": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "title": "The astronaut Eileen Collins",
        "credit": "NASA, from the NASA Great Images database (https://flic.kr/p/r9qvLn)",
        "licence": "public domain",
        "says": "No known copyright restrictions, released into the public domain.",
    },
    {
        "name": "chelsea",
        "file": "chelsea.png",
        "sha256": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "title": "Chelsea the cat",
        "credit": "Stefan van der Walt",
        "licence": "CC0",
        "says": "No copyright restrictions.  CC0 by the photographer (Stefan van der Walt).",
    },
    {
        "name": "coffee",
        "file": "coffee.png",
        "sha256": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "title": "A cup of coffee",
        "credit": "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "licence": "CC0",
        "says": "No copyright restrictions.  CC0 by the photographer (Rachel Michetti).",
    },
    {
        "name": "hubble_deep_field",
        "file": "hubble_deep_field.jpg",
        "sha256": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "title": "Hubble eXtreme Deep Field",
        "credit": "NASA, from HubbleSite (http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/)",
        "licence": "public domain",
        "says": "The image was captured by NASA and `may be freely used in the public domain",
    },
    {
        "name": "retina",
        "file": "retina.jpg",
        "sha256": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "title": "A human retina",
        "credit": "Mikael Häggström, from Wikimedia Commons "
        "(https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg)",
        "licence": "CC0",
        "says": "This file is made available under the Creative Commons CC0 1.0 Universal",
    },
    {
        "name": "rocket",
        "file": "rocket.jpg",
        "sha256": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "title": "A Falcon 9 lifts off with DSCOVR",
        "credit": "SpaceX (https://www.flickr.com/photos/spacexphotos/16511594820/)",
        "licence": "public domain",
        "says": "The image was captured by SpaceX and `released in the public domain",
    },
]


def pinned(name: str, content: bytes, sha256: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        sys.exit(f"{name}: SHA-256 is {found}, but {sha256} is pinned")
    return content


def save(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def first(name: str, count: int, image_bytes: int) -> bytes:
    """The first `count` images or labels of an IDX file, as an IDX file."""
    plain = gzip.decompress(pinned(name, (IDX / name).read_bytes(), IDX_SHA256[name]))
    header = 4 + 4 * plain[3]
    return plain[:4] + struct.pack(">I", count) + plain[8 : header + count * image_bytes]


def fashion_mnist() -> list[dict]:
    files = []
    for prefix, (split, count) in SPLITS.items():
        labels = first(f"{prefix}-labels-idx1-ubyte.gz", count, 1)
        print(split, sorted(Counter(labels[8:]).items()))
        for kind, what, plain in [
            ("images-idx3", "images", first(f"{prefix}-images-idx3-ubyte.gz", count, 28 * 28)),
            ("labels-idx1", "labels", labels),
        ]:
            name = f"{prefix}-{kind}-ubyte.gz"
            content = gzip.compress(plain, 9, mtime=0)
            save(DATA / "fashion-mnist" / name, content)
            files.append(
                {
                    "path": f"fashion-mnist/{name}",
                    "content": content,
                    "source": f"the first {count:,} {what} of {name}, {DEBIAN}",
                    "licence": "MIT (fashion-mnist/LICENSE)",
                    "what": f"Fashion-MNIST, {count:,} {split} {what}, IDX",
                }
            )
    # The licence, out of the format of Debian's copyright files.
    text = COPYRIGHT.read_text().split("License: Expat\n ", 1)[1]
    lines = [line.strip().removesuffix(".") if line.strip() == "." else line.strip() for line in text.splitlines()]
    owner = "Copyright (c) 2017 Zalando SE, https://tech.zalando.com"
    licence = "\n".join(["The MIT License (MIT)", "", owner, "", *lines]) + "\n"
    save(DATA / "fashion-mnist" / "LICENSE", licence.encode())
    return files


def photographs() -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, WHEEL], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            documentation = wheel.read("skimage/data/_fetchers.py").decode()
            files = []
            for photo in PHOTOGRAPHS:
                # The words of the licence stand in the documentation of the function of that name.
                function = documentation.split(f"\ndef {photo['name']}():", 1)[1].split("\ndef ", 1)[0]
                if photo["says"] not in function:
                    sys.exit(f"{photo['name']}: its documentation no longer says {photo['says']!r}")
                name = photo["file"]
                content = pinned(name, wheel.read(f"skimage/data/{name}"), photo["sha256"])
                save(DATA / "photographs" / name, content)
                files.append(
                    {
                        "path": f"photographs/{name}",
                        "content": content,
                        "source": f"skimage/data/{name}, Python wheel {WHEEL}",
                        "licence": photo["licence"],
                        "what": f"photograph: {photo['title']}",
                    }
                )
            return files


def quoted(text: str) -> str:
    assert '"' not in text and "\\" not in text
    return f'"{text}"'


def main() -> None:
    lines = ["# Every data file in this folder, and where it comes from. Written by make.py; do not edit."]
    for file in [*fashion_mnist(), *photographs()]:
        content = file.pop("content")
        lines += ["", "[[file]]", f"path = {quoted(file.pop('path'))}", f"bytes = {len(content)}"]
        lines.append(f"sha256 = {quoted(hashlib.sha256(content).hexdigest())}")
        lines += [f"{key} = {quoted(value)}" for key, value in file.items()]
    for photo in PHOTOGRAPHS:
        lines += ["", "[[photograph]]", f"name = {quoted(photo['name'])}"]
        lines.append(f"path = {quoted('photographs/' + photo['file'])}")
        lines += [f"{key} = {quoted(photo[key])}" for key in ["title", "credit"]]
    (DATA / "manifest.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
