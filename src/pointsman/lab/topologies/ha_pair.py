# SPDX-License-Identifier: Apache-2.0
"""Topology of the first document: two directors, two web servers, mail, and clients behind a router.

    client (203.0.113.10 .. .13) --- br-out --- router .1, gw-01 .2, gw-02 .3
                                                   |
         lb-01 .10  lb-02 .11  web-01 .20  web-02 .21  mail .33   on br-lan, 192.168.100.0/26

A request takes the path client, router, director, web server. The answer takes the path web server, its own
gateway, client. The document's /28 does not contain all of its hosts (see docs/lab.md), so the lab uses /26.
"""

from __future__ import annotations

from pointsman.lab.topologies.topology import Interface, NodeSpec, Role, Route, Segment, Topology

VIP = "192.168.100.9"
WEB_SERVERS = {"web-01": "192.168.100.20", "web-02": "192.168.100.21"}
DIRECTORS = {"lb-01": "192.168.100.10", "lb-02": "192.168.100.11"}
CLIENT_ADDRESSES = ("203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13")
MAIL_ADDRESS = "192.168.100.33"

_LAN = "192.168.100.0/26"


def _lan(number: int, mac: str = "") -> Interface:
    return Interface(
        name="ens224",
        segment="br-lan",
        mac=mac or f"00:50:56:9f:be:{number:02x}",
        addresses=(f"192.168.100.{number}/26",),
    )


def _outside(*numbers: int) -> Interface:
    return Interface(
        name="ens192",
        segment="br-out",
        mac=f"00:50:56:9f:cb:{numbers[0]:02x}",
        addresses=tuple(f"203.0.113.{number}/24" for number in numbers),
    )


TOPOLOGY = Topology(
    name="ha-pair",
    summary="two directors, two web servers each with its own gateway, mail, clients behind a router",
    vip=VIP,
    port=80,
    segments=(Segment(name="br-lan", node="switch"), Segment(name="br-out", node="switch")),
    nodes=(
        NodeSpec(name="switch", role=Role.SWITCH),
        NodeSpec(
            name="client",
            role=Role.CLIENT,
            interfaces=(_outside(10, 11, 12, 13),),
            routes=(Route(_LAN, "203.0.113.1"),),
        ),
        NodeSpec(name="router", role=Role.ROUTER, interfaces=(_outside(1), _lan(1)), forwarding=True),
        NodeSpec(name="gw-01", role=Role.GATEWAY, interfaces=(_outside(2), _lan(2)), forwarding=True),
        NodeSpec(name="gw-02", role=Role.GATEWAY, interfaces=(_outside(3), _lan(3)), forwarding=True),
        NodeSpec(
            name="lb-01",
            role=Role.DIRECTOR,
            interfaces=(_lan(10),),
            routes=(Route("default", "192.168.100.1"),),
        ),
        NodeSpec(
            name="lb-02",
            role=Role.DIRECTOR,
            interfaces=(_lan(11),),
            routes=(Route("default", "192.168.100.1"),),
        ),
        NodeSpec(
            name="web-01",
            role=Role.REAL_SERVER,
            interfaces=(_lan(20, mac="00:50:56:9f:be:d6"),),
            routes=(Route("default", "192.168.100.2"),),
        ),
        NodeSpec(
            name="web-02",
            role=Role.REAL_SERVER,
            interfaces=(_lan(21),),
            routes=(Route("default", "192.168.100.3"),),
        ),
        NodeSpec(
            name="mail",
            role=Role.MAIL,
            interfaces=(_lan(33),),
            routes=(Route("default", "192.168.100.1"),),
        ),
    ),
)

_CONFIGURATION = """\
! Configuration File for keepalived

global_defs {{
   notification_email {{
     admin@mydomain.org
   }}
   notification_email_from dmz-lb-keepalived@mydomain.org
   smtp_server {mail}
   smtp_connect_timeout 30
   router_id {name}
}}

vrrp_instance VI_1_IPv4 {{
    state {state}
    interface ens224
    smtp_alert
    virtual_router_id 51
    priority 200
    unicast_src_ip {own}
    unicast_peer {{
        {peer}
    }}
    authentication {{
        auth_type PASS
        auth_pass generate-a-pasword
    }}
    advert_int 1
    virtual_ipaddress {{
        {vip}/26 dev ens224
    }}
}}
"""

_VIRTUAL_SERVER = """
virtual_server {vip} {port} {{
    delay_loop 6
    protocol TCP
    lb_algo rr
    lb_kind DR
    persistence_timeout 600
{real_servers}}}
"""

_REAL_SERVER = """
    real_server {address} {port} {{
        weight 1
        TCP_CHECK {{
            connect_port {port}
            connect_timeout 3
            nb_get_retry 3
            delay_before_retry 3
        }}
    }}
"""


def configuration(director: str) -> str:
    """Return the document's keepalived.conf of `lb-01` or `lb-02`, with the lab's prefix length."""
    (peer,) = (address for name, address in DIRECTORS.items() if name != director)
    text = _CONFIGURATION.format(
        mail=MAIL_ADDRESS,
        name=director,
        state="MASTER" if director == "lb-01" else "BACKUP",
        own=DIRECTORS[director],
        peer=peer,
        vip=VIP,
    )
    for port in (80, 443):
        servers = "".join(_REAL_SERVER.format(address=web, port=port) for web in WEB_SERVERS.values())
        text += _VIRTUAL_SERVER.format(vip=VIP, port=port, real_servers=servers)
    return text
