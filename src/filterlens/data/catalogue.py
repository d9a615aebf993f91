# SPDX-License-Identifier: Apache-2.0
"""The image sets of the field by name: where they are published, under which terms, and where they lie on this machine.

Addresses and checksums are those that the publisher or a maintained public catalogue names; a set without a
checksum is recognised by its pixels (``pixels.json``) or, failing that, by the number and size of its images.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from filterlens.data.listing import SUFFIXES
from filterlens.errors import FilterlensError, UsageError, unknown

VARIABLE = "FILTERLENS_DATA"
DIGEST_DIGITS = 32
_PIXELS: dict[str, dict[str, str]] = json.loads(
    files("filterlens.data").joinpath("pixels.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Source:
    """One place from which a whole set can be had.

    Attributes:
        addresses: An archive (zip or tar), or every image by itself.
        pattern: Shell pattern over the paths in the archive that selects the set's files.
        checksum: The archive's checksum, ``sha256:…`` or ``md5:…``; None where no public one is known.
    """

    addresses: tuple[str, ...]
    pattern: str = "*"
    checksum: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """One named set.

    Attributes:
        name: Name in commands, and of its folder.
        title: Name in papers.
        images: Number of images.
        licence: The publisher's terms, in short.
        page: The official page, for people.
        sources: Places from which a command can fetch it, the first preferred; empty where its terms ask for a request.
        note: Advice for the user.
        folders: Other folder names under which it is found.
        longest: The longer side of every image in pixels, where all have the same.
        left_out: Stems in the archive that are not taken.
        pixels: Standard name → digest of its pixels, where known.
    """

    name: str
    title: str
    images: int
    licence: str
    page: str
    sources: tuple[Source, ...] = ()
    note: str = ""
    folders: tuple[str, ...] = ()
    longest: int | None = None
    left_out: tuple[str, ...] = ()
    pixels: Mapping[str, str] = field(default_factory=dict)


_EDSR = "https://cv.snu.ac.kr/research/EDSR"
_BERKELEY = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision"
_BSDS500 = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
_BSDS300 = f"{_BERKELEY}/bsds/BSDS300-images.tgz"
_BSDS_PAGE = f"{_BERKELEY}/grouping/resources.html"
_ETHZ = "https://data.vision.ee.ethz.ch/cvl"
_BENCHMARKS = f"{_EDSR}/benchmark.tar"  # HR images of Set5, Set14, B100, Urban100 as the EDSR authors publish them
_RESEARCH = "non-commercial research and education"

# checksums of DIV2K and CLIC: TensorFlow Datasets; of Flickr2K: torchSR
_ENTRIES = (
    ImageSet(
        "set5",
        "Set5",
        5,
        "none stated",
        "http://people.rennes.inria.fr/Aline.Roumy/results/SR_BMVC12.html",
        (Source((_BENCHMARKS,), "*Set5/HR/*"),),
        "'head' is the same photograph as Set14's 'face'.",
        pixels=_PIXELS["set5"],
    ),
    ImageSet(
        "set14",
        "Set14",
        14,
        "none stated",
        "https://sites.google.com/site/romanzeyde/research-interests",
        (Source((_BENCHMARKS,), "*Set14/HR/*"),),
        "'bridge' is gray. Copies that are cut to multiples of a scale are not the standard images.",
        pixels=_PIXELS["set14"],
    ),
    ImageSet(
        "bsds100",
        "BSDS100 (B100)",
        100,
        _RESEARCH,
        _BSDS_PAGE,
        (Source((_BSDS500,), "*BSDS500/data/images/val/*.jpg"), Source((_BSDS300,), "*images/test/*.jpg")),
        "The test images of BSDS300, which are the validation images of BSDS500.",
        folders=("b100", "bsd100"),
        longest=481,
        pixels=_PIXELS["bsds100"],
    ),
    ImageSet(
        "bsds400",
        "BSDS500, train and test",
        399,
        _RESEARCH,
        _BSDS_PAGE,
        (Source((_BSDS500,), "*BSDS500/data/images/t[re]*/*.jpg"),),
        "For training, next to BSDS100; 302003 is left out because it is Set5's 'woman'. No checksum is published.",
        longest=481,
        left_out=("302003",),
    ),
    ImageSet(
        "urban100",
        "Urban100",
        100,
        "none stated",
        "https://github.com/jbhuang0604/SelfExSR",
        (
            Source((_BENCHMARKS,), "*Urban100/HR/*"),
            Source(
                ("https://uofi.box.com/shared/static/65upg43jjd0a4cwsiqgl6o6ixube6klm.zip",), "*image_SRF_4/*_HR.png"
            ),
        ),
        "No checksum is published. The second address (the authors', 1.1 GB) has images cut to multiples of 4.",
    ),
    ImageSet(
        "manga109",
        "Manga109",
        109,
        "academic use, by request",
        "http://www.manga109.org/en/",
        note="Its terms ask for a request, so no command fetches it. For super-resolution, one cover of each volume.",
    ),
    ImageSet(
        "div2k-train",
        "DIV2K, training, HR",
        800,
        "academic research",
        f"{_ETHZ}/DIV2K/",
        (
            Source(
                (f"{_ETHZ}/DIV2K/DIV2K_train_HR.zip",),
                "*DIV2K_train_HR/*.png",
                "sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
            ),
        ),
        "3.5 GB.",
        folders=("DIV2K_train_HR", "DIV2K/DIV2K_train_HR"),
        longest=2040,
    ),
    ImageSet(
        "div2k-valid",
        "DIV2K, validation, HR",
        100,
        "academic research",
        f"{_ETHZ}/DIV2K/",
        (
            Source(
                (f"{_ETHZ}/DIV2K/DIV2K_valid_HR.zip",),
                "*DIV2K_valid_HR/*.png",
                "sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
            ),
        ),
        "0.4 GB.",
        folders=("DIV2K_valid_HR", "DIV2K/DIV2K_valid_HR"),
        longest=2040,
    ),
    ImageSet(
        "flickr2k",
        "Flickr2K, HR",
        2650,
        "none stated; photographs from Flickr",
        "https://github.com/LimBee/NTIRE2017",
        (Source((f"{_EDSR}/Flickr2K.tar",), "*Flickr2K_HR/*.png", "md5:5d3f39443d5e9489bff8963f8f26cb03"),),
        "About 20 GB, low-resolution versions included.",
        folders=("Flickr2K_HR", "Flickr2K/Flickr2K_HR"),
    ),
    ImageSet(
        "clic2020-train",
        "CLIC 2020, professional, training",
        585,
        "Unsplash",
        "https://clic.compression.cc/2021/tasks/index.html",
        (
            Source(
                (f"{_ETHZ}/clic/professional_train_2020.zip",),
                "*.png",
                "sha256:54a2a684b5cbd0db91770a8695efb774fed1f612194fee68bceaf6b1c48e5d5f",
            ),
        ),
        "2.0 GB.",
    ),
    ImageSet(
        "clic2020-valid",
        "CLIC 2020, professional, validation",
        41,
        "Unsplash",
        "https://clic.compression.cc/2021/tasks/index.html",
        (
            Source(
                (f"{_ETHZ}/clic/professional_valid_2020.zip",),
                "*.png",
                "sha256:00be38092ade2ab5163b65f7f6523d46c7bca147007f559adbb02c0afc236b7d",
            ),
        ),
        "0.1 GB.",
    ),
    ImageSet(
        "cid22-val",
        "CID22, validation references",
        41,
        "CC BY-SA 4.0",
        "https://cloudinary.com/labs/cid22",
        (
            Source(
                ("https://cloudinary-marketing-res.cloudinary.com/raw/upload/v1682006242/CID22_validation_set.zip",),
                "*original/*",
            ),
        ),
        "41 of the 49 references of 512x512, known by their pixels; the others are not taken.",
        folders=("val/cid22", "cid22/val"),
        longest=512,
        pixels=_PIXELS["cid22-val"],
    ),
    ImageSet(
        "kodak",
        "Kodak",
        24,
        "unrestricted use",
        "https://r0k.us/graphics/kodak/",
        (Source(tuple(f"https://r0k.us/graphics/kodak/kodak/kodim{number:02d}.png" for number in range(1, 25))),),
        "No checksum is published.",
        longest=768,
    ),
)
CATALOGUE: dict[str, ImageSet] = {entry.name: entry for entry in _ENTRIES}


def named(name: str) -> ImageSet:
    """Return a set by its name, in any case.

    Raises:
        UsageError: The catalogue has no such set; the nearest name is quoted.
    """
    if name.lower() not in CATALOGUE:
        raise unknown("image set", name, CATALOGUE)
    return CATALOGUE[name.lower()]


def data_root(root: Path | str | None = None) -> Path:
    """Return the folder of all image sets: ``root``, else ``FILTERLENS_DATA``, else the user's cache.

    The cache is ``$XDG_CACHE_HOME/filterlens/data``, by default ``~/.cache/filterlens/data``.
    """
    if root is not None:
        return Path(root).expanduser()
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "filterlens" / "data"


def find_set(name: str, root: Path | str | None = None) -> Path:
    """Return the folder of an image set: ``ROOT/NAME`` or one level deeper (``ROOT/eval/NAME``), in any case.

    Args:
        name: Name of a set in the catalogue, or of any folder below the root that holds images (``train/mine``).
        root: Folder of all image sets, as in :func:`data_root`.

    Raises:
        UsageError: The catalogue has no such set, and there is no such folder.
        FilterlensError: A set of the catalogue is not on this machine; the message says how to get it.
    """
    place = data_root(root)
    found = locate(name, place)
    if found is not None:
        return found
    try:
        entry = named(name)
    except UsageError as error:
        raise UsageError(f"{error} Nor does '{place}' hold a folder of that name with images.") from None
    raise FilterlensError(missing_message(entry, place))


def locate(name: str, root: Path) -> Path | None:
    """Return the folder of a set below ``root``, or None where it is not there; see :func:`find_set`."""
    entry = CATALOGUE.get(name.lower())
    folders = (entry.name, *entry.folders) if entry else (name,)
    for folder in folders:
        for path in _below(root, folder):
            if _holds_images(path):
                return path
    return None


def missing_message(entry: ImageSet, root: Path) -> str:
    """Say in one line which folder was looked for and how to get the set."""
    looked = ", ".join((entry.name, *entry.folders))
    way = f"`filterlens data get {entry.name}` fetches it" if entry.sources else "It cannot be fetched by a command"
    return (
        f"Image set '{entry.name}' ({entry.title}, {entry.images} images) is not in '{root}' (looked for {looked}, "
        f"there and one level deeper). {way}; its official place is {entry.page}. Or copy your own to "
        f"'{root / entry.name}', or name another folder with --data or {VARIABLE}."
    )


def _below(root: Path, folder: str) -> Iterator[Path]:
    """Yield the folders that ``folder`` (perhaps with slashes) may mean, nearest first, whatever their case."""
    parts = folder.lower().split("/")
    for start in (root, *_folders(root)):
        places = [start]
        for part in parts:
            places = [path for place in places for path in _folders(place) if path.name.lower() == part]
        yield from places


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError:
        return []


def _holds_images(path: Path) -> bool:
    try:
        return any(each.suffix.lower() in SUFFIXES for each in path.iterdir())
    except OSError:
        return False
