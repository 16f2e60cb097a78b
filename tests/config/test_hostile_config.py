"""A configuration that is made to harm, or damaged by chance, is one line with file, line and key, at once."""

import re
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporting import command, environment
from pipeline.config import ExportConfig, parse_config, read_value
from pipeline.errors import ConfigError

MINIMAL = "name: a\ntarget: task\nfilter: {project: 1}\npath: ./x\nformats: [coco]\n"
LAUGHS = "".join(
    f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}' if level else 'ha'] * 9)}]\n" for level in range(40)
)
HOSTILE = {
    "aliases that multiply": (f"storage_options:\n{LAUGHS}", "storage_options"),
    "a list in itself": ("storage_options: &a\n  b: [*a]\n", "storage_options"),
    "a mapping that is its own key": ("storage_options: &a {? *a : 1}\n", "storage_options"),
    "deep lists": (f"storage_options: {'[' * 100_000}\n", "storage_options"),
    "deep mappings": (f"storage_options: {'{a: ' * 5_000}\n", "storage_options"),
    "many values": (f"classes: {{order: [{'a, ' * 60_000}]}}\n", "classes"),
    "a date that does not exist": ("description: 2024-02-30\n", "description"),
    "a whole number that is none": ("storage: !!int abc\n", "storage"),
    "an empty whole number": ("storage: !!int ''\n", "storage"),
    "a boolean that is none": ("save_original_file: !!bool maybe\n", "save_original_file"),
    "a time that is none": ("description: !!timestamp now\n", "description"),
    "bytes": ("description: !!binary '@'\n", "description"),
    "an object": ("description: !!python/object:os.system {}\n", "description"),
    "a set": ("storage_options: !!set {a}\n", "storage_options"),
    "a long number": (f"storage: {'9' * 5_000}\n", "storage"),
    "a number of too many bits": (f"storage: 0x{'f' * 17}\n", "storage"),
    "a number that is none": ("storage_options: {a: .nan}\n", "storage_options.a"),
    "NUL": ('description: "a\\0b"\n', "description"),
    "NUL in a key": ('storage_options: {"a\\0b": 1}\n', "storage_options"),
    "half a character": ('description: "\\ud800"\n', "description"),
}
WITHOUT_KEY = {
    "NUL in the text": "description: a\0b\n",
    "no such character": 'description: "\\U00110000"\n',
    "an alias of nothing": "description: *nobody\n",
}


def refused(text, overrides=()):
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + text, overrides, source="my.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("text", "key"), HOSTILE.values(), ids=HOSTILE)
def test_it_is_one_line_with_file_line_and_key(text, key):
    assert re.match(rf"my\.yaml:\d+: {re.escape(key)}(\.[\w.]+)?: ", refused(text))


@pytest.mark.parametrize("text", WITHOUT_KEY.values(), ids=WITHOUT_KEY)
def test_what_is_no_yaml_is_one_line_with_file_and_line(text):
    assert refused(text).startswith("my.yaml:6: not valid YAML: ")


@pytest.mark.parametrize(
    "override",
    ["storage_options=&a [*a]", f"storage_options={'[' * 5000}", f"{'a.' * 5000}b=1", "storage=!!int abc",
     f"storage={'9' * 5000}", 'path="a\\0"'],
    ids=["itself", "deep value", "deep key", "no number", "long number", "NUL"],
)  # fmt: skip
def test_an_override_is_no_way_around(override):
    refused("", [override])


def test_the_value_of_an_override_is_not_repeated():
    assert "hunter2" not in refused("", ["storage_options.password=[hunter2"])


def test_a_path_with_nul_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"^my\.yaml:4: path: holds a NUL character; remove it$"):
        parse_config(MINIMAL.replace("./x", '"a\\0b"'), source="my.yaml")


def test_values_that_come_without_yaml_are_checked_alike():
    values = {**yaml.safe_load(MINIMAL), "path": "a\0b"}
    with pytest.raises(ValueError, match="holds a NUL character"):
        ExportConfig.model_validate(values)


def test_aliases_that_do_not_multiply_are_fine():
    text = "split: {by: hash, ratios: &r {train: 0.5, val: 0.5}}\nextra_params: {coco: {}}\nstorage_options: {a: *r}\n"
    assert parse_config(MINIMAL + text).storage_options == {"a": {"train": 0.5, "val": 0.5}}


def test_a_date_is_its_text_and_json_may_halve_a_character():
    config = parse_config(MINIMAL + 'description: "\\ud83d\\ude00"\nstorage_options: {day: 2024-02-29}\n')
    assert (config.description, config.storage_options) == ("\U0001f600", {"day": "2024-02-29"})


@pytest.mark.parametrize("name", ["aliases that multiply", "deep lists", "a long number", "NUL"])
def test_the_command_says_it_in_one_line_and_ends_with_2(tmp_path, name):
    path = tmp_path / "my.yaml"
    path.write_text(MINIMAL + HOSTILE[name][0])
    done = command("run", path, env=environment(), timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}:")
    assert done.stderr.count("\n") == 1


def test_a_file_without_end_is_no_configuration():
    if sys.platform != "win32":
        done = command("run", "/dev/zero", env=environment(), timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


PIECES = st.sampled_from([
    "a", "b: ", "&x ", "*x", "[", "]", "{", "}", ", ", "- ", "\n", "\n  ", ": ", "? ", "!!int ", "!!bool ", "!!float ",
    "!!timestamp ", "!!set ", "!!omap ", "!foo ", "2024-13-45", "1:99", "0x", "1e999", ".inf", "~", "<<", "=", '"', "'",
    '"\\ud800"', '"\\0"', "%YAML 1.1\n", "--- ", "| ", "> ", "#", "@", "path: ", "formats: ", "storage_options: ",
])  # fmt: skip


def told(read, text):
    """The error of reading a text, or what an error would begin with."""
    try:
        read(text)
    except ConfigError as error:
        return str(error)
    return "--set a: "


@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_text_raises_anything_but_a_configuration_error(text):
    assert told(parse_config, text)
    assert told(parse_config, MINIMAL + "description: " + text)
    assert told(lambda text: read_value(text, "--set a"), text).startswith("--set a: ")
