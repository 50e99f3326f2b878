# SPDX-License-Identifier: Apache-2.0
"""The keyword table: whole and consistent. That its words are read is the matter of test_conf_honoured."""

from __future__ import annotations

import pytest

from pointsman.conf.keywords.keyword import OLD, OURS, Status
from pointsman.conf.keywords.table import TABLE, table_of
from pointsman.conf.keywords.values import Anything, Text
from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Severity

ROWS = [row for block in TABLE.values() for row in block.values()]


def test_every_row_says_what_the_word_sets() -> None:
    assert not [row.name for row in ROWS if len(row.help) < 5]


def test_help_is_one_line_without_a_full_stop() -> None:
    assert not [row.help for row in ROWS if row.help.endswith(".") or "\n" in row.help]


def test_words_that_are_not_honoured_say_why_and_no_others() -> None:
    assert not [row.name for row in ROWS if bool(row.reason) is (row.status is Status.HONOURED)]


def test_blocks_that_words_open_exist_and_no_others() -> None:
    assert {row.opens for row in ROWS if row.opens and not row.listing} == set(TABLE) - {""}


def test_a_default_that_is_a_number_is_of_its_type() -> None:
    for row in ROWS:
        if row.default.lstrip("-").isdigit() and not isinstance(row.kind, Anything | Text):
            row.kind.read([row.default])


def test_the_table_knows_keepalived() -> None:
    ours = {row.name for row in ROWS if row.known_to == OURS}
    old = {row.name for row in ROWS if row.known_to == OLD}
    assert old == {"nat_mask", "lvs_id", "lvs_sync_daemon_inteface"}
    assert len({row.name for row in ROWS if row.known_to not in (OURS, OLD)}) == 363
    assert ours == {
        *("slow_start", "drain", "passive_check", "reset_on_removal", "rise", "fall", "DR_CHECK"),
        "connection_grace",
        *("smtp_tls", "smtp_tls_verify", "smtp_tls_ca", "smtp_auth", "tls_verify", "tls_ca"),
        *("connection_sync", "peer", "key_file", "port", "bind_address", "group", "interface", "hand_over"),
        "ask_real_servers",
        *("nb_get_retry", "alpha", "delay_loop", "retry", "delay_before_retry", "warmup", "log_all_failures"),
    }
    """Keepalived has the keywords of the last line in other checkers."""


def test_old_spellings_are_of_the_type_of_the_new_one() -> None:
    for row in ROWS:
        if row.status is Status.HONOURED and row.canonical != row.name:
            assert row.kind == TABLE[row.block][row.canonical].kind, row.name


def test_a_bad_value_of_a_word_without_effect_is_a_warning() -> None:
    (note, problem) = load_text("global_defs {\nvrrp_rt_priority 200\n}", "f").problems
    assert str(problem) == (
        "f:2:18: warning: vrrp_rt_priority 200: must be a whole number from 1 to 99; keepalived ignores it"
    )
    assert note.severity is Severity.NOTE


def test_a_word_twice_in_a_block_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="priority stands twice"):
        table_of([*TABLE["vrrp_instance"].values(), TABLE["vrrp_instance"]["priority"]])


TYPOS = [
    ("global_defs", "router_idd", "router_id"),
    ("global_defs", "notifcation_email", "notification_email"),
    ("global_defs", "notification_mail", "notification_email"),
    ("global_defs", "smtp_sever", "smtp_server"),
    ("global_defs", "smtp_conect_timeout", "smtp_connect_timeout"),
    ("vrrp_instance", "authentificaton", "authentication"),
    ("vrrp_instance", "virtual_ipadress", "virtual_ipaddress"),
    ("vrrp_instance", "virtual_router-id", "virtual_router_id"),
    ("vrrp_instance", "prioriy", "priority"),
    ("vrrp_instance", "advert-int", "advert_int"),
    ("vrrp_instance", "unicast_peers", "unicast_peer"),
    ("vrrp_instance", "unicast_srcip", "unicast_src_ip"),
    ("vrrp_instance", "Interface", "interface"),
    ("vrrp_instance", "nopremt", "nopreempt"),
    ("vrrp_instance", "PRIORITY", "priority"),
    ("virtual_server", "lb_alg", "lb_algo"),
    ("virtual_server", "lvs_shed", "lvs_sched"),
    ("virtual_server", "delayloop", "delay_loop"),
    ("virtual_server", "persistance_timeout", "persistence_timeout"),
    ("virtual_server", "protocoll", "protocol"),
    ("virtual_server", "realserver", "real_server"),
    ("virtual_server", "sorry-server", "sorry_server"),
    ("real_server", "wieght", "weight"),
    ("real_server", "TCP_CHEK", "TCP_CHECK"),
    ("real_server", "tcp_check", "TCP_CHECK"),
    ("TCP_CHECK", "conect_port", "connect_port"),
    ("TCP_CHECK", "connection_timeout", "connect_timeout"),
    ("TCP_CHECK", "nb_get_retries", "nb_get_retry"),
    ("TCP_CHECK", "delay_before_retries", "delay_before_retry"),
    ("global_defs", "enable_script_securty", "enable_script_security"),
    ("global_defs", "vrrp_garp_master_repeats", "vrrp_garp_master_repeat"),
    ("global_defs", "vrrp_scrict", "vrrp_strict"),
    ("global_defs", "lvs_timeout", "lvs_timeouts"),
    ("global_defs", "script_usr", "script_user"),
    ("global_defs", "routerid", "router_id"),
    ("vrrp_instance", "track_scripts", "track_script"),
    ("vrrp_instance", "trackinterface", "track_interface"),
    ("vrrp_instance", "notify_mater", "notify_master"),
    ("vrrp_instance", "notify_backp", "notify_backup"),
    ("vrrp_instance", "virtual_ip_address", "virtual_ipaddress"),
    ("vrrp_instance", "virtual_route", "virtual_routes"),
    ("vrrp_instance", "preempt-delay", "preempt_delay"),
    ("vrrp_instance", "user_vmac", "use_vmac"),
    ("vrrp_instance", "dont-track-primary", "dont_track_primary"),
    ("virtual_server", "persistence_granularty", "persistence_granularity"),
    ("virtual_server", "hysterisis", "hysteresis"),
    ("virtual_server", "quorumup", "quorum_up"),
    ("virtual_server", "ha_suspended", "ha_suspend"),
    ("virtual_server", "virtual_host", "virtualhost"),
    ("real_server", "HTTP_GTE", "HTTP_GET"),
    ("real_server", "MISC_CHEK", "MISC_CHECK"),
    ("real_server", "inhibit_on_fail", "inhibit_on_failure"),
    ("real_server", "notifydown", "notify_down"),
]

WRAPPED = {
    "global_defs": "global_defs {\n%s 1\n}",
    "vrrp_instance": "vrrp_instance A {\n%s 1\n}",
    "virtual_server": "virtual_server 10.0.0.1 80 {\n%s 1\n}",
    "real_server": "virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 {\n%s 1\n} }",
    "TCP_CHECK": "virtual_server 10.0.0.1 80 { real_server 10.0.0.2 80 { TCP_CHECK {\n%s 1\n} } }",
}


@pytest.mark.parametrize(("block", "typo", "meant"), TYPOS)
def test_did_you_mean(block: str, typo: str, meant: str) -> None:
    with pytest.raises(ConfError) as caught:
        load_text(WRAPPED[block] % typo, "f")
    problem = next(each for each in caught.value.errors if each.text.startswith("unknown keyword"))
    assert str(problem) == f"f:2:1: error: unknown keyword {typo} in {block}; did you mean {meant}?"
    assert problem.width == len(typo)
