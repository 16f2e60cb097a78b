"""Formats by name: built in, of installed packages, and by their class; and what becomes of their options."""

import pickle
import sys
from dataclasses import dataclass

import pytest

from pipeline.errors import ConfigError
from pipeline.formats import FORMATS, Contents, Entry, Manifest, Section, list_formats, load_format, load_formats
from pipeline.formats.testing import catalog_of, join_samples, samples


class Smallest:
    """Only what a format must have; ``scale`` is an option of a type that only its class knows."""

    name = "smallest"
    needs_payload = False

    def manifests(self, catalog):
        return [Manifest("count.txt", (Section("lines"),))]

    def render(self, sample, catalog):
        return [Entry("count.txt", b"1\n", "lines")]


@dataclass(frozen=True)
class Plain(Smallest):
    scale: int = 1
    needs_originals = True

    def __post_init__(self):
        if self.scale == "big":
            raise ValueError("scale must not be big")


def test_a_format_with_the_required_members_only_gets_the_defaults():
    format_ = load_format(f"{__name__}:Smallest")
    assert (format_.name, format_.needs_payload, format_.needs_originals, format_.reader_memory) == (
        "smallest", False, False, 0,
    )  # fmt: skip
    assert (format_.support(), format_.how_to_read("x", "train", Contents(catalog_of(samples()), frozenset()))) == (
        {},
        "",
    )
    assert join_samples(format_, samples()[:2], catalog_of(samples())) == {"count.txt": b"1\n1\n"}
    assert format_.in_own_folder() == format_


def test_a_plain_dataclass_checks_its_options_itself():
    format_ = load_format(f"{__name__}:Plain", {"scale": "small"})
    assert format_.needs_originals
    assert pickle.loads(pickle.dumps(format_)) == format_
    with pytest.raises(ConfigError, match=f"formats.{__name__}:Plain: scale must not be big"):
        load_format(f"{__name__}:Plain", {"scale": "big"})
    with pytest.raises(ConfigError, match="unknown option; known: scale"):
        load_format(f"{__name__}:Plain", {"size": 1})


MODULE = """
from dataclasses import dataclass

from pipeline.formats import BaseFormat


@dataclass(frozen=True)
class Kitti(BaseFormat):
    "``Labels`` as KITTI has them."

    radius: int = 3
    name = "kitti"

    def manifests(self, catalog):
        return ()

    def render(self, sample, catalog):
        return ()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with one module, ``kitti_formats``, whose formats are registered under the names given."""
    monkeypatch.delitem(sys.modules, "kitti_formats", raising=False)

    def install(package, module=MODULE, **names):
        folder = tmp_path / package
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / "kitti_formats.py").write_text(module, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        lines = "".join(f"{name} = {value}\n" for name, value in names.items())
        (info / "entry_points.txt").write_text(f"[synapse_export.formats]\n{lines}", encoding="utf-8")
        monkeypatch.syspath_prepend(folder)

    return install


def listed(name):
    return [info for info in list_formats() if info.name == name]


def test_an_installed_package_can_register_a_format(install):
    install("kitti-export", kitti="kitti_formats:Kitti")
    assert load_format("kitti", {"radius": 5}).radius == 5
    with pytest.raises(ConfigError, match=r"formats\.kitti\.radius: must be a whole number, not 'far'"):
        load_format("kitti", {"radius": "far"})
    (info,) = listed("kitti")
    assert (info.package, info.summary, info.options) == ("kitti-export", "Labels as KITTI has them.", ("radius=3",))


def test_the_modules_of_packages_are_imported_when_they_are_asked_for(install):
    install("kitti-export", kitti="kitti_formats:Kitti")
    load_format("coco")
    assert "kitti_formats" not in sys.modules


def test_an_unknown_name_is_refused_with_the_names_of_packages_too(install):
    install("kitti-export", kitti="kitti_formats:Kitti")
    with pytest.raises(
        ConfigError,
        match=r"unknown format 'kity'; did you mean 'kitti'\?; known: coco, csv, imagefolder, kitti, parquet",
    ):
        load_format("kity")


def test_a_package_cannot_take_the_name_of_a_built_in_format(install):
    install("kitti-export", coco="kitti_formats:Kitti", kitti="kitti_formats:Kitti")
    with pytest.raises(ConfigError, match=r"formats\.coco: kitti-export registers a format of this name"):
        load_format("coco")
    ours, theirs = listed("coco")
    assert ours.options
    assert "is built in" in theirs.problem
    assert load_format("kitti").name == "kitti"


def test_two_packages_cannot_have_the_same_name(install):
    install("kitti-export", kitti="kitti_formats:Kitti")
    install("other-kitti", kitti="kitti_formats:Kitti")
    with pytest.raises(ConfigError, match=r"several packages register it \(kitti-export, other-kitti\)"):
        load_format("kitti")


@pytest.mark.parametrize(
    ("module", "value", "problem"),
    [
        ("import nowhere_at_all", "kitti_formats:Kitti", "No module named 'nowhere_at_all'"),
        ("1 / 0", "kitti_formats:Kitti", "ZeroDivisionError"),
        ("x = 1", "kitti_formats:Kitti", "has no attribute 'Kitti'"),
        ("x = 1", "elsewhere:Kitti", "No module named 'elsewhere'"),
    ],
)
def test_a_broken_package_is_named_and_does_not_break_others(install, module, value, problem):
    install("kitti-export", module, kitti=value)
    with pytest.raises(ConfigError, match=f"cannot load 'kitti' of the package kitti-export: .*{problem}"):
        load_format("kitti")
    (info,) = listed("kitti")
    assert problem in info.problem
    assert [format_.name for format_ in load_formats([("coco", {}), ("csv", {})])] == ["coco", "csv"]
    assert {info.name for info in list_formats() if not info.problem} == set(FORMATS)


def test_what_is_no_format_is_refused():
    with pytest.raises(ConfigError, match="is not a format: name, needs_payload, render and manifests are required"):
        load_format("builtins:object")
    with pytest.raises(ConfigError, match="cannot load 'nowhere:Format': ModuleNotFoundError"):
        load_format("nowhere:Format")
