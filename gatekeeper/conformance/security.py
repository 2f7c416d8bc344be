"""Security and character sets: chapters 7 and 8."""

from __future__ import annotations

from gatekeeper.conformance.document import Code, Section, Steps, Table
from gatekeeper.conformance.overview import LISTENER, WEB
from gatekeeper.conformance.site import Site
from gatekeeper.tls import CIPHER_SUITES


def security(site: Site) -> Section:
    """Return the chapter on security."""
    listen, tls = site.settings.listen, site.settings.tls
    secured = [node.ae_title for node in site.nodes if node.needs_tls]
    versions = {"1.2": "1.2 and 1.3", "1.3": "1.3"}[tls.minimum_version]
    here = f"open here on port {listen.tls_port}" if listen.tls_port else "not open here"
    return Section(
        "Security",
        parts=(
            Section(
                "Secure transport",
                (
                    (
                        "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 "
                        f"B.12), as acceptor and as initiator. DICOM over TLS is {here}; nodes "
                        f"that call and are called by TLS alone: {', '.join(secured) or 'none'}. "
                        "Nothing falls back to plain text."
                    ),
                    Table(
                        "TLS",
                        ("Item", "Value"),
                        (
                            ("Versions", f"TLS {versions}"),
                            (
                                "Cipher suites of TLS 1.2",
                                Code(", ".join(CIPHER_SUITES))
                                if tls.minimum_version == "1.2"
                                else "none",
                            ),
                            ("Cipher suites of TLS 1.3", "those of the TLS library, all AEAD"),
                            ("Compression, renegotiation, session tickets", "none"),
                            (
                                "Certificates of callers",
                                "required, of a trusted CA"
                                if tls.require_certificate
                                else "judged where presented, not required",
                            ),
                            (
                                "Identity of a caller",
                                "the certificate entered for the node, or one that names its host",
                            ),
                            (
                                "Identity of a called node",
                                (
                                    "the certificate entered for it, or one of a trusted CA that "
                                    "names its host"
                                ),
                            ),
                            ("Revocation lists", "not read"),
                        ),
                    ),
                    (
                        "Earlier profiles of PS3.15 (Basic TLS, AES TLS, those with 3DES or NULL) "
                        "are not offered."
                    ),
                ),
            ),
            Section(
                "Access control",
                (
                    Steps(
                        (
                            (
                                f"{LISTENER}: an association is accepted only from a node that an "
                                "administrator has entered, by called AE title, calling AE title, "
                                "address and, by TLS, certificate. What it may send can be "
                                "limited by SOP class."
                            ),
                            (
                                f"{WEB}: bearer tokens (RFC 6750), each with a scope and, for "
                                "store, bound to a node. Addresses that fail too often are "
                                "answered 429."
                            ),
                            "User identity negotiation (PS3.7 D.3.3.7) is not used.",
                        )
                    ),
                ),
            ),
            Section(
                "Other security profiles",
                (
                    (
                        "Attribute confidentiality (PS3.15 E) is not applied: results carry the "
                        "identity of their study. Digital signatures are neither made nor "
                        "verified. Logs and this statement hold no patient data."
                    ),
                ),
            ),
        ),
    )


def character_sets(site: Site) -> Section:
    """Return the chapter on character sets and languages."""
    languages = sorted({node.language for node in site.nodes if node.receives_results})
    return Section(
        "Support of character sets",
        (
            (
                "Received objects are kept and forwarded with the character set that they came "
                "with, whatever it is: no text in them is read to be stored."
            ),
            Table(
                "Character sets of objects created here",
                ("Case", "Specific Character Set (0008,0005)"),
                (
                    (
                        "all text can be written in the source's character set",
                        "the source's, with or without code extensions",
                    ),
                    ("some text needs more, or the source's is unknown", Code("ISO_IR 192")),
                    ("the source states none", "absent; text of our own is then in ASCII letters"),
                ),
            ),
            (
                f"Languages of the results that nodes take here: {', '.join(languages) or 'none'} "
                "(RFC 5646)."
            ),
            (
                "Queries for priors state the character set of the study where its Patient ID is "
                "not ASCII. Search results (QIDO-RS) are in UTF-8."
            ),
        ),
    )
