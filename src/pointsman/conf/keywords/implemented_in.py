# SPDX-License-Identifier: Apache-2.0
"""Name the module that implements an honoured word, for those who want to read the code."""

from __future__ import annotations

import re

from pointsman.conf.keywords.keyword import Keyword

_GLOBAL, _INSTANCE, _GROUP = "global_defs", "vrrp_instance", "vrrp_sync_group"
_VRRP = "global_defs|vrrp_instance"
_POOL = "virtual_server|real_server"

_MODULES = (
    (_GLOBAL, r"notification_.*|smtp_(?!alert).*", "daemon.director.mail"),
    (_GLOBAL, r"router_id|smtp_alert.*|no_checker_emails", "health.alerts"),
    (_GLOBAL, r".*fifo.*", "daemon.scripts.fifo"),
    (_GLOBAL, r"script_user|enable_script_security", "daemon.runtime.run_program"),
    (_GLOBAL, r"checker_.*", "health.schedule"),
    (_GLOBAL, r"rs_init_notifies", "lvs.transitions"),
    (_GLOBAL, r"nftables_.*", "dataplane.xdp.marks"),
    (_GLOBAL, r"vrrp_startup_delay", "vrrp.machine"),
    (_GLOBAL, r"dynamic_interfaces", "daemon.start"),
    (_GLOBAL, r"lvs_timeouts", "daemon.director.table_sync"),
    (_GLOBAL, r"connection_grace", "lvs.grace"),
    (_GLOBAL, r"vrrp_(garp|gna)_interval", "daemon.vrrp.garp_pacing"),
    (_GLOBAL, r"default_interface", "conf.build.vrrp"),
    (_VRRP, r".*strict.*", "conf.build.strict"),
    (_VRRP, r".*mcast.*|unicast_.*", "daemon.vrrp.advert_socket"),
    (_VRRP, r".*_extra_if", "daemon.vrrp.addresses"),
    (_VRRP, r".*vmac.*|.*ipvlan|vrf|promote_.*", "daemon.vrrp.vmac"),
    (_VRRP, r".*(garp|gna).*_delay", "vrrp.machine"),
    (_VRRP, r".*garp.*|.*gna.*", "vrrp.announcing"),
    (_VRRP, r".*checksum.*|version|vrrp_version", "vrrp.wire"),
    (_VRRP, r"authentication", "vrrp.admission"),
    (_VRRP, r".*check_unicast_src|.*owner_ignore_adverts", "vrrp.admission"),
    (_VRRP, r".*notify.*", "daemon.vrrp.instance"),
    (_INSTANCE, r"virtual_ipaddress.*", "daemon.vrrp.addresses"),
    (_INSTANCE, r"virtual_r(outes|ules)", "daemon.vrrp.routes"),
    (_INSTANCE, r"no_accept|accept", "daemon.vrrp.no_accept"),
    (_INSTANCE, r"(no)?preempt.*", "vrrp.preemption"),
    (_INSTANCE, r"auth_hmac", "vrrp.hmac_auth"),
    (_INSTANCE, r"track_src_ip|dont_track_primary", "daemon.vrrp.instance"),
    (f"{_INSTANCE}|{_GROUP}", r"track_.*|sync_group_.*", "vrrp.tracking"),
    (f"{_INSTANCE}|{_GROUP}|{_POOL}", r"smtp_alert", "health.alerts"),
    (_GROUP, r"notify.*", "daemon.vrrp.instances"),
    (_POOL, r".*lvs_method|lb_kind|[ul]threshold|reset_.*", "dataplane.xdp.servers"),
    (_POOL, r"lvs_.*|lb_.*|protocol|persist.*|ops|[sm]h-.*|flag-.*", "dataplane.xdp.store"),
    (_POOL, r"slow_start|drain", "lvs.slow_start"),
    (_POOL, r"notify_.*|quorum_(up|down)", "daemon.scripts.notify"),
    (_POOL, r"ha_suspend", "daemon.checker.ha_suspend"),
    (_POOL, r"passive_check", "health.passive_check"),
    (_POOL, r"virtualhost", "daemon.checker.probes.http"),
    (r".*_CHECK|.*_GET|" + _POOL, r"delay_.*|retry|nb_.*|rise|fall|warmup|log_all.*", "health.schedule"),
    (_POOL, r"connect_timeout", "daemon.checker.probes.sockets"),
    (_POOL, r".*", "lvs.desired"),
    (r"SSL|SSL_GET", r"certificate|key|password|ca|tls_.*", "daemon.checker.probes.tls"),
    (r"HTTP_GET|SSL_GET|url", r".*", "daemon.checker.probes.http"),
    (r"TCP_CHECK", r".*", "daemon.checker.probes.tcp"),
    (r"SMTP_CHECK|host", r".*", "daemon.checker.probes.smtp"),
    (r"DNS_CHECK|UDP_CHECK", r".*", "daemon.checker.probes.datagrams"),
    (r"PING_CHECK", r".*", "daemon.checker.probes.ping"),
    (r"DR_CHECK", r".*", "daemon.checker.probes.dr_check"),
    (r"MISC_CHECK", r".*", "daemon.checker.probes.misc_check"),
    (r"FILE_CHECK", r".*", "daemon.checker.probes.file_check"),
    (r"BFD_CHECK|bfd_instance", r".*", "daemon.bfd.process"),
    (r"connection_sync", r".*", "daemon.sync.process"),
    (r"auth_hmac", r".*", "vrrp.hmac_auth"),
    (r"authentication", r".*", "vrrp.admission"),
    (r"vrrp_script", r".*", "daemon.scripts.trackers"),
    (r"(vrrp_)?track_file|vrrp_track_process", r".*", "daemon.scripts.trackers"),
    (r"garp_group", r".*", "daemon.vrrp.garp_pacing"),
    (r"track_group|" + _GROUP, r".*", "vrrp.groups"),
    (_VRRP, r".*", "vrrp.machine"),
    (r"", _GLOBAL, "conf.build.config"),
    (r"", r"static_.*", "daemon.vrrp.static"),
    (r"", r"virtual_server_group", "dataplane.xdp.marks"),
    (r"", r"SSL", "daemon.checker.probes.tls"),
)
"""Blocks, words, module; the first row that fits counts. A word that opens a block alone has the block's."""


def implemented_in(row: Keyword) -> str:
    """Return the module, as `pointsman.lvs.desired`. Raises LookupError for a word that has none."""
    for blocks, words, module in _MODULES:
        if re.fullmatch(blocks, row.block) and re.fullmatch(words, row.name):
            return f"pointsman.{module}"
    for blocks, words, module in _MODULES:
        if row.opens and words == ".*" and re.fullmatch(blocks, row.opens):
            return f"pointsman.{module}"
    raise LookupError(f"{row.block} {row.name}")
