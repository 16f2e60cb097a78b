"""A secret is in ``storage_options``, as a reference to a variable; any other is refused, and never quoted."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporting import command, environment
from pipeline.config import ExportConfig, parse_config
from pipeline.errors import ConfigError, DestinationError, ExportError
from pipeline.progress import printable
from pipeline.redaction import has_password, redact
from pipeline.storage import open_storage

CANARY = "canary5f2c9"
MINIMAL = "name: a\ntarget: task\nfilter: {project: 1}\nformats: [coco]\n"
PATH = "path: ./x\n"
SIGNED = f"https://bucket.example/splits.csv?X-Amz-Signature={CANARY}"

IN_URLS = {
    "path": f"path: sftp://user:{CANARY}@host/out\n",
    "path of a variable": "path: ${PLACE}\n",
    "path with the variable in it": "path: sftp://user:${PW}@host/out\n",
    "token for a user": f"path: https://{CANARY}@host/out\n",
    "password with signs": f"path: sftp://user:a/b@c{CANARY}@host/out\n",
    "signed path": f"path: https://host/out?st=1&e={CANARY}\n",
    "split.file": f"{PATH}split: {{by: file, file: '{SIGNED}'}}\n",
    "classes.lock": f"{PATH}classes: {{lock: '{SIGNED}'}}\n",
    "description": f"{PATH}description: 'made from {SIGNED}, by me'\n",
    "run.address": f"{PATH}run: {{address: 'ray://user:{CANARY}@host:10001'}}\n",
    "run.file_hosts": f"{PATH}run: {{file_hosts: ['http://user:{CANARY}@host']}}\n",
    "options of a format": f"{PATH}extra_params: {{coco: {{api_key: {CANARY}}}}}\n",
}
IN_OPTIONS = {
    "connection_string": f"connection_string: 'AccountName=a;AccountKey={CANARY}'",
    "passphrase": f"passphrase: {CANARY}",
    "header": f"headers: {{Authorization: 'Bearer {CANARY}'}}",
    "header of any name": f"headers: {{X-Mine: 'Bearer {CANARY}'}}",
    "cookie": f"client_kwargs: {{headers: {{Cookie: a={CANARY}}}}}",
    "api key": f"headers: {{x-api-key: {CANARY}}}",
    "customer key": f"s3_additional_kwargs: {{SSECustomerKey: {CANARY}}}",
    "number": "password: 5550123",
    "list": f"auth: [user, {CANARY}]",
    "private key of any name": f"identity: '-----BEGIN OPENSSH PRIVATE KEY----- {CANARY}'",
    "proxy": f"client_kwargs: {{proxy: 'http://user:{CANARY}@proxy:3128'}}",
    "signed endpoint": f"endpoint_url: '{SIGNED}'",
}


def refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + text, source="my.yaml")
    message = str(caught.value)
    assert CANARY not in message
    assert "5550123" not in message
    return message


@pytest.mark.parametrize("text", IN_URLS.values(), ids=IN_URLS)
def test_a_secret_outside_of_storage_options_is_refused_with_its_place(text, monkeypatch):
    monkeypatch.setenv("PW", CANARY)
    monkeypatch.setenv("PLACE", f"sftp://user:{CANARY}@host/out")
    assert re.match(r"my\.yaml:[56]: [\w.]+: holds a (URL with a (password|query)|secret)", refused(text))


@pytest.mark.parametrize("option", IN_OPTIONS.values(), ids=IN_OPTIONS)
def test_a_plain_secret_of_a_storage_is_refused_with_its_line(option):
    message = refused(f"{PATH}storage_options: {{{option}}}\n")
    assert re.match(
        r"my\.yaml:6: storage_options\.[\w.-]+: holds a secret in plain text; write \$\{VARIABLE\}", message
    )


def test_what_is_no_secret_is_accepted():
    text = (
        f"{PATH}description: see https://wiki.example/page?id=3 or ask me@example.com\n"
        "storage_options: {anon: true, username: me, headers: {Authorization: '${AUTH}'}, key: '${KEY}', secret: '',\n"
        "  endpoint_url: 'http://localhost:9000', proxy: 'http://me:${PW}@proxy', client_keys: [~/.ssh/id]}\n"
    )
    assert parse_config(MINIMAL + text).storage_options["username"] == "me"
    place = "abfs://container@account.dfs.core.windows.net/out"
    assert parse_config(f"{MINIMAL}path: {place}\n").path == place
    assert redact(place) == place


def test_values_that_come_without_yaml_are_checked_alike():
    values = {"name": "a", "target": "task", "filter": {}, "formats": ["coco"], "path": f"sftp://a:{CANARY}@host"}
    with pytest.raises(ValueError, match="holds a URL with a password"):
        ExportConfig.model_validate(values)


@pytest.mark.parametrize("name", ["verify", "clean"])
def test_a_place_on_the_command_line_is_refused_alike(name):
    done = command(name, f"sftp://user:{CANARY}@host/out", env=environment())
    assert done.returncode == 2
    assert done.stderr.startswith("error: sftp://host/out: the URL holds a password; ")
    assert CANARY not in done.stdout + done.stderr


def test_a_storage_is_not_opened_with_a_password_in_its_url():
    with pytest.raises(DestinationError, match=r"^sftp://host/out: the URL holds a password"):
        open_storage(f"sftp://user:{CANARY}@host/out")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"no access to {SIGNED}: forbidden", "no access to https://bucket.example/splits.csv: forbidden"),
        (f"<a href='{SIGNED}'>", "<a href='https://bucket.example/splits.csv'>"),
        ("http://localhost:8000/me@here, s3://b/12@x", "http://localhost:8000/me@here, s3://b/12@x"),
        (f"sftp://me:{CANARY}@host:22/out#x.", "sftp://host:22/out."),
        (f"sftp://@:{CANARY}@host/out", "sftp://host/out"),
        ("why? because://", "why? because://"),
    ],
)
def test_what_is_shown_of_a_url(text, shown):
    assert (redact(text), str(ExportError(text)), printable(text)) == (shown, shown, shown)


SIGNS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="\"'<>"), max_size=8)
USERS = SIGNS.filter(lambda text: not set("/?#") & set(text))  # these end the authority, and begin a path


@given(st.sampled_from(["sftp", "https", "s3", "smb+x"]), SIGNS, USERS, SIGNS)
def test_no_password_and_no_signature_is_ever_shown(scheme, before, user, rest):
    password = f"{CANARY}{rest}"
    text = f"{before} {scheme}://{user}:{password}@host/path?x={CANARY}{rest}"
    assert CANARY not in redact(text)
    assert redact(redact(text)) == redact(text)
    assert has_password(f"{scheme}://u:{CANARY}@host")
