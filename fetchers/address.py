"""Which addresses may be asked: those whose answers nobody on the way can change."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from schema.errors import ConfigurationError


def safe_address(source: str, address: str) -> str:
    """Give a source's address back when it is https, or plain http to this machine.

    Raises:
        ConfigurationError: It is neither, or no address at all.
    """
    try:
        parts = urlsplit(address)
        scheme, host, _ = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme = host = ""
    if host and (scheme == "https" or (scheme == "http" and is_loopback(host))):
        return address
    msg = (
        f"the address of {source} is {address!r}; https is needed, plain http only to this "
        "machine (127.0.0.1, ::1, localhost)"
    )
    raise ConfigurationError(msg, source=source)


def is_loopback(host: str) -> bool:
    """Say whether a host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
