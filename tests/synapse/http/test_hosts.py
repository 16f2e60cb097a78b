"""Files come from the API, from hosts that were named and from public addresses; nothing else is ever connected to."""

import asyncio
import ipaddress
import json
import socket
import threading

import aiohttp.connector
import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config.loading import parse_config
from pipeline.errors import BackendError, ConfigError, RefusedHost, TransientError
from pipeline.model.backoff import Backoff
from pipeline.stages.workspace import Settings, Workspace
from pipeline.synapse.http.transport import Transport
from pipeline.synapse.http.tries import RequestLimits
from synapse.local_api import SIGNATURE, TOKEN, LocalApi, everything_of, scripted, transport

FILE = web.Response(body=b"a file")
PUBLIC = "https://api.example.com"
ONCE = RequestLimits(Backoff(attempts=1, first=0.5), connect=1, idle=1, attempt=2)


@pytest.fixture
def client():
    opened = []

    def make(api, **options):
        opened.append(transport(api, **options) if isinstance(api, LocalApi) else Transport(api, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def names(monkeypatch):
    """Names and what they stand for, instead of DNS; a list of lists is given one after the other."""
    table = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        found = table.get(host.lower().rstrip(".") if isinstance(host, str) else host)
        if found is None:
            if isinstance(host, str) and ":" not in host and not host.rpartition(".")[2].isdigit():
                host.encode("idna")  # fails where the real one does
                raise socket.gaierror(-2, "Name or service not known")
            return real(host, port, *args, **kwargs)
        found = found.pop(0) if isinstance(found[0], list) else found
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
            if ":" in text
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))
            for text in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


@pytest.fixture
def connected(monkeypatch):
    """Every address that a connection was tried to; none of them is made."""
    tried = []

    async def start(addr_infos, **_):
        tried.extend(info[4][0] for info in addr_infos)
        raise OSError(111, "Connection refused")

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", start)
    return tried


def fetch(client, url):
    return client.run(client.fetch_payload(url, bytes))


def elsewhere(other, host=None, path="/a.json?X-Sig="):
    """The address of a file at another server, under another name of its host."""
    return f"{other.url.replace('127.0.0.2', host or '127.0.0.2')}{path}{SIGNATURE}"


# With servers


def test_a_private_address_is_not_asked_unless_it_was_named(client):
    with LocalApi(scripted(FILE), host="127.0.0.2") as other, LocalApi(scripted(FILE)) as api:
        words = r"^127\.0\.0\.2: 127\.0\.0\.2 is a loopback address; if files are kept there, add it to run.file_hosts$"
        for method in ("fetch_payload", "fetch_original", "fetch_range"):
            one = client(api)
            more = {"fetch_payload": bytes, "fetch_original": None, "fetch_range": 10}[method]
            with pytest.raises(RefusedHost, match=words) as caught:
                one.run(getattr(one, method)(elsewhere(other), more))
            assert SIGNATURE not in everything_of(caught.value)
        assert other.seen == []
        for hosts in (["127.0.0.2"], ["127.0.0.0/24"], ["10.0.0.0/8", "127.0.0.2/32"]):
            assert fetch(client(api, file_hosts=hosts), elsewhere(other)) == b"a file"
        assert len(other.seen) == 3
        assert api.seen == []


def test_another_port_of_the_apis_own_host_may_be_asked(client):
    with LocalApi(scripted(FILE)) as store, LocalApi(scripted(FILE)) as api:
        assert fetch(client(api), f"{store.url}/a") == b"a file"


def test_a_redirect_to_a_private_address_arrives_nowhere(client):
    with LocalApi(scripted(FILE), host="127.0.0.2") as other:
        for status in (301, 302, 303, 307, 308):
            with LocalApi(scripted(web.Response(status=status, headers={"Location": elsewhere(other)}))) as api:
                for hosts in ([], ["127.0.0.2"]):
                    with pytest.raises(BackendError, match=f"HTTP {status}: redirects are not followed"):
                        fetch(client(api, file_hosts=hosts), f"{api.url}/a")
        assert other.seen == []


@pytest.mark.parametrize(
    "host",
    [
        "2130706434",
        "127.2",
        "127.0.2",
        "0x7f000002",
        "0X7F.2",
        "0x7f.0x0.0x0.0x2",
        "0177.0.0.2",
        "017700000002",
        "127.0.0.02",
        "127.0.0.2.",
        "127.0.0.2..",
        "%31%32%37.0.0.2",
        "127.0.0.%32",
        "１２７.0.0.2",
        "①②⑦.0.0.2",
        "127。0。0。2",
        "[::ffff:127.0.0.2]",
        "[::FFFF:7f00:2]",
        "[0:0:0:0:0:ffff:127.0.0.2]",
        "[::127.0.0.2]",
        "[64:ff9b::127.0.0.2]",
        "[2002:7f00:2::]",
        "user@127.0.0.2",
        "user:word@127.0.0.2",
        "api.example.com@127.0.0.2",
    ],
)
def test_no_spelling_gets_around(client, host):
    with LocalApi(scripted(FILE), host="127.0.0.2") as other, LocalApi(scripted(FILE)) as api:
        url = elsewhere(other, host)
        with pytest.raises((BackendError, TransientError)) as caught:
            fetch(client(api, limits=ONCE), url)
        assert other.seen == api.seen == []
        assert SIGNATURE not in everything_of(caught.value)


def test_a_name_of_this_machine_is_not_asked_unless_it_was_named(client, names):
    names |= {"files.example.com": ["127.0.0.2"], "minio.internal": ["127.0.0.2"]}
    with LocalApi(scripted(FILE), host="127.0.0.2") as other, LocalApi(scripted(FILE)) as api:
        words = r"files\.example\.com is a loopback address \(127\.0\.0\.2\); if files are kept there, add it to"
        with pytest.raises(RefusedHost, match=words):
            fetch(client(api), elsewhere(other, "files.example.com"))
        assert other.seen == []
        named = client(api, file_hosts=["Minio.Internal."])
        for host in ("minio.internal", "MINIO.internal", "minio.internal."):
            assert fetch(named, elsewhere(other, host)) == b"a file"
        with pytest.raises(RefusedHost):
            fetch(named, elsewhere(other, "files.example.com"))
        around = client(api, file_hosts=["127.0.0.2"])
        assert fetch(around, elsewhere(other, "files.example.com")) == b"a file"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost"])
def test_localhost_is_not_looked_up(client, connected, names, host):
    names[host.lower().rstrip(".")] = ["8.8.8.8"]
    with pytest.raises(RefusedHost, match="loopback"):
        fetch(client(PUBLIC), f"http://{host}:1/a")
    assert connected == []


# With names that change their mind


def test_a_connection_goes_to_the_address_that_was_judged(client, connected, names):
    names["store.example.com"] = [["8.8.8.8"], ["127.0.0.2"], ["127.0.0.2"]]
    one = client(PUBLIC, limits=ONCE)
    with pytest.raises(TransientError, match="cannot connect"):
        fetch(one, "http://store.example.com/a")
    assert connected == ["8.8.8.8"]
    one.close()
    with pytest.raises(RefusedHost, match=r"\(127\.0\.0\.2\)"):
        fetch(client(PUBLIC, limits=ONCE), "http://store.example.com/a")
    assert connected == ["8.8.8.8"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(client, connected, names):
    names["store.example.com"] = ["8.8.8.8", "2606:4700::1", "fd00::5"]
    with pytest.raises(RefusedHost, match=r"private address \(fd00::5\)"):
        fetch(client(PUBLIC), "https://store.example.com/a")
    assert connected == []


def test_many_requests_to_a_private_name_are_all_refused(client, connected, names, caplog):
    names["store.example.com"] = ["10.0.0.5"]
    one = client(PUBLIC, requests=50)

    async def many():
        fetches = (one.fetch_payload(f"http://store.example.com/{n}", bytes) for n in range(200))
        return await asyncio.gather(*fetches, return_exceptions=True)

    assert {type(found) for found in one.run(many())} == {RefusedHost}
    one.close()
    assert connected == []
    assert caplog.text == ""


def test_names_are_looked_up_once_for_many_requests(client, names, monkeypatch):
    names["minio.internal"] = ["127.0.0.1"]
    asked = []
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: asked.append(args[0]) or real(*args, **more))
    with LocalApi(scripted(FILE)) as api:
        port = api.url.rpartition(":")[2]
        one = client(api, file_hosts=["minio.internal"])
        for _ in range(50):
            assert fetch(one, f"http://minio.internal:{port}/a") == b"a file"
    assert asked.count("minio.internal") == 1


def test_the_api_itself_may_be_anywhere(client, names):
    names["synapse.internal"] = ["127.0.0.1"]
    with LocalApi(scripted(web.json_response({}))) as api:
        one = client(api.url.replace("127.0.0.1", "Synapse.internal"), limits=ONCE)
        assert one.run(one.fetch_page("sdk/tasks/", {}, json.loads)) == {}
        assert fetch(one, "/media/a.json") == b"{}"
        assert fetch(one, f"http://synapse.INTERNAL:{api.url.rpartition(':')[2]}/a.json") == b"{}"


# Addresses that no machine has to have


PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128",
        "::ffff:0:0/104", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "2001::/32", "fc00::/7", "fe80::/10",
        "fec0::/10", "ff00::/8", "2002:a00::/24", "2002:7f00::/24", "64:ff9b::a00:0/104", "64:ff9b::a9fe:0/112",
        "::a00:0/104",
    )
]  # fmt: skip


def spelled(address, draw):
    """One of the ways in which an address can be written into a URL."""
    number = int(address)
    if address.version == 6:
        forms = [
            str(address),
            address.exploded,
            str(address).upper(),
            f"{address}%25eth0",
            f"{address}%eth0",
        ]
        if number < 2**32 or address.ipv4_mapped:
            forms.append(f"{'::ffff:' if address.ipv4_mapped else '::'}{ipaddress.IPv4Address(number & 0xFFFFFFFF)}")
        return f"[{draw(st.sampled_from(forms))}]"
    parts = list(address.packed)
    bases = draw(st.lists(st.sampled_from(["{}", "0x{:x}", "0X{:X}", "0{:o}", "0x0{:x}", "00{:o}"]), min_size=4))
    dotted = ".".join(base.format(part) for base, part in zip(bases, parts, strict=False))
    forms = [
        str(address),
        dotted,
        str(number),
        f"0x{number:x}",
        f"0{number:o}",
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"{address}.",
        f"[::ffff:{address}]",
        f"[64:ff9b::{address}]",
        "".join(chr(0xFF10 + int(mark)) if mark.isdigit() else mark for mark in str(address)),
        str(address).replace(".", "\u3002"),
        "".join(f"%{ord(mark):02x}" for mark in str(address)),
    ]
    return draw(st.sampled_from(forms))


@st.composite
def private_urls(draw):
    network = draw(st.sampled_from(PRIVATE))
    address = network[draw(st.integers(0, network.num_addresses - 1))]
    host = spelled(address, draw)
    scheme = draw(st.sampled_from(["http", "https", "HTTP", "Https"]))
    user = draw(st.sampled_from(["", "", "user@", "user:word@", "api.example.com@", "api.example.com%2f@"]))
    port = draw(st.sampled_from(["", ":", ":80", ":9000"]))
    return f"{scheme}://{user}{host}{port}/bucket/a.jpg?X-Sig=1"


@settings(max_examples=500)
@given(private_urls())
@example("http://[::ffff:10.0.0.5]/")
@example("http://[fe80::1%25lo]/")
@example("http://0/")
@example("http://0x/")
def test_no_private_address_is_ever_connected_to(connected, shared, url):
    with pytest.raises((BackendError, TransientError)):
        fetch(shared, url)
    assert connected == []


@pytest.fixture(scope="module")
def shared():
    one = Transport(PUBLIC, limits=ONCE)
    yield one
    one.close()


@settings(max_examples=200)
@given(st.sampled_from(PRIVATE).flatmap(lambda n: st.integers(0, n.num_addresses - 1).map(lambda i: str(n[i]))))
def test_no_name_of_a_private_address_is_ever_connected_to(connected, names, address):
    names["store.example.com"] = ["8.8.4.4", address]
    one = Transport(PUBLIC, limits=ONCE)
    try:
        with pytest.raises(RefusedHost, match=r"store\.example\.com is an? "):
            fetch(one, "http://store.example.com/a")
    finally:
        one.close()
    assert connected == []


@settings(max_examples=200)
@given(st.text(max_size=40), st.text(max_size=20))
@example("::1", "")
@example("\u0100@host", "")
@example("a%3ab:c@host", "")
@example("host:99999", "")
@example("host:-1", "")
@example("a" * 70 + ".com", "")
@example("a..b", "")
@example(".", "")
@example("%", "")
@example("[", "")
@example("a\ud800", "")
def test_no_address_whatsoever_ends_in_anything_but_our_errors(connected, names, shared, host, path):
    with pytest.raises((BackendError, TransientError)):
        fetch(shared, f"http://{host}/{path}")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "[2606:4700::1111]", "[64:ff9b::8.8.8.8]", "172.32.0.1"])
def test_a_public_address_is_connected_to(client, connected, address):
    with pytest.raises(TransientError, match="cannot connect"):
        fetch(client(PUBLIC, limits=ONCE), f"http://{address}/a")
    assert (
        connected == [address.strip("[]").replace("8.8.8.8", "808:808" if ":" in address else "8.8.8.8")] or connected
    )


# What clouds tell their machines


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("169.254.169.254", "169.254.0.0/16"),
        ("169.254.169.254", "0.0.0.0/0"),
        ("169.254.170.2", "169.254.170.0/24"),
        ("[fd00:ec2::254]", "fd00::/8"),
        ("[::ffff:169.254.169.254]", "169.254.0.0/16"),
        ("[::ffff:a9fe:a9fe]", "::/0"),
        ("100.100.100.200", "100.64.0.0/10"),
        ("168.63.129.16", "168.63.0.0/16"),
        ("[fe80::1]", "fe80::/10"),
    ],
)
def test_metadata_of_a_cloud_is_only_read_when_exactly_its_address_was_named(
    client, connected, names, address, network
):
    bare = address.strip("[]")
    names["metadata.internal"] = [bare]
    for hosts in ([], [network], ["metadata.internal"]):
        one = client(PUBLIC, limits=ONCE, file_hosts=hosts)
        for host in (address, "metadata.internal"):
            with pytest.raises(RefusedHost, match=r"is a link-local address.*add \S+ to run.file_hosts"):
                fetch(one, f"http://{host}/latest/meta-data/")
    assert connected == []
    with pytest.raises(TransientError, match="cannot connect"):
        fetch(client(PUBLIC, limits=ONCE, file_hosts=[bare]), f"http://{address}/")
    assert connected


# Behind a proxy


def test_behind_a_proxy_names_are_the_proxys_and_addresses_are_judged_here(client, monkeypatch, names):
    async def answer(request):
        return web.Response(body=str(request.url).encode())

    names["proxy.internal"] = ["127.0.0.1"]
    with LocalApi(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("127.0.0.1", "proxy.internal"))
        one = client("http://api.example.com", limits=ONCE)
        assert fetch(one, "http://store.example.com/a") == b"http://store.example.com/a"
        for host in ("10.0.0.5", "localhost", "[::1]", "127.1"):
            with pytest.raises(RefusedHost):
                fetch(one, f"http://{host}/a")
        assert len(proxy.seen) == 1


# What may be configured


def config_with(hosts, **more):
    values = {"name": "x", "target": "task", "filter": {"project": 1}, "path": "x", "formats": ["csv"], **more}
    return parse_config(json.dumps({**values, "run": {"file_hosts": hosts}}))


def test_hosts_are_no_part_of_what_an_export_is():
    assert config_with(["minio.internal"]).identity() == config_with([]).identity()


@pytest.mark.parametrize(
    "host", ["minio.internal", "minio", "10.20.0.0/16", "10.0.0.5", "fd00::/8", "::1", "[::1]", "Store_1.x.", "각.kr"]
)
def test_names_addresses_and_networks_are_hosts(host, client):
    assert config_with([host]).run.file_hosts == (host,)
    client(PUBLIC, file_hosts=[host])


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("http://minio:9000", "without scheme, port and path"),
        ("minio:9000", "without scheme, port and path"),
        ("10.0.0.5:9000", "without scheme, port and path"),
        ("*.internal", "without scheme"),
        ("", "without scheme"),
        ("127.1", "without scheme"),
        ("10.0.0.300", "without scheme"),
        ("10.20.0.5/16", "'10.20.0.5/16' has bits after its prefix; write 10.20.0.0/16"),
        ("a/b", "without scheme"),
        ("a b", "without scheme"),
        ("-a", "without scheme"),
    ],
)
def test_anything_else_is_none(host, words):
    with pytest.raises(ConfigError, match=words):
        config_with([host])


def workspace_with(**more):
    return Workspace(Settings(config_with(more.pop("hosts", []), **more).model_dump(mode="json")))


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": "http://127.0.0.2:9000"},
        {"client_kwargs": {"endpoint_url": "http://127.0.0.2:9000"}},
        {"endpoint_url": "${STORE_ADDRESS}", "key": "${NOT_SET}"},
    ],
)
def test_files_may_be_where_the_export_goes(monkeypatch, options):
    monkeypatch.setenv("STORE_ADDRESS", "http://127.0.0.2")
    monkeypatch.setenv("SYNAPSE_ACCESS_TOKEN", TOKEN)
    with LocalApi(scripted(FILE), host="127.0.0.2") as other, LocalApi(scripted(FILE)) as api:
        monkeypatch.setenv("SYNAPSE_HOST", api.url)
        workspace = workspace_with(path="s3://b/p", storage_options=options)
        try:
            assert fetch(workspace.client, elsewhere(other)) == b"a file"
        finally:
            workspace.close()
        workspace = workspace_with(path="s3://b/p")
        try:
            with pytest.raises(RefusedHost):
                fetch(workspace.client, elsewhere(other))
        finally:
            workspace.close()


# How many at once


async def until(condition):
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


def test_no_host_sees_more_requests_than_allowed_and_a_slow_one_holds_up_no_other(client):
    go_on = threading.Event()

    async def wait(_):
        await until(go_on.is_set)
        return web.Response(body=b"late")

    async def quick(_):
        await asyncio.sleep(0.02)
        return web.Response(body=b"{}")

    with (
        LocalApi(wait, host="127.0.0.2") as slow,
        LocalApi(quick, host="127.0.0.3") as store,
        LocalApi(quick) as api,
    ):
        one = client(api, requests=3, file_hosts=["127.0.0.0/8"], limits=RequestLimits(attempt=60))

        async def many():
            waiting = [asyncio.create_task(one.fetch_payload(f"{slow.url}/{n}", bytes)) for n in range(12)]
            async with asyncio.timeout(30):
                await until(lambda: len(slow.seen) == 3)
                pages = [one.fetch_page("sdk/tasks/", {}, json.loads) for _ in range(12)]
                files = [one.fetch_payload(f"{store.url}/{n}", bytes) for n in range(12)]
                await asyncio.gather(*pages, *files)  # all of them, while the slow one answers nothing
                assert len(slow.seen) == 3
                go_on.set()
            return [await task for task in waiting]

        assert one.run(many()) == [b"late"] * 12
        assert [server.most_at_once for server in (slow, store, api)] == [3, 3, 3]


def test_many_names_share_slots(client, names):
    async def answer(_):
        await asyncio.sleep(0.02)
        return web.Response(body=b"{}")

    hosts = [f"store{number}.internal" for number in range(40)]
    names |= {host: ["127.0.0.2"] for host in hosts}
    with LocalApi(answer, host="127.0.0.2") as store, LocalApi(answer) as api:
        one = client(api, requests=2, file_hosts=hosts)

        async def many():
            await asyncio.gather(*(one.fetch_payload(elsewhere(store, host), bytes) for host in hosts * 2))

        one.run(many())
        assert 2 < store.most_at_once <= 2 * 9
