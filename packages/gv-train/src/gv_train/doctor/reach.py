"""Registries that are configured, and which kinds of credentials there are; never their values."""

import configparser
import http.client
import os
import re
import socket
import ssl
import stat
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gv_train.doctor.finding import Finding, Place
from gv_train.redaction import redact

LIMIT_S = 5.0
PYPI = "https://pypi.org/simple/"
WEIGHTS = "https://huggingface.co/"
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
MORE_INDEXES = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL")
STORES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
S3_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "key in the environment",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "web identity",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "role of the container",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "role of the container",
}

_NAMED = re.compile(r"^[\w.-]+=(?=\w+://)")
"""uv lets an index have a name before its address."""


def network(here: Place) -> list[Finding]:
    """Whether the registries that are configured answer; each is asked for headers only."""
    if here.env.get("GEOVISION_OFFLINE"):
        return [Finding("note", "network", "not asked: GEOVISION_OFFLINE is set")]
    return [_reached(name, url) for name, url in addresses(here).items()]


def addresses(here: Place) -> dict[str, str]:
    """Addresses by what they are for.

    Args:
        here: Variables, and the home for the settings of uv.
    """
    env = here.env
    default = next((env[name] for name in INDEXES if env.get(name)), "")
    others = [word for name in MORE_INDEXES for word in env.get(name, "").split()]
    for index in _settings(here):
        if index.get("default") and not default:
            default = index["url"]
        elif not index.get("default"):
            others.append(index["url"])
    named = {"packages": default or PYPI}
    for n, url in enumerate(others, 1):
        named[f"packages {n + 1}"] = _NAMED.sub("", url)
    named["weights"] = env.get("HF_ENDPOINT") or WEIGHTS
    if store := next((env[name] for name in STORES if env.get(name)), ""):
        named["object store"] = store
    return named


def s3_credentials(here: Place) -> list[Finding]:
    """Which kinds of credentials for object storage there are."""
    kinds = [kind for name, kind in S3_VARIABLES.items() if here.env.get(name)]
    if here.env.get("AWS_ACCESS_KEY_ID") and not here.env.get("AWS_SECRET_ACCESS_KEY"):
        fix = "export AWS_SECRET_ACCESS_KEY, or unset AWS_ACCESS_KEY_ID"
        return [Finding("warning", "S3", "a key in the environment without its secret", fix)]
    profiles = _profiles(here, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")
    settings = _profiles(here, "AWS_CONFIG_FILE", ".aws/config")
    profile = here.env.get("AWS_PROFILE")
    if profile and not {profile, f"profile {profile}"} & {*profiles, *settings}:
        fix = "unset AWS_PROFILE, or aws configure --profile with its name"
        return [Finding("warning", "S3", "AWS_PROFILE names a profile that is not there", fix)]
    if profiles:
        kinds.append(f"{len(profiles)} profiles in a file")
    if any("sso_session" in about or "sso_start_url" in about for about in settings.values()):
        kinds.append("single sign-on")
    if not kinds:
        text = "no credentials found; public buckets need none, machines of a cloud have a role"
        return [Finding("note", "S3", text)]
    return [Finding("ok", "S3", ", ".join(dict.fromkeys(kinds)))]


def ssh_credentials(here: Place) -> list[Finding]:
    """Which kinds of SSH keys there are, and whether others can read them."""
    folder = here.home / ".ssh"
    kinds: list[str] = []
    agent = here.env.get("SSH_AUTH_SOCK")
    if agent and Path(agent).exists():
        kinds.append("an agent")
    for key in sorted(folder.glob("id_*")):
        if key.suffix == ".pub" or not key.is_file():
            continue
        kinds.append(f"a key of kind {key.name.removeprefix('id_')}")
        if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            text = f"~/.ssh/{key.name} can be read by others: ssh refuses it"
            return [Finding("warning", "SSH", text, f"chmod 600 ~/.ssh/{key.name}")]
    if (folder / "config").is_file():
        hosts = re.findall(r"^\s*Host\s", _text(folder / "config"), re.MULTILINE | re.IGNORECASE)
        kinds.append(f"{len(hosts)} hosts in ~/.ssh/config")
    if not kinds:
        return [Finding("note", "SSH", "neither keys nor an agent", "ssh-keygen -t ed25519")]
    return [Finding("ok", "SSH", ", ".join(kinds))]


def _reached(name: str, url: str) -> Finding:
    """Ask a server for headers; any answer means that it is reached."""
    shown = redact(url)
    started = time.monotonic()
    try:
        whole = urllib.parse.urlsplit(url)
        # Reaching takes no login, and urllib would quote the password of one in its errors.
        bare = whole._replace(netloc=whole.netloc.rpartition("@")[2]).geturl()
        request = urllib.request.Request(bare, method="HEAD", headers={"User-Agent": "gv-train"})
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Finding("warning", name, f"{shown} is not reached: {reason}", _way_out(reason))
    took_ms = 1000 * (time.monotonic() - started)
    if status == 407:
        fix = "export HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT"
        return Finding("warning", name, f"{shown}: the proxy wants a login", fix)
    return Finding("ok", name, f"{shown} answers within {took_ms:.0f} ms")


def _way_out(reason: object) -> str:
    """What to do about a server that is not reached."""
    match reason:
        case ssl.SSLError():
            return "export SSL_CERT_FILE=/the/certificates/of/your/network.pem"
        case socket.gaierror():
            return "is there a network, and does the name stand in it? else --offline"
        case _:
            return "a firewall or proxy: export HTTPS_PROXY=http://PROXY:PORT; else --offline"


def _settings(here: Place) -> Iterator[dict[str, str]]:
    """The indexes in uv's settings, those of the working folder first."""
    files = [folder / "pyproject.toml" for folder in (Path.cwd(), *Path.cwd().parents)]
    home = Path(here.env.get("XDG_CONFIG_HOME") or here.home / ".config")
    for file in (*files, home / "uv" / "uv.toml"):
        if not file.is_file():
            continue
        try:
            told = tomllib.loads(_text(file))
        except tomllib.TOMLDecodeError:
            continue  # uv says what is wrong with it
        uv = told if file.name == "uv.toml" else told.get("tool", {}).get("uv", {})
        yield from (index for index in uv.get("index", []) if "url" in index)


def _profiles(here: Place, variable: str, name: str) -> dict[str, set[str]]:
    """Sections of a file of settings with the names of what they set, no values."""
    file = Path(here.env.get(variable) or here.home / name)
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(_text(file))
    except configparser.Error:
        return {}
    return {section: set(parser.options(section)) for section in parser.sections()}


def _text(file: Path) -> str:
    """A text file; empty if it is not there or not readable."""
    if not os.access(file, os.R_OK):
        return ""
    return file.read_text(encoding="utf-8", errors="replace")
