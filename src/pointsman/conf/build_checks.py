"""Checkers of a real server as model types; values are inherited virtual_server -> real_server -> checker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from pointsman.conf.build_groups import Groups
from pointsman.conf.build_tracking import command
from pointsman.conf.problems import Findings
from pointsman.conf.settings import Setting, Settings, inherited, read_block
from pointsman.model.bfd import BfdSession
from pointsman.model.checks import (
    BfdCheck,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpCheck,
    HttpVersion,
    MiscCheck,
    Pattern,
    PingCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
    Url,
)
from pointsman.model.health import AnyCheck
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.tracking import Command, TrackFile

T = TypeVar("T")


class Named(NamedTuple):
    """What virtual servers refer to by name."""

    files: Mapping[str, TrackFile]
    sessions: Mapping[str, BfdSession]
    groups: Groups
    marks: Iterator[int] | None = None
    """Firewall marks for groups that are one service each (nftables_ipvs)."""


class Surroundings(NamedTuple):
    """What a checker needs to know of the real server it belongs to."""

    virtual: ServiceKey
    key: ServerKey
    weight: int
    member: Settings
    service: Settings
    globals: Settings
    named: Named


def checks(place: Surroundings, findings: Findings) -> list[tuple[AnyCheck, bool | None]]:
    """The checks of a real server, each with its own `alpha` if it has one, by keyword and in their order."""
    found: list[tuple[AnyCheck, bool | None]] = []
    for setting in place.member.all("TCP_CHECK"):
        own = read_block(setting.block, "TCP_CHECK", findings)
        common = _timing(own, place, retry=_old_retry(own, findings))
        found.append((TcpCheck(**_connection(setting, own, place, findings), **common), _alpha(own)))
    for word in ("HTTP_GET", "SSL_GET"):
        for setting in place.member.all(word):
            own = read_block(setting.block, word, findings)
            found.append((_http_check(setting, own, place, findings), _alpha(own)))
    for word, build in _BUILDERS.items():
        for setting in place.member.all(word):
            own = read_block(setting.block, word, findings)
            found.append((build(setting, own, place, findings), _alpha(own)))
    for setting in place.member.all("SMTP_CHECK"):
        own = read_block(setting.block, "SMTP_CHECK", findings)
        found += [(check, _alpha(own)) for check in _smtp_checks(setting, own, place, findings)]
    return found


def _alpha(own: Settings) -> bool | None:
    return own.get("alpha", bool)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _timing(
    own: Settings, place: Surroundings, *, retry: int = 1, before_retry: float | None = 1.0
) -> dict[str, Any]:
    """The fields that every check has; `retry` and `before_retry` (None: delay_loop) when nobody says."""
    blocks = (own, place.member, place.service)
    delay_loop = _or(inherited("delay_loop", float, *blocks), 60.0)
    return {
        "delay_loop": delay_loop,
        "delay_before_retry": _or(
            inherited("delay_before_retry", float, *blocks), _or(before_retry, delay_loop)
        ),
        "retry": _or(_retry(*blocks), retry),
        "rise": _or(inherited("rise", int, *blocks), 1),
        "warmup": _or(inherited("warmup", float, *blocks), delay_loop),
        "log_all_failures": _or(
            inherited("log_all_failures", bool, own, place.member),
            place.globals.get("checker_log_all_failures", bool) or False,
        ),
    }


def _retry(*blocks: Settings) -> int | None:
    """Repetitions, as the innermost block says; `fall` counts the first attempt, too, and wins over retry."""
    for block in blocks:
        fall = block.get("fall", int)
        if fall is not None:
            return fall - 1
        if block.has("retry"):
            return block.get("retry", int)
    return None


def _connection(
    setting: Setting, own: Settings, place: Surroundings, findings: Findings, *, port: bool = True
) -> dict[str, Any]:
    """The fields of a check that connects; `port`: whether it needs one."""
    blocks = (own, place.member, place.service)
    address, written = own.address("connect_ip"), own.get("connect_port", int)
    if port and written is None and not place.key.port:
        keyword = setting.node.keyword
        text = "the service has no port, so the check needs one"
        findings.error(keyword.location, text, "add connect_port", keyword.width)
    return {
        "connect_address": _or(address, place.key.address),
        "connect_port": _or(written, place.key.port),
        "bind_address": own.address("bindto"),
        "bind_port": own.get("bind_port", int) or 0,
        "bind_interface": own.get("bind_if", str) or "",
        "fwmark": own.get("fwmark", int) or 0,
        "connect_timeout": _or(inherited("connect_timeout", float, *blocks), 5.0),
        "location": setting.location,
    }


def _old_retry(own: Settings, findings: Findings) -> int:
    """What nb_get_retry says in a TCP_CHECK, which is nothing to keepalived; a retry beside it wins."""
    old = own.last("nb_get_retry")
    if old is None:
        return 1
    findings.warning(
        old.location,
        "keepalived 2.x does not know nb_get_retry in TCP_CHECK and ignores it; here it counts as retry",
        "write retry",
        len("nb_get_retry"),
    )
    if not own.has("retry"):
        own.add("retry", old)
    return cast(int, old.value)


def _http_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> HttpCheck:
    keyword = setting.node.keyword
    outer = [block.get("virtualhost", str) for block in (own, place.member, place.service)]
    host = next((each for each in outer if each), "")
    urls = tuple(_url(each, host, findings) for each in own.all("url"))
    if not urls:
        text = f"{keyword.text} without a url checks nothing"
        findings.error(keyword.location, text, "add url { path / }", keyword.width)
    return HttpCheck(
        urls=urls or (Url(),),
        version=HttpVersion(own.get("http_protocol", str) or "1.0"),
        tls=own.block == "SSL_GET",
        server_name=own.get("sni_name", str) or "",
        sni_from_host=own.get("enable_sni", bool) or False,
        verify=own.get("tls_verify", bool) or False,
        authority=own.get("tls_ca", str) or "",
        fast_recovery=own.get("fast_recovery", bool) or False,
        **_connection(setting, own, place, findings),
        **_timing(own, place, before_retry=3.0),
    )


def _url(setting: Setting, host: str, findings: Findings) -> Url:
    block = read_block(setting.block, "url", findings)
    path = block.get("path", str) or "/"
    if not path.startswith("/") or any(sign <= " " or sign == "\x7f" for sign in path):
        word = cast(Setting, block.last("path")).node.values[0]
        text = f"path {path} is no path of a URL"
        findings.error(word.location, text, "begin with /, without blanks", word.width)
    _header_value(block.last("virtualhost"), findings)
    codes = cast("tuple[tuple[int, int], ...] | None", block.get("status_code", tuple))
    return Url(
        path=path,
        virtualhost=block.get("virtualhost", str) or host,
        status=codes or ((200, 299),),
        digest=block.get("digest", str) or "",
        pattern=_pattern(block, findings),
    )


def _header_value(setting: Setting | None, findings: Findings) -> None:
    if setting is not None and any(sign < " " or sign == "\x7f" for sign in str(setting.value)):
        word = setting.node.values[0]
        findings.error(word.location, "a header cannot hold control characters", "remove them", word.width)


def _pattern(block: Settings, findings: Findings) -> Pattern | None:
    setting = block.last("regex")
    if setting is None:
        return None
    pattern = Pattern(
        text=str(setting.value),
        options=cast("tuple[str, ...]", block.get("regex_options", tuple) or ()),
        wanted=not (block.get("regex_no_match", bool) or False),
        min_offset=block.get("regex_min_offset", int) or 0,
        max_offset=block.get("regex_max_offset", int) or 0,
    )
    from pointsman.health.http import (
        compiled,
    )  # most configurations have no regex, which takes long to import

    try:
        compiled(pattern)
    except ValueError as error:
        word = setting.node.values[0]
        findings.error(word.location, f"regex {pattern.text}: {error}", width=word.width)
    return pattern


def _smtp_checks(
    setting: Setting, own: Settings, place: Surroundings, findings: Findings
) -> Iterator[SmtpCheck]:
    """One check, or one for each `host` block."""
    name = own.get("helo_name", str) or "smtpchecker.keepalived.org"
    _header_value(own.last("helo_name"), findings)
    hosts = [read_block(host.block, "host", findings) for host in own.all("host")]
    for host in hosts or [own]:
        connection = _connection(setting, host, place, findings)
        if not host.has("connect_timeout"):
            connection["connect_timeout"] = _or(
                inherited("connect_timeout", float, own, place.member, place.service), 5.0
            )
        yield SmtpCheck(helo_name=name, **connection, **_timing(own, place))


def _dns_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> DnsCheck:
    from pointsman.health import dns  # takes longer to import than all that is imported above

    name = own.get("name", str) or "."
    if not dns.valid_name(name):
        word = cast(Setting, own.last("name")).node.values[0]
        findings.error(word.location, f"name {name} is no domain name", width=word.width)
    return DnsCheck(
        name=name,
        record=own.get("type", str) or "SOA",
        **_connection(setting, own, place, findings),
        **_timing(own, place, retry=3, before_retry=None),
    )


def _udp_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> UdpCheck:
    payload = own.get("payload", tuple)
    reply, mask = own.get("require_reply", tuple) or (b"", b"")
    shortest = own.get("min_reply_length", int) or 0
    longest = _or(own.get("max_reply_length", int), 255)
    if shortest > longest:
        word = cast(Setting, own.last("min_reply_length")).node.keyword
        text = f"min_reply_length {shortest} is above max_reply_length {longest}: the check always fails"
        findings.error(word.location, text, "lower it, or raise the other", word.width)
    return UdpCheck(
        payload=None if payload is None else payload[0],
        require_reply=own.has("require_reply"),
        reply=reply,
        reply_mask=mask,
        min_reply_length=shortest,
        max_reply_length=longest,
        **_connection(setting, own, place, findings),
        **_timing(own, place),
    )


def _ping_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> PingCheck:
    return PingCheck(**_connection(setting, own, place, findings, port=False), **_timing(own, place))


def _misc_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> MiscCheck:
    path, user = own.last("misc_path"), cast("tuple[str, ...]", own.get("user", tuple) or ())
    if path is None:
        keyword = setting.node.keyword
        findings.error(
            keyword.location, "MISC_CHECK without misc_path checks nothing", "add misc_path", keyword.width
        )
    made = command(path, findings) or Command(("/",))
    timing = _timing(own, place, retry=0)
    return MiscCheck(
        command=owned(Command(made.words, *(user[:2] or (made.user, made.group))), place.globals),
        secure=place.globals.has("enable_script_security"),
        timeout=_or(own.get("misc_timeout", float), timing["delay_loop"]),
        dynamic=own.has("misc_dynamic"),
        weight=place.weight,
        location=setting.location,
        **timing,
    )


def owned(made: Command, globals_: Settings) -> Command:
    """The command with the user of all scripts (script_user) when it names none."""
    user = cast("tuple[str, ...]", globals_.get("script_user", tuple) or ())
    return made if made.user or not user else Command(made.words, *user[:2])


_FILE_SPACING = 0.2
"""Seconds between two looks at a file."""


def _file_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> FileCheck:
    keyword, written = setting.node.keyword, own.last("track_file")
    if written is None:
        findings.error(
            keyword.location, "FILE_CHECK without track_file checks nothing", "add track_file", keyword.width
        )
    file = place.named.files.get(str(written.value)) if written else None
    if written is not None and file is None:
        word = written.node.values[0]
        findings.error(word.location, f"there is no track_file {word.text}", "define it", word.width)
    file = file or TrackFile(name="", path="")
    weight, reverse = _file_weight(own, file, findings)
    return FileCheck(
        file=msgspec.structs.replace(file, location=None),
        weight=weight,
        reverse=reverse,
        delay_loop=_FILE_SPACING,
        retry=0,
        warmup=0.0,
        location=setting.location,
    )


def _file_weight(own: Settings, file: TrackFile, findings: Findings) -> tuple[int, bool]:
    """What the number is multiplied by, and whether with the other sign."""
    setting = own.last("weight")
    if setting is None:
        return file.weight, file.reverse
    number, *more = cast("tuple[str, ...]", setting.value) or ("",)
    if (
        not re.fullmatch(r"[+-]?[0-9]{1,10}", number)
        or abs(int(number)) >= 2**31
        or more[:1]
        not in (
            [],
            ["reverse"],
            ["noreverse"],
        )
    ):
        text = "weight wants a number from -2147483647 to 2147483647, and perhaps reverse"
        findings.error(setting.location, text, width=len("weight"))
        return file.weight, file.reverse
    return int(number), more[:1] == ["reverse"] if more else file.reverse


def _bfd_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> BfdCheck:
    keyword, written = setting.node.keyword, own.last("name")
    session = place.named.sessions.get(str(written.value)) if written else None
    if written is None:
        text = "BFD_CHECK without name checks nothing"
        findings.error(keyword.location, text, "add name BFD_INSTANCE", keyword.width)
    elif session is None or not session.for_checker:
        word = written.node.values[0]
        why = "hears of VRRP alone (vrrp)" if session else "is not there"
        findings.error(word.location, f"bfd_instance {word.text} {why}", "", word.width)
    return BfdCheck(
        session=str(written.value) if written else "",
        delay_loop=0.0,
        retry=0,
        warmup=0.0,
        location=setting.location,
    )


def _direct_check(setting: Setting, own: Settings, place: Surroundings, findings: Findings) -> DirectCheck:
    virtual = place.virtual
    if virtual.transport is not Transport.TCP or virtual.address is None or virtual.address.version != 4:
        keyword = setting.node.keyword
        text = "DR_CHECK shakes hands over TCP with an IPv4 address, and this service has none"
        findings.error(keyword.location, text, "use another checker", keyword.width)
    return DirectCheck(
        virtual_address=virtual.address or place.key.address,
        **_connection(setting, own, place, findings),
        **_timing(own, place),
    )


_Builder = Callable[[Setting, Settings, Surroundings, Findings], AnyCheck]
_BUILDERS: dict[str, _Builder] = {
    "DNS_CHECK": _dns_check,
    "UDP_CHECK": _udp_check,
    "PING_CHECK": _ping_check,
    "MISC_CHECK": _misc_check,
    "DR_CHECK": _direct_check,
    "FILE_CHECK": _file_check,
    "BFD_CHECK": _bfd_check,
}
