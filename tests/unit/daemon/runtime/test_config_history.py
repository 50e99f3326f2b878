# SPDX-License-Identifier: Apache-2.0
"""A configuration with a bit of everything of VRRP goes from process to process as it is."""

from __future__ import annotations

from pointsman.conf.load import load_text
from pointsman.control.codec import ConfigDecoder, encode_config

EVERYTHING = """
global_defs {
    vrrp_mcast_group4 224.0.0.77
}
track_group G {
    group {
        A
    }
}
static_ipaddress {
    10.0.0.66/24 dev eth0 track_group G
}
static_routes {
    2001:db8::/32 from 2001:db8:1::/48 dev eth0 mtu lock 1400 realms 1/2
}
static_rules {
    from 10.66.0.0/16 to 10.67.0.0/16 uidrange 1-2 sport 3-4 suppress_prefixlength 0 table 66
}
vrrp_instance A {
    interface eth0
    virtual_router_id 51
    use_vmac
    garp_extra_if all 60
    authentication {
        auth_type AH
        auth_pass secret
    }
    virtual_ipaddress {
        10.0.0.9 peer 10.0.0.10/32 no_track preferred_lft 9
        10.0.1.9/24 dev eth1 use_vmac
    }
    virtual_routes {
        10.1.0.0/16 nexthop via inet6 fe80::1 dev eth0 weight 3 nexthop via 10.0.0.3
    }
    virtual_rules {
        inet6 fwmark 1/3 unreachable
    }
}
vrrp_instance B {
    interface eth0
    virtual_router_id 52
    version 3
    unicast_src_ip 10.0.0.1
    unicast_peer {
        10.0.0.2 min_ttl 254
    }
    auth_hmac {
        key 1 00112233445566778899aabbccddeeff
    }
}
"""


def test_it_comes_back_as_it_was() -> None:
    config = load_text(EVERYTHING, "f").config
    assert ConfigDecoder().decode(encode_config(config)) == config
