# SPDX-License-Identifier: Apache-2.0
"""Every honoured word is read by something: a configuration with it means something else than one without.

Words with a value that stands alone are tried in tests/property/test_conf_words.py; here are all others:
those with command lines, endpoints, lists and blocks, and those of blocks that are in other blocks.
"""

from __future__ import annotations

import pytest
from tests.support.keyword_values import MEANT, SILENT
from tests.support.plain_config import plain

from pointsman.conf.keywords.keyword import Status
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.load import load
from pointsman.conf.text.source import TextReader

FRAME = """
global_defs {
    <global_defs>
}
bfd_instance peer {
    neighbor_ip 10.0.0.8
    <bfd_instance>
}
vrrp_script alive {
    script /bin/true
    <vrrp_script>
}
track_file load {
    file /run/load
    <track_file>
}
vrrp_track_process web {
    process nginx
    <vrrp_track_process>
}
vrrp_sync_group G {
    group {
        A
    }
    <vrrp_sync_group>
}
vrrp_instance A {
    interface eth0
    virtual_router_id 5
    virtual_ipaddress {
        10.0.0.251/24
    }
    <vrrp_instance>
}
virtual_server_group many {
    10.0.0.251 80
}
virtual_server 10.0.0.251 80 {
    lvs_method DR
    protocol TCP
    <virtual_server>
    real_server 10.0.0.252 80 {
        <real_server>
    }
}
<>
"""

UNICAST = "unicast_src_ip 10.0.0.2\nunicast_peer {\n10.0.0.3\n}\n"
STATIC = "static_ipaddress {\n10.5.0.1/24 dev eth0%s\n}\n"
GROUPS = "vrrp_instance B {\ninterface eth1\nvirtual_router_id 6\n}\n"
KEYS: dict[str, str | bytes] = {f"/etc/{name}.key": f"{name}-0123456789abcdef" for name in ("sync", "other")}
SYNCED = "connection_sync {\npeer 10.0.0.3\nkey_file /etc/sync.key\n%s\n}"
HMAC = f"{UNICAST}auth_hmac {{\nkey 1 {'k' * 32}\n%s\n}}"
SMTP = "SMTP_CHECK {\nhost {\nconnect_ip 10.0.0.7\n%s\n}\n}"
SERVED = (
    "virtual_server 10.0.0.1 81 {{\nlvs_method DR\nprotocol TCP\nreal_server 10.0.0.9 81 {{\n%s\n}}\n}}\n"
)
FILED = SERVED % "FILE_CHECK {{\ntrack_file {}\n}}"
HEARD = SERVED % "BFD_CHECK {{\nname {}\n}}"
WEB = ("HTTP_GET", "SSL_GET", "DR_CHECK")
PAGES = "%s {\nurl {\npath %s\n}\n}"
SECURED = SERVED.format() % "SSL_GET {\nurl {\n}\ntls_verify\n}"
SHOWN = "SSL {\ncertificate /c\n%s\n}"
MARKED = "virtual_server group many {\nlvs_method DR\nprotocol UDP\nreal_server 10.0.0.9 80 {\n}\n}\n"

PACED = "garp_group {\ninterface eth0\n%s\n}\n"
VMAC = (
    "vrrp_instance B {\ninterface eth1\nvirtual_router_id 6\nuse_vmac\n"
    "virtual_ipaddress {\n10.0.0.7/24\n}\n}\n"
)
VMAC_ADDRESS = VMAC.replace("10.0.0.7/24", "10.0.0.7/24 dev eth7 use_vmac").replace("\nuse_vmac\n", "\n")
IPV6 = VMAC.replace("10.0.0.7/24", "fe80::7/64").replace("use_vmac", "version 3")
FIFO = '{0} /run/f\n{0}_script "/bin/sh x"'

Case = tuple[str, str, str]
"""Place, text, and the text in its stead."""


def block(where: str, *words: str) -> dict[str, Case]:
    """Words that stand in a block of the frame, each with its value."""
    return {f"{where}.{each.split()[0]}": (where, each, "") for each in words}


def inside(name: str, where: str, around: str, *words: str) -> dict[str, Case]:
    """Return the same for a block inside another block."""
    return {f"{name}.{each.split()[0]}": (where, around % each, around % "") for each in words}


def programs(where: str, words: str) -> dict[str, Case]:
    return block(where, *(f'{word} "/bin/echo {word}"' for word in words.split()))


GROUPED = (
    "vrrp_instance B {\ninterface eth1\nvirtual_router_id 6\ntrack_interface {\neth1 weight 5\n}\n}\n"
    "vrrp_sync_group H {\ngroup {\nB\n}\n"
)

CASES: dict[str, Case] = {
    **block(
        "",
        "global_defs {\nrouter_id x\n}",
        "vrrp_instance B {\ninterface eth1\nvirtual_router_id 6\n}",
        "virtual_server 10.0.0.1 53 {\nlvs_method DR\nprotocol UDP\nreal_server 10.0.0.9 53 {\n}\n}",
        STATIC % "",
        "static_routes {\n10.7.0.0/16 via 10.0.0.1 dev eth0\n}",
        "static_rules {\nfrom 10.7.0.0/16 table 5\n}",
        "vrrp_script s {\nscript /bin/false\n}",
        "track_file s {\nfile /run/s\n}",
        "vrrp_track_file s {\nfile /run/s\n}",
        "vrrp_track_process s {\nprocess s\n}",
        "bfd_instance s {\nneighbor_ip 10.0.0.7\n}",
    ),
    ".virtual_server_group": (
        "",
        MARKED.replace("many", "few") + "virtual_server_group few {\n10.0.0.1 57\n}",
        MARKED,
    ),
    ".vrrp_sync_group": ("", f"{GROUPS}vrrp_sync_group H {{\ngroup {{\nB\n}}\n}}", GROUPS),
    ".garp_group": ("", PACED % "", ""),
    "garp_group.interface": ("", PACED % "interface eth9", PACED % ""),
    "garp_group.interfaces": ("", PACED % "interfaces {\neth9\n}", PACED % ""),
    "garp_group.garp_interval": ("", PACED % "garp_interval 3", PACED % ""),
    "garp_group.gna_interval": ("", PACED % "gna_interval 3", PACED % ""),
    ".track_group": ("", STATIC % " track_group T" + "track_group T {\ngroup {\nA\n}\n}", STATIC % ""),
    "track_group.group": (
        "",
        f"{GROUPS}{STATIC % ' track_group T'}track_group T {{\ngroup {{\nA\n}}\n}}",
        f"{GROUPS}{STATIC % ' track_group T'}track_group T {{\ngroup {{\nB\n}}\n}}",
    ),
    **block(
        "global_defs",
        "notification_email {\na@b.c\n}",
        "smtp_server mail.example.org 26",
        "smtp_auth web secret",
        "vrrp_notify_fifo /run/fifo web",
        "lvs_notify_fifo /run/fifo web",
        "notify_fifo /run/fifo web",
        "vrrp_garp_extra_if all 5",
        "vrrp_vmac_garp_intvl all 5",
    ),
    "global_defs.dynamic_interfaces": ("global_defs", "dynamic_interfaces allow_if_changes", ""),
    "global_defs.script_user": ("global_defs", "script_user web", "script_user data"),
    **{
        f"global_defs.{word}_script": ("global_defs", FIFO.format(word), f"{word} /run/f")
        for word in ("notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo")
    },
    "global_defs.nftables_ipvs": ("", f"global_defs {{\nnftables_ipvs\n}}\n{MARKED}", MARKED),
    **block("global_defs", "lvs_timeouts tcp 7200 tcpfin 60"),
    "global_defs.nftables_ipvs_start_fwmark": (
        "",
        f"global_defs {{\nnftables_ipvs\nnftables_ipvs_start_fwmark 7\n}}\n{MARKED}",
        f"global_defs {{\nnftables_ipvs\n}}\n{MARKED}",
    ),
    "global_defs.default_interface": (
        "",
        f"global_defs {{\ndefault_interface eth7\n}}\n{STATIC % ''}".replace(" dev eth0", ""),
        (STATIC % "").replace(" dev eth0", ""),
    ),
    "global_defs.vmac_prefix": ("", f"global_defs {{\nvmac_prefix v\n}}\n{VMAC}", VMAC),
    "global_defs.vmac_addr_prefix": (
        "",
        f"global_defs {{\nvmac_addr_prefix v\n}}\n{VMAC_ADDRESS}",
        VMAC_ADDRESS,
    ),
    "vrrp_instance.use_vmac_addr": (
        "",
        VMAC_ADDRESS.replace("10.0.0.7/24 dev eth7 use_vmac", "10.0.0.7/24 dev eth7").replace(
            "virtual_ip", "use_vmac_addr\nvirtual_ip"
        ),
        VMAC_ADDRESS.replace("10.0.0.7/24 dev eth7 use_vmac", "10.0.0.7/24 dev eth7"),
    ),
    "global_defs.vrrp_mcast_group6": (
        "",
        f"global_defs {{\nvrrp_mcast_group6 ff02::99\n}}\n{IPV6}",
        IPV6,
    ),
    **block(
        "vrrp_instance",
        "virtual_ipaddress {\n10.0.0.7/24\n}",
        "authentication {\nauth_type PASS\nauth_pass secret\n}",
        "unicast_peer {\n10.0.0.3\n}",
        "virtual_ipaddress_excluded {\n10.0.0.7/24\n}",
        "virtual_routes {\n10.7.0.0/16 via 10.0.0.1 dev eth0\n}",
        "virtual_rules {\nfrom 10.7.0.0/16 table 5\n}",
        "track_script {\nalive\n}",
        "track_interface {\neth1\n}",
        "track_file {\nload weight 0\n}",
        "track_process {\nweb\n}",
        "track_bfd {\npeer\n}",
        "use_vmac",
        "use_ipvlan",
        "garp_extra_if all 5",
        "vmac_garp_intvl all 5",
    ),
    "vrrp_instance.old_unicast_checksum": ("vrrp_instance", f"{UNICAST}old_unicast_checksum", UNICAST),
    "vrrp_instance.auth_hmac": ("vrrp_instance", HMAC % "", UNICAST),
    **programs(
        "vrrp_instance",
        "notify notify_master notify_backup notify_fault notify_stop notify_deleted "
        "notify_master_rx_lower_pri",
    ),
    "authentication.auth_type": (
        "vrrp_instance",
        "authentication {\nauth_type AH\nauth_pass secret\n}",
        "authentication {\nauth_type PASS\nauth_pass secret\n}",
    ),
    "authentication.auth_pass": (
        "vrrp_instance",
        "authentication {\nauth_type PASS\nauth_pass secret\n}",
        "authentication {\nauth_type PASS\nauth_pass other\n}",
    ),
    "auth_hmac.key": ("vrrp_instance", HMAC % "", (HMAC % "").replace("kkk", "lll")),
    "auth_hmac.active_key": (
        "vrrp_instance",
        HMAC % f"key 2 {'l' * 32}\nactive_key 2",
        HMAC % f"key 2 {'l' * 32}\nactive_key 1",
    ),
    **inside(
        "auth_hmac", "vrrp_instance", HMAC, "anti_replay monotonic", "time_window 77", "mode receive-only"
    ),
    "vrrp_script.script": (
        "",
        'vrrp_script s {\nscript "/bin/true a"\n}',
        "vrrp_script s {\nscript /bin/true\n}",
    ),
    **block("vrrp_script", "weight 5", "user web"),
    **block("track_file", "weight 5", "init_file 7"),
    "vrrp_track_process.process": (
        "",
        "vrrp_track_process s {\nprocess a\n}",
        "vrrp_track_process s {\nprocess b\n}",
    ),
    **block("vrrp_track_process", "weight 5"),
    "vrrp_sync_group.group": (
        "",
        f"{GROUPS}vrrp_sync_group H {{\ngroup {{\nB\n}}\n}}",
        f"{GROUPS}vrrp_instance C {{\ninterface eth1\nvirtual_router_id 7\n}}\n"
        "vrrp_sync_group H {\ngroup {\nB\nC\n}\n}",
    ),
    **block(
        "vrrp_sync_group",
        "track_script {\nalive\n}",
        "track_interface {\neth1\n}",
        "track_file {\nload weight 0\n}",
        "track_process {\nweb\n}",
        "track_bfd {\npeer\n}",
        "smtp_alert",
    ),
    "global_defs.notification_email_from": ("global_defs", "notification_email_from a@b.example", ""),
    "vrrp_sync_group.sync_group_tracking_weight": (
        "",
        f"{GROUPED}sync_group_tracking_weight\n}}",
        f"{GROUPED}}}",
    ),
    **programs("vrrp_sync_group", "notify notify_master notify_backup notify_fault notify_stop"),
    **{
        f"bfd_instance.{word}": (
            "",
            f"bfd_instance s {{\n{word} 10.0.0.7\n}}",
            f"bfd_instance s {{\n{word} 10.0.0.6\n}}",
        )
        for word in ("neighbor_ip", "neighbour_ip")
    },
    **block(
        "bfd_instance",
        *("source_ip 10.0.0.2", "min_rx 77", "min_tx 77", "idle_tx 2000", "multiplier 7", "passive", "ttl 7"),
        *("hoplimit 7", "max_hops 7", "multihop", "weight 5", "vrrp", "checker"),
    ),
    **block(
        "virtual_server",
        "sorry_server 10.0.0.9 80",
        "real_server 10.0.0.9 80 {\n}",
        'quorum_up "/bin/echo up" web data',
        'quorum_down "/bin/echo down" web',
    ),
    **block(
        "real_server",
        'notify_up "/bin/echo up" web data',
        'notify_down "/bin/echo down" web',
        *(
            "TCP_CHECK {\n}",
            "PING_CHECK {\n}",
            "UDP_CHECK {\n}",
            "DNS_CHECK {\n}",
            "SMTP_CHECK {\n}",
            "DR_CHECK {\n}",
        ),
        *("HTTP_GET {\nurl {\n}\n}", "SSL_GET {\nurl {\n}\n}", "MISC_CHECK {\nmisc_path /bin/true\n}"),
        *("FILE_CHECK {\ntrack_file load\n}", "BFD_CHECK {\nname peer\n}"),
    ),
    **inside(
        "host",
        "real_server",
        SMTP,
        *("connect_ip 10.0.0.6", "connect_port 26", "bindto 10.0.0.2", "bind_port 99", "bind_if eth7"),
        *("fwmark 7", "connect_timeout 2"),
    ),
    "SMTP_CHECK.host": ("real_server", SMTP % "", "SMTP_CHECK {\n}"),
    **inside("UDP_CHECK", "real_server", "UDP_CHECK {\n%s\n}", "payload 01", "require_reply 01"),
    "MISC_CHECK.misc_path": (
        "real_server",
        'MISC_CHECK {\nmisc_path "/bin/true a"\n}',
        "MISC_CHECK {\nmisc_path /bin/true\n}",
    ),
    **inside("MISC_CHECK", "real_server", "MISC_CHECK {\nmisc_path /bin/true\n%s\n}", "user web data"),
    "FILE_CHECK.track_file": (
        "",
        "track_file other {\nfile /run/other\n}\n" + FILED.format("other"),
        "track_file other {\nfile /run/other\n}\n" + FILED.format("load"),
    ),
    **inside("FILE_CHECK", "real_server", "FILE_CHECK {\ntrack_file load\n%s\n}", "weight 5"),
    "BFD_CHECK.name": (
        "",
        "bfd_instance other {\nneighbor_ip 10.0.0.7\n}\n" + HEARD.format("other"),
        "bfd_instance other {\nneighbor_ip 10.0.0.7\n}\n" + HEARD.format("peer"),
    ),
    **inside("BFD_CHECK", "real_server", "BFD_CHECK {\nname peer\n%s\n}", "alpha"),
    **{f"{name}.url": ("real_server", PAGES % (name, "/b"), PAGES % (name, "/")) for name in WEB},
}

CASES |= {
    ".SSL": ("", SECURED + "SSL {\ncertificate /c\n}", SECURED),
    "SSL.certificate": ("", SECURED + "SSL {\ncertificate /d\n}", SECURED + SHOWN % ""),
    **{
        f"SSL.{each.split()[0]}": ("", SECURED + SHOWN % each, SECURED + SHOWN % "")
        for each in ("key /k", "password secret", "ca /a")
    },
}

CASES |= {
    ".connection_sync": ("", SYNCED % "", ""),
    "connection_sync.peer": ("", SYNCED % "peer 10.0.0.4", SYNCED % ""),
    "connection_sync.key_file": ("", SYNCED % "key_file /etc/other.key", SYNCED % ""),
    **inside("connection_sync", "", SYNCED, "port 9", "bind_address 10.0.0.2", "hand_over 3"),
    **inside("connection_sync", "", SYNCED, "group 239.0.0.1", "interface eth3", "ask_real_servers"),
}

NOTHING = {
    "global_defs.vrrp_strict",
    "vrrp_instance.strict_mode",
    "vrrp_instance.accept",
    "vrrp_instance.preempt",
    "virtual_server.ip_family",
}
"""Words that forbid, or say what is so anyway; SILENT tells why."""


def model(where: str, text: str) -> object:
    """Return the model of the frame with more text in it."""
    whole = FRAME.replace(f"<{where}>", text)
    for name in ("", *TABLE):
        whole = whole.replace(f"<{name}>", "")
    return plain(load(TextReader({"f": whole, **KEYS}), "f").config)


@pytest.mark.parametrize("name", CASES)
def test_a_word_means_something(name: str) -> None:
    where, text, instead = CASES[name]
    assert model(where, text) != model(where, instead)


def test_every_honoured_word_was_tried() -> None:
    honoured = {
        f"{row.block}.{row.name}"
        for rows in TABLE.values()
        for row in rows.values()
        if row.status is Status.HONOURED
    }
    tried = {f"{row.block}.{row.name}" for row in MEANT} | set(CASES) | NOTHING
    assert honoured - tried == set(), "add a case for each of them above"
    assert tried - honoured == set()
    assert set(SILENT) >= NOTHING
