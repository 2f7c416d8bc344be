"""Settings of the listener, and of TLS in and out."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The C-STORE and C-ECHO listener."""

    ae_title: str = setting("GATEKEEPER", "own AE title, called by scanners, used when we call")
    host: str = setting("0.0.0.0", "address to bind")  # noqa: S104 - scanners call from outside
    port: int = setting(11112, "TCP port to bind", minimum=1, maximum=65535)
    plain: bool = setting(True, "open `port`, in plain text; false leaves `tls_port` alone open")
    tls_port: int = setting(
        0,
        "TCP port for DICOM TLS, 2762 by custom, beside the plain one; 0 opens none",
        minimum=0,
        maximum=65535,
    )
    processes: int = setting(
        2,
        "processes that share the ports: several take in more from several senders at once, even "
        "on two cores, and one that dies breaks off only its own associations; 1 saves memory",
        minimum=1,
        maximum=32,
    )
    maximum_pdu: int = setting(
        131072, "largest PDU accepted", unit="bytes", minimum=4096, maximum=1048576
    )
    maximum_associations: int = setting(50, "associations open at once", minimum=1, maximum=1000)
    maximum_connections: int = setting(
        100,
        "TCP connections open at once; one more is closed before it costs a thread",
        minimum=1,
        maximum=2000,
    )
    maximum_connections_per_host: int = setting(
        50, "TCP connections of one address open at once", minimum=1, maximum=2000
    )
    maximum_object_mib: int = setting(
        4096, "largest data set of one C-STORE; its sender is aborted", unit="MiB", minimum=1
    )
    maximum_request_mib: int = setting(
        16,
        "largest data set of any other request, such as storage commitment",
        unit="MiB",
        minimum=1,
        maximum=1024,
    )
    maximum_association_mib: int = setting(
        1048576, "most bytes that one association may send", unit="MiB", minimum=1
    )
    object_seconds: float = setting(
        1800.0, "longest time for the bytes of one message", unit="s", minimum=1, maximum=86400
    )
    association_timeout: float = setting(
        30.0, "wait for an association request after connecting", unit="s", minimum=1, maximum=600
    )
    dimse_timeout: float = setting(
        30.0,
        "longest time for one PDU, and between two of a message that has begun",
        unit="s",
        minimum=1,
        maximum=600,
    )
    network_timeout: float = setting(
        60.0, "silence after which an association is aborted", unit="s", minimum=1, maximum=3600
    )
    quiet_seconds: float = setting(
        30.0,
        "silence after which a study counts as complete; a node may have its own",
        unit="s",
        minimum=0,
        maximum=86400,
    )
    patience_seconds: float = setting(
        600.0,
        "silence after which a study counts as complete though its sender is still connected",
        unit="s",
        minimum=1,
        maximum=86400,
    )
    association_lease: float = setting(
        30.0,
        "time after which the open associations of a listener that died count as ended",
        unit="s",
        minimum=1,
        maximum=600,
    )
    resolve_seconds: float = setting(
        2.0, "wait for the addresses of a node's host name", unit="s", minimum=0.1, maximum=60
    )
    resolve_again_seconds: float = setting(
        60.0, "how long the addresses of a host name are used", unit="s", minimum=1, maximum=86400
    )
    stop_seconds: float = setting(
        12.0, "wait at SIGTERM for open associations to end", unit="s", minimum=0, maximum=600
    )
    queue_high: int = setting(
        0,
        "jobs waiting at which associations that would store are rejected for now; 0 for never",
        minimum=0,
    )
    queue_low: int = setting(
        0, "jobs waiting at which, after that, associations are accepted again", minimum=0
    )
    accept_deflated: bool = setting(
        False, "accept Deflated Explicit VR Little Endian, whose expansion has no bound"
    )
    private_sop_classes: tuple[str, ...] = setting(
        (), "private storage SOP class UIDs to accept besides the standard ones"
    )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS to and from nodes: our certificate, and whose certificates we trust."""

    certificate: str = setting(
        "",
        "PEM file of our certificate, then those of its intermediate CAs; presented both as server "
        "and as client",
    )
    key: str = setting("", "PEM file of its private key, without a passphrase, mode 0600")
    ca: str = setting("", "PEM file of the CA certificates that nodes' certificates must lead to")
    require_certificate: bool = setting(
        True, "refuse callers by TLS that present no certificate; one presented is always judged"
    )
    minimum_version: str = setting(
        "1.2", "lowest version of TLS that is negotiated", choices=("1.2", "1.3")
    )
    handshake_seconds: float = setting(
        10.0, "longest time for a TLS handshake, in and out", unit="s", minimum=0.1, maximum=600
    )
    warn_days: int = setting(
        30, "days before a certificate of ours or of a CA expires that warnings begin", minimum=0
    )

    @property
    def configured(self) -> bool:
        """Whether any file is named."""
        return bool(self.certificate or self.key or self.ca)
