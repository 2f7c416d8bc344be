"""Settings of the web role: DICOMweb, and the pages for the people who run the site."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The pages, and DICOMweb: STOW-RS in, QIDO-RS and WADO-RS; needs the extra `web`."""

    port: int = setting(
        8080,
        "TCP port; `gatekeeper up` serves it where the extra `web` is installed; 0 opens none",
        minimum=0,
        maximum=65535,
    )
    host: str = setting("127.0.0.1", "address to bind")
    plain: bool = setting(
        False,
        "serve http on an address that others reach, or though tls.certificate is set: for a proxy "
        "that does TLS; by default https with tls.certificate, http on a loopback address alone",
    )
    require_certificate: bool = setting(
        False, "by https, refuse callers without a certificate of a CA of tls.ca"
    )
    serves: str = setting(
        "held",
        "studies that may be queried and retrieved: those held for a person, or all",
        choices=("held", "all"),
    )
    maximum_connections: int = setting(100, "TCP connections open at once", minimum=1, maximum=2000)
    maximum_connections_per_host: int = setting(
        50, "TCP connections of one address open at once", minimum=1, maximum=2000
    )
    uploads: int = setting(
        8, "STOW-RS requests taken in at once; one more is answered 503", minimum=1, maximum=100
    )
    maximum_header_kib: int = setting(
        16, "largest request line with headers", unit="KiB", minimum=4, maximum=256
    )
    maximum_object_mib: int = setting(
        4096, "largest data set of one part of a STOW-RS request", unit="MiB", minimum=1
    )
    maximum_request_mib: int = setting(
        16384, "largest body of a STOW-RS request", unit="MiB", minimum=1
    )
    maximum_form_mib: int = setting(
        64, "largest body of a form of the pages, a file within included", unit="MiB", minimum=1
    )
    maximum_parts: int = setting(
        10000, "most parts of a STOW-RS request", minimum=1, maximum=1000000
    )
    maximum_calls: int = setting(
        4, "tests of nodes that the pages run at once", minimum=1, maximum=32
    )
    header_seconds: float = setting(
        20.0,
        "time for a request's line and headers, a TLS handshake included, and between two requests",
        unit="s",
        minimum=0.1,
        maximum=600,
    )
    silence_seconds: float = setting(
        30.0,
        "longest silence of a peer that sends or takes a body",
        unit="s",
        minimum=0.1,
        maximum=600,
    )
    request_seconds: float = setting(
        1800.0, "longest time for one request", unit="s", minimum=1, maximum=86400
    )
    retry_after_seconds: int = setting(
        30, "when a caller that is answered 503 is asked to come again", unit="s", minimum=1
    )
    failures: int = setting(
        10, "failed tokens of one address, after which it is answered 429 for a while", minimum=1
    )
    failure_seconds: float = setting(
        300.0, "how long failed tokens count", unit="s", minimum=1, maximum=86400
    )
    maximum_results: int = setting(
        1000, "most matches in one answer to a query", minimum=1, maximum=100000
    )
    maximum_read: int = setting(
        5000, "most files whose headers one query reads", minimum=1, maximum=1000000
    )
    maximum_metadata_mib: int = setting(
        8, "bytes of a file in which its header must end to be shown", unit="MiB", minimum=1
    )
    stop_seconds: float = setting(
        12.0, "wait at SIGTERM for requests under way", unit="s", minimum=0, maximum=600
    )


@dataclass(frozen=True, slots=True)
class ViewingSettings:
    """Images of studies on the pages: drawn by a limited child when first looked at; needs the
    extra `worker` where the web role runs."""

    memory_mib: int = setting(
        2048, "memory of the child process that draws", unit="MiB", minimum=512
    )
    cpu_seconds: float = setting(
        120.0, "processor time for drawing one series", unit="s", minimum=1, maximum=3600
    )
    wall_seconds: float = setting(
        180.0, "elapsed time for drawing one series", unit="s", minimum=1, maximum=3600
    )
    maximum_slices: int = setting(
        2000, "slices of one series that are drawn; the rest is not", minimum=1, maximum=20000
    )
    maximum_voxels: int = setting(
        600_000_000, "voxels in one series; a larger one is not drawn", minimum=1_000_000
    )
    waiting: int = setting(
        16, "series that may wait to be drawn; who asks for one more asks again", minimum=1
    )
    cache: str = setting(
        "", "folder of drawn pictures, which are patient data; empty for `viewing` in the spool"
    )
    cache_mib: int = setting(
        2048,
        "room for drawn pictures; those not looked at for longest go first",
        unit="MiB",
        minimum=1,
    )
    cache_hours: float = setting(
        24.0, "after which pictures that nobody looked at go", unit="h", minimum=0.1, maximum=8760
    )


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """People who sign in to the pages."""

    idle_minutes: float = setting(
        60.0,
        "time without a request after which somebody must sign in again",
        unit="min",
        minimum=1,
        maximum=1440,
    )
    session_hours: float = setting(
        12.0, "time after which everybody must sign in again", unit="h", minimum=0.1, maximum=168
    )
    password_characters: int = setting(
        12, "shortest password that may be chosen", minimum=8, maximum=64
    )
    failures: int = setting(
        10,
        "failed attempts of one address, or for one name, after which more are refused for a while",
        minimum=1,
    )
    failure_seconds: float = setting(
        300.0, "how long failed attempts count", unit="s", minimum=1, maximum=86400
    )
    oidc_issuer: str = setting(
        "", "URL of an OpenID Connect provider that people may sign in at; empty for none"
    )
    oidc_title: str = setting("the hospital's account", "what its button says after `Sign in with`")
    oidc_client_id: str = setting("", "as the provider knows us")
    oidc_client_secret: str = setting("", "of a confidential client; empty for a public one")
    oidc_callback: str = setting(
        "",
        "URL of ours that the provider knows, ending in /sign-in/callback; empty for the address "
        "that the browser calls",
    )
    oidc_scopes: tuple[str, ...] = setting(("profile",), "scopes that are asked for beside openid")
    oidc_name_claim: str = setting(
        "preferred_username", "claim of the ID token that names the account"
    )
    oidc_roles_claim: str = setting(
        "",
        "claim of the ID token with what somebody is there, as groups or realm_access.roles; empty "
        "for viewers, whose roles are changed here",
    )
    oidc_roles: tuple[str, ...] = setting(
        (), "role of each value of that claim, as pacs-admins=administrator; others count for none"
    )
    oidc_seconds: float = setting(
        10.0, "wait for the provider to answer", unit="s", minimum=0.5, maximum=60
    )
    oidc_skew_seconds: float = setting(
        60.0, "how far its clock and ours may differ", unit="s", minimum=0, maximum=600
    )
    oidc_ca: str = setting(
        "", "PEM file of the authority of its certificate; empty for those of the machine"
    )
