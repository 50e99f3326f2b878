"""The keyword table: whole and consistent. That its words are read is the matter of test_conf_honoured."""

from __future__ import annotations

import pytest

from pointsman.conf.keywords.keyword import table_of
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.keywords.vocabulary import entries
from pointsman.conf.load import load_text
from pointsman.conf.problems import ConfError, Severity

ROWS = [row for block in TABLE.values() for row in block.values()]


def test_every_row_says_something() -> None:
    assert not [row.name for row in ROWS if len(row.help) < 10]


def test_blocks_that_words_open_exist() -> None:
    assert {row.opens for row in ROWS if row.opens and not row.listing} <= set(TABLE)
    assert {entry.opens for entry in entries()} - {"lines"} == set(TABLE) - OURS_ALONE


def test_the_table_knows_keepalived() -> None:
    assert len({row.name for row in ROWS} - OURS_ALONE) == 363
    ours = OURS | OURS_ALONE
    assert not [
        f"{row.block}.{row.name}"
        for row in ROWS
        if not row.meaning and row.name not in ours and row.block not in ours
    ]


OURS = {"nb_get_retry", "rise", "fall"}
"""In TCP_CHECK, and in all checkers, they are no words of keepalived 2.x."""

OURS_ALONE = {
    "DR_CHECK",
    "slow_start",
    "drain",
    "passive_check",
    "reset_on_removal",
    "smtp_tls",
    "smtp_tls_verify",
    "smtp_tls_ca",
    "smtp_auth",
    "tls_verify",
    "tls_ca",
}
"""Words and blocks that only Pointsman has."""


def test_no_word_of_the_language_is_explained_twice() -> None:
    told = [(entry.block, entry.name) for entry in entries()]
    assert len(told) == len(set(told))


def test_a_bad_value_of_a_word_without_effect_is_a_warning() -> None:
    (note, problem) = load_text("global_defs {\nvrrp_rt_priority 200\n}", "f").problems
    assert str(problem) == (
        "f:2:18: warning: vrrp_rt_priority 200: it wants a whole number from 1 to 99; keepalived ignores it"
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
