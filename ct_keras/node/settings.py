"""Settings of a node: who may send, where results go, and the limits."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from ct_keras.errors import CtKerasError

#: Characters of an AE title: the default repertoire without backslash and control.
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_PEER = re.compile(r"(?P<aet>[^@]+)@(?P<host>\[[^]]+\]|[^:@]+):(?P<port>\d{1,5})")
LOOPBACK = ("127.0.0.0/8", "::1/128")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Peer:
    """A DICOM application: AE title, host and port.

    Example:
        >>> Peer.parse("ORTHANC@127.0.0.1:4242")
        Peer(aet='ORTHANC', host='127.0.0.1', port=4242)
    """

    aet: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Parses ``AET@HOST:PORT``; an IPv6 address stands in brackets.

        Raises:
            CtKerasError: CTK-E000.
        """
        found = _PEER.fullmatch(text)
        if found is None or not 1 <= int(found["port"]) <= 65535:
            raise CtKerasError(
                "CTK-E000",
                "not the address of a DICOM peer",
                received=text,
                expected="AET@HOST:PORT, such as ORTHANC@127.0.0.1:4242",
            )
        host = found["host"].strip("[]")
        return cls(check_ae_title(found["aet"]), host, int(found["port"]))


def check_ae_title(text: str) -> str:
    """Returns an AE title without the spaces around it.

    Raises:
        CtKerasError: CTK-E000.
    """
    title = text.strip()
    if not _AE_TITLE.fullmatch(title):
        raise CtKerasError(
            "CTK-E000",
            "not a valid AE title",
            received=text,
            expected="1 to 16 ASCII characters without backslash",
        )
    return title


def parse_network(text: str) -> Network:
    """Parses an address or a network such as ``10.1.0.0/16``.

    Raises:
        CtKerasError: CTK-E000.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CtKerasError(
            "CTK-E000",
            "not an IP address or network",
            received=text,
            expected="such as 10.1.2.3, 10.1.0.0/16 or fd00::/8",
        ) from None


@dataclass(frozen=True)
class Encryption:
    """Certificates for TLS 1.2 or later.

    Attributes:
        certificate: Own certificate chain, PEM.
        key: Its private key, PEM without a password.
        authority: Certificates that peers must be signed by, PEM. With it senders must
            show a certificate; without it the system's are used for the peer.
    """

    certificate: Path
    key: Path
    authority: Path | None = None

    def server(self) -> ssl.SSLContext:
        """How senders are received.

        Raises:
            CtKerasError: CTK-E102, if a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self) -> ssl.SSLContext:
        """How the peer is called; its certificate must name its host.

        Raises:
            CtKerasError: CTK-E102, if a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is None:
            context.load_default_certs()
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key, _no_password)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
        except (OSError, ValueError) as error:
            raise CtKerasError(
                "CTK-E102",
                "the TLS certificate, key or authority cannot be used",
                received=getattr(error, "strerror", None) or type(error).__name__,
                expected="PEM files; a key that belongs to the certificate, without a "
                "password",
            ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")


@dataclass(frozen=True)
class NodeLimits:
    """What a node takes in at most.

    Attributes:
        instance_bytes: Size of one instance.
        spool_bytes: Size of everything in the spool.
        free_bytes: What must stay free on its disk.
        associations: Senders at the same time.
        instances_per_second: Of one address; it is then answered more slowly.
    """

    instance_bytes: int = 512 * 2**20
    spool_bytes: int = 50 * 2**30
    free_bytes: int = 2**30
    associations: int = 10
    instances_per_second: float = 200.0


@dataclass(frozen=True)
class NodeSettings:
    """Everything but the model and the spool.

    Attributes:
        forward: Where results go.
        host: The address to listen on.
        port: The port to listen on; 0 for any free one.
        aet: Own AE title; senders must call it.
        allowed_aets: AE titles that may send; empty for all.
        allowed_networks: Addresses that may send.
        quiet_seconds: A series is complete when nothing came for so long.
        release_seconds: The same, once its sender has closed the association.
        first_retry_seconds: Wait after the first failure to send; doubles each time.
        longest_retry_seconds: The longest such wait.
        encryption: Certificates, to receive by TLS.
        encrypt_forward: Whether the peer is called by TLS too.
        limits: What is taken in at most.
    """

    forward: Peer
    host: str = "127.0.0.1"
    port: int = 11112
    aet: str = "CTKERAS"
    allowed_aets: tuple[str, ...] = ()
    allowed_networks: tuple[Network, ...] = field(
        default_factory=lambda: tuple(map(parse_network, LOOPBACK))
    )
    quiet_seconds: float = 60.0
    release_seconds: float = 2.0
    first_retry_seconds: float = 2.0
    longest_retry_seconds: float = 300.0
    encryption: Encryption | None = None
    encrypt_forward: bool = False
    limits: NodeLimits = NodeLimits()

    @property
    def is_open(self) -> bool:
        """Whether other machines may send."""
        return not all(network.is_loopback for network in self.allowed_networks)

    def allows(self, address: str) -> bool:
        """Whether an address may send."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self.allowed_networks)
