"""Decide which hosts files may be fetched from: a URL in a row comes from the server, but may point into our network.

Otherwise, anyone who can put a URL into a row could have the export read what only this machine can reach: a database
on localhost, another service of the network, the credentials that a cloud gives its machines. So a file is fetched from
the API's own host, from hosts that the configuration names, and from public addresses. The address that is checked is
the one that is connected to: the resolver of the connection pool checks its own answers, and connections are made to
exactly those (a name cannot point elsewhere a moment later). Addresses written in a URL do not reach a resolver; they
are checked before the request.

Behind an HTTP proxy, the proxy looks up names. Then only addresses written in a URL are checked.
"""

import functools
import ipaddress
import re
import socket
import urllib.request
from collections.abc import Iterable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from pipeline.errors import RefusedHost

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds give their machines credentials, besides the link-local 169.254.169.254: AWS, Google, Alibaba, Oracle,
# Azure. The last is in a public range.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all public IPv6 addresses
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 addresses in networks without IPv4
_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")  # private, whatever the release of Python says of some of it
# What resolvers read as an IPv4 address: the last label is a number (url.spec.whatwg.org, "ends in a number").
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.*")
_LONGEST_SHOWN = 80


class FileHosts:
    """The hosts that files may be fetched from: public ones, ``own`` (the API's host), and ``configured`` ones.

    ``configured`` are names, addresses and networks. A configured name may have any address but a link-local one, with
    which a cloud answers its own machines: such an address must be configured itself, not a network around it.
    """

    def __init__(self, own: str, configured: Iterable[str] = ()) -> None:
        self._own = _canonical(own)
        self._names: set[str] = set()
        self._exact: set[_Address] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in configured:
            try:
                network = ipaddress.ip_network(entry.strip("[]"))
            except ValueError:
                self._names.add(_canonical(_encoded(entry)))
                continue
            self._networks.append(network)
            if network.num_addresses == 1:
                self._exact.add(network.network_address)
        self._refusal_of = functools.lru_cache(maxsize=1024)(self._find_refusal)

    def check(self, host: str) -> None:
        """Check the host of a URL if it is an address, in any spelling. Raises RefusedHost."""
        if refusal := self._refusal_of(host):
            raise RefusedHost(host[:_LONGEST_SHOWN], refusal)

    def check_resolved(self, host: str, addresses: Iterable[str]) -> None:
        """Check the addresses of a name. Raises RefusedHost if one of them is not allowed."""
        name = _canonical(host)
        if name == self._own:
            return
        for text in addresses:
            address = _address(text)
            if kind := self._refused_kind(address, named=name in self._names):
                raise RefusedHost(host[:_LONGEST_SHOWN], _refusal(host, kind, address))

    def _find_refusal(self, host: str) -> str:
        name = _canonical(host)
        if name == self._own or name in self._names:
            return ""
        if name == "localhost" or name.endswith(".localhost"):
            return _refusal(host, "loopback", None)  # a proxy would take it for its own
        if ":" not in host and not _NUMERIC.fullmatch(host):
            return ""
        try:
            address = _address(host)
        except ValueError:
            # Resolvers understand 127.1, 0x7f000001 or 0177.0.0.1. Stores do not use these, and readers differ.
            return "an address must be written as four decimal numbers, or as IPv6 in brackets"
        kind = self._refused_kind(address, named=False)
        return _refusal(host, kind, None) if kind else ""

    def _refused_kind(self, address: _Address, *, named: bool) -> str:
        inner = _embedded(address)
        kind = _kind(inner)
        if not kind or address in self._exact or inner in self._exact:
            return ""
        if kind == "link-local":
            return kind
        allowed = named or any(address in network or inner in network for network in self._networks)
        return "" if allowed else kind


class CheckedResolver(AbstractResolver):
    """Looks names up as usual, and raises RefusedHost if an address must not be connected to.

    The connection pool keeps the answers for some seconds, so that the check costs nothing per request.
    """

    def __init__(self, hosts: FileHosts) -> None:
        self._hosts = hosts
        self._inner = DefaultResolver()
        self._proxies = _proxies()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name."""
        try:
            found = await self._inner.resolve(host, port, family)
        except UnicodeError:  # of a name with a label that is empty or too long
            raise RefusedHost(host[:_LONGEST_SHOWN], "is not a valid host name") from None
        if (host, port) not in self._proxies:
            self._hosts.check_resolved(host, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        """Close the resolver."""
        await self._inner.close()


def _canonical(host: str) -> str:
    return host.lower().removesuffix(".")


def _encoded(name: str) -> str:
    """Return a name in ASCII, as it is looked up."""
    try:
        return URL.build(scheme="http", host=name).raw_host or name
    except ValueError:
        return name


def _address(text: str) -> _Address:
    """Parse an address in the spelling that all readers understand alike, without its zone. Raises ValueError."""
    if ":" in text:
        return ipaddress.IPv6Address(text.partition("%")[0])
    return ipaddress.IPv4Address(text)


def _embedded(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: _Address) -> str:
    """Return why an address is not public, or ``""`` if it is."""
    if address.is_link_local or address in _METADATA:
        return "link-local"
    for kind in ("loopback", "unspecified", "multicast"):
        if getattr(address, f"is_{kind}"):
            return kind
    if isinstance(address, ipaddress.IPv6Address):
        return "" if address.is_global and address in _UNICAST else "private"
    if address.is_reserved:
        return "reserved"
    return "" if address.is_global and address not in _ASSIGNMENTS else "private"


def _refusal(host: str, kind: str, address: _Address | None) -> str:
    host = host[:_LONGEST_SHOWN]
    what = f"{host} is a {kind} address" if address is None else f"{host} is a {kind} address ({address})"
    it = str(address or host) if kind == "link-local" else "it"
    return f"{what}; if files are kept there, add {it} to run.file_hosts"


def _proxies() -> frozenset[tuple[str, int]]:
    """Return hosts and ports of the proxies of the environment, which are used whatever their addresses."""
    found = set()
    for address in urllib.request.getproxies().values():
        try:
            url = URL(address if "://" in address else f"http://{address}")
            if url.raw_host and url.port:
                found.add((url.raw_host, url.port))
        except ValueError:
            continue
    return frozenset(found)
