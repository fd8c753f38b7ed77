"""Which addresses a crawl may talk to: public ones, and networks that were allowed by name.

A manifest is written by others. Without this check one line of it could make the crawler read
the metadata service of a cloud, or a database on the private network (SSRF). The check sits
where sockets are made, so the address checked is the address connected to: a name that
resolves to something else a moment later, a redirect, an odd spelling of 127.0.0.1 all end here.
Public addresses in their turn are owed a User-Agent with a contact: without one they are refused.

    >>> is_public(ipaddress.ip_address("::ffff:10.0.0.1"))
    False
    >>> AddressPolicy(["10.0.0.0/8"]).allows("10.1.2.3")
    True
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from facap.crawl.address import BadUrl, split

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # the only IPv6 space given out so far
_NOT_PUBLIC = [
    ipaddress.ip_network("192.0.0.0/24"),  # RFC 6890; ipaddress calls parts of it global
    ipaddress.ip_network("192.88.99.0/24"),  # RFC 7526: relays of 6to4, withdrawn
    ipaddress.ip_network("168.63.129.16/32"),  # looks public; Azure's machines reach their host there
    ipaddress.ip_network("3fff::/20"),  # RFC 9637: documentation, too new for ipaddress
]


class BlockedAddress(OSError):
    """A connection to an address that the policy does not allow."""


def is_public(address: Address) -> bool:
    """Whether `address` is an ordinary public unicast address, seen through IPv4-in-IPv6 wrappings."""
    if isinstance(address, ipaddress.IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not address.is_reserved
            and not _is_listed(address)
        )
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in _GLOBAL_UNICAST and address.is_global and not _is_listed(address)


def _is_listed(address: Address) -> bool:
    return any(address.version == network.version and address in network for network in _NOT_PUBLIC)


class AddressPolicy:
    """Allows those in `networks` (CIDRs) and, if `public`, public addresses."""

    def __init__(self, networks: Iterable[str] = (), public: bool = True) -> None:
        self.networks, self.public = [ipaddress.ip_network(n) for n in networks], public

    def allows(self, host: str) -> bool:
        """Whether the numeric address `host` may be connected to."""
        address: Address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return (self.public and is_public(address)) or any(
            address.version == network.version and address in network for network in self.networks
        )

    def refusal(self, host: str) -> BlockedAddress:
        """The error for an address that is not allowed."""
        why = "is not a public address and" if self.public else "needs crawl.contact or is private, and is"
        return BlockedAddress(f"{host} {why} not in allow_networks")


class CheckedResolver(AbstractResolver):
    """Resolves names all of whose addresses are allowed; BlockedAddress for any other.

    A name with one private address among public ones is somebody's trick or mistake: it is refused whole.
    """

    def __init__(self, policy: AddressPolicy, inner: AbstractResolver | None = None) -> None:
        self.policy, self.inner = policy, inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`."""
        found = await self.inner.resolve(host, port, family)
        for result in found:
            if not self.policy.allows(result["host"]):
                raise self.policy.refusal(f"{host} ({result['host']})")
        return found

    async def close(self) -> None:
        """Nothing is held."""
        await self.inner.close()


def checked_connector(policy: AddressPolicy, resolver: AbstractResolver | None = None) -> TCPConnector:
    """A connector that makes no socket to an address which `policy` does not allow.

    The resolver gives names a clear error; the socket factory is the gate that nothing passes
    by, literal addresses included. The number of connections is bounded by the caller. `resolver`:
    what looks names up, the system's by default.
    """

    def make_socket(info: tuple) -> socket.socket:
        family, kind, protocol, _, address = info
        if not policy.allows(address[0]):
            raise policy.refusal(address[0])
        return socket.socket(family=family, type=kind, proto=protocol)

    return TCPConnector(resolver=CheckedResolver(policy, resolver), socket_factory=make_socket, limit=0)


def parse_url(text: str) -> URL:
    """`text` as an absolute http(s) URL without credentials or fragment; BadUrl says what is wrong.

    Who is asked is parsed once, here, and the client gets the result. What is asked for stays as it was
    written, see `address`.
    """
    scheme, authority, target = split(text)
    if scheme not in ("http", "https"):
        raise BadUrl(f"the scheme should be http or https, is '{scheme}'")
    try:
        origin = URL(f"{scheme}://{authority}/")
        port, host = origin.port, origin.raw_host
    except (ValueError, TypeError) as error:
        user = authority.rpartition("@")[0]
        raise BadUrl(f"not a URL: {str(error).replace(f'{user}@', '')}") from error
    if not host or port == 0:
        raise BadUrl("the address names no host or port 0")
    if origin.user is not None or origin.password is not None:
        raise BadUrl("the address carries a user name or password")
    if re.search(r"\s|:[^:\]]*[^0-9:\]][^:\]]*$", authority):  # int() would take " 80", "+80" and "8_0"
        raise BadUrl("the address has a space in its host, or a port that is no number")
    path, mark, query = target.partition("?")
    path += mark if not query else ""  # a URL without query has no place for a mark alone
    return URL.build(
        scheme=scheme, authority=origin.raw_authority, path=path, query_string=query, encoded=True
    )


def host_name(url: URL) -> str:
    """Whom `url` is asked of, port and scheme left aside: what politeness is owed to."""
    return (url.raw_host or "").rstrip(".").lower()


def is_own(name: str, networks: Iterable[str]) -> bool:
    """Whether the host `name` is known without a look-up to be in `networks`, so that no contact is owed."""
    if name == "localhost":
        return bool(list(networks))
    try:
        return AddressPolicy(networks, public=False).allows(name)
    except ValueError:  # a name, which may be anyone's
        return False
