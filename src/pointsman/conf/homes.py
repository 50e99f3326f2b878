"""Where an honoured word does its work: the module to read, for whoever doubts or wants to know."""

from __future__ import annotations

import re

from pointsman.conf.keywords import Keyword

_GLOBAL, _INSTANCE, _GROUP = "global_defs", "vrrp_instance", "vrrp_sync_group"
_VRRP = "global_defs|vrrp_instance"
_POOL = "virtual_server|real_server"

_HOMES = (
    (_GLOBAL, r"notification_.*|smtp_(?!alert).*", "daemon.mail"),
    (_GLOBAL, r"router_id|smtp_alert.*|no_checker_emails", "health.alerts"),
    (_GLOBAL, r".*fifo.*", "daemon.fifos"),
    (_GLOBAL, r"script_user|enable_script_security", "daemon.programs"),
    (_GLOBAL, r"checker_.*", "health.schedule"),
    (_GLOBAL, r"rs_init_notifies", "lvs.transitions"),
    (_GLOBAL, r"nftables_.*", "dataplane.xdp.marks"),
    (_GLOBAL, r"vrrp_startup_delay", "daemon.vrrp_router"),
    (_GLOBAL, r"dynamic_interfaces", "daemon.start"),
    (_GLOBAL, r"lvs_timeouts", "daemon.keeper"),
    (_GLOBAL, r"vrrp_(garp|gna)_interval", "daemon.vrrp_pacing"),
    (_GLOBAL, r"default_interface", "conf.build_vrrp"),
    (_VRRP, r".*strict.*", "conf.build_strict"),
    (_VRRP, r".*mcast.*|unicast_.*", "net.advert_socket"),
    (_VRRP, r".*_extra_if|.*vmac.*|.*ipvlan|vrf|promote_.*", "daemon.vrrp_interfaces"),
    (_VRRP, r".*garp.*|.*gna.*", "vrrp.announcing"),
    (_VRRP, r".*checksum.*|version|vrrp_version|authentication", "vrrp.wire"),
    (_VRRP, r".*check_unicast_src|.*owner_ignore_adverts", "vrrp.admission"),
    (_VRRP, r".*notify.*", "daemon.vrrp_router"),
    (_INSTANCE, r"virtual_ipaddress.*", "daemon.vrrp_belongings"),
    (_INSTANCE, r"virtual_r(outes|ules)", "daemon.vrrp_routes"),
    (_INSTANCE, r"no_accept|accept", "daemon.vrrp_shield"),
    (_INSTANCE, r"(no)?preempt.*", "vrrp.preemption"),
    (_INSTANCE, r"auth_hmac", "vrrp.signing"),
    (_INSTANCE, r"track_src_ip", "daemon.vrrp_router"),
    (f"{_INSTANCE}|{_GROUP}", r"track_.*|sync_group_.*", "vrrp.tracking"),
    (f"{_INSTANCE}|{_GROUP}|{_POOL}", r"smtp_alert", "health.alerts"),
    (_GROUP, r"notify.*", "daemon.vrrp_crew"),
    (_POOL, r".*lvs_method|lb_kind|[ul]threshold|reset_.*", "dataplane.xdp.servers"),
    (_POOL, r"lvs_.*|lb_.*|protocol|persist.*|ops|[sm]h-.*|flag-.*", "dataplane.xdp.store"),
    (_POOL, r"slow_start|drain", "lvs.slow_start"),
    (_POOL, r"notify_.*|quorum_(up|down)", "daemon.health_programs"),
    (_POOL, r"ha_suspend", "daemon.suspension"),
    (_POOL, r"passive_check", "health.suspicion"),
    (_POOL, r"virtualhost", "daemon.probes.http"),
    (r".*_CHECK|.*_GET|" + _POOL, r"delay_.*|retry|nb_.*|rise|fall|warmup|log_all.*", "health.schedule"),
    (_POOL, r"connect_timeout", "daemon.probes.sockets"),
    (_POOL, r".*", "lvs.desired"),
    (r"SSL|SSL_GET", r"certificate|key|password|ca|tls_.*", "daemon.probes.tls"),
    (r"HTTP_GET|SSL_GET|url", r".*", "daemon.probes.http"),
    (r"TCP_CHECK", r".*", "daemon.probes.tcp"),
    (r"SMTP_CHECK|host", r".*", "daemon.probes.smtp"),
    (r"DNS_CHECK|UDP_CHECK", r".*", "daemon.probes.datagrams"),
    (r"PING_CHECK", r".*", "daemon.probes.ping"),
    (r"DR_CHECK", r".*", "daemon.probes.direct"),
    (r"MISC_CHECK", r".*", "daemon.health_programs"),
    (r"FILE_CHECK", r".*", "daemon.probes.file"),
    (r"BFD_CHECK|bfd_instance", r".*", "daemon.bfd"),
    (r"auth_hmac", r".*", "vrrp.signing"),
    (r"authentication", r".*", "vrrp.wire"),
    (r"vrrp_script", r".*", "daemon.vrrp_scripts"),
    (r"(vrrp_)?track_file|vrrp_track_process", r".*", "daemon.vrrp_watches"),
    (r"garp_group", r".*", "daemon.vrrp_pacing"),
    (r"track_group|" + _GROUP, r".*", "vrrp.groups"),
    (_VRRP, r".*", "vrrp.machine"),
    (r"", _GLOBAL, "conf.build"),
    (r"", r"static_.*", "daemon.vrrp_statics"),
    (r"", r"virtual_server_group", "dataplane.xdp.marks"),
    (r"", r"SSL", "daemon.probes.tls"),
)
"""Blocks, words, module; the first row that fits counts. A word that opens a block alone has the block's."""


def home(row: Keyword) -> str:
    """The module, as `pointsman.lvs.desired`. Raises LookupError for a word that has none."""
    for blocks, words, module in _HOMES:
        if re.fullmatch(blocks, row.block) and re.fullmatch(words, row.name):
            return f"pointsman.{module}"
    for blocks, words, module in _HOMES:
        if row.opens and words == ".*" and re.fullmatch(blocks, row.opens):
            return f"pointsman.{module}"
    raise LookupError(f"{row.block} {row.name}")
