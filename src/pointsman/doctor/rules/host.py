# SPDX-License-Identifier: Apache-2.0
"""Rules for every host: clock, conntrack, limits, offloads. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pointsman.doctor.facts import Card, Host, System, join_words
from pointsman.doctor.finding import Finding, fault, note, right, warning
from pointsman.model.wording import NEARLY_FULL

OLDEST_KERNEL = (6, 1)
"""See docs/kernels.md."""
JUMP = 0.5
"""Seconds by which the wall clock may jump during one examination."""


def clock(system: System, jump: float) -> Iterable[Finding]:
    """Check the wall clock. VRRP and the data plane do not use it; certificates, logs and traces do."""
    if abs(jump) > JUMP:
        yield warning(
            "clock",
            f"this host's clock was set by {jump:+.1f} s while the doctor ran",
            "times in logs and traces of several hosts do not match; certificates may seem to be expired",
            advice="let one program adjust it gradually: chronyd or systemd-timesyncd; see timedatectl",
        )
    elif system.clock_synchronised is False:
        yield note(
            "clock",
            "this host's clock is not synchronised (timedatectl): "
            "its times may differ from other hosts' logs",
        )
    else:
        yield right("clock", "the clock is steady")


def other_balancers(host: Host) -> Iterable[Finding]:
    """Check that no keepalived and no IPVS is active beside the director."""
    for other in host.other_balancers:
        yield fault("other-balancer", other.found, other.why, remedy=other.remedy)
    if not host.other_balancers:
        yield right("other-balancer", "neither keepalived nor IPVS is active on this host")


def conntrack(system: System) -> Iterable[Finding]:
    """Check the fill of connection tracking, which a firewall or NAT uses."""
    count, limit = system.conntrack, system.conntrack_limit
    if count is None or not limit:
        return
    if count >= NEARLY_FULL * limit:
        yield fault(
            "conntrack",
            f"the kernel's connection tracking is nearly full: {count} of {limit}",
            "new connections are dropped silently (kernel log: nf_conntrack: table full)",
            remedy=[f"sysctl -w net.netfilter.nf_conntrack_max={4 * limit}"],
            safe=True,
        )
    else:
        yield right("conntrack", f"room in connection tracking: {count} of {limit}")


def forwarding(system: System, routed: Collection[str]) -> Iterable[Finding]:
    """Check ip_forward: direct routing works without it, NAT does not. `routed`: the services with NAT."""
    if routed and system.forwarding == 0:
        yield fault(
            "ip-forward",
            f"ip_forward is 0, and {join_words(routed)} uses NAT",
            "the answers of its real servers come back to this host, which does not forward them",
            remedy=["sysctl -w net.ipv4.ip_forward=1"],
            safe=True,
        )
    elif system.forwarding is not None:
        needs = "NAT needs it" if routed else "direct routing works with 0 and 1"
        yield right("ip-forward", f"ip_forward is {system.forwarding}; {needs}")


def neighbours(host: Host, fresh_overflows: int = 0) -> Iterable[Finding]:
    """Check the fill of the neighbour table, which all network namespaces of the kernel share."""
    entries = len(host.neighbours) if host.system.neighbour_entries is None else host.system.neighbour_entries
    limit = host.neighbour_limit
    of_limit = f" of {limit}" if limit else ""
    setting = "net.ipv4.neigh.default.gc_thresh3"
    if fresh_overflows or (limit and entries >= NEARLY_FULL * limit):
        full = (
            f"was full {fresh_overflows} times while the doctor ran" if fresh_overflows else "is nearly full"
        )
        yield warning(
            "neighbour-table",
            f"the kernel's neighbour table {full}: {entries}{of_limit} entries, of all network namespaces",
            "when it is full, the kernel cannot add MAC addresses of real servers and clients",
            remedy=[f"sysctl -w {setting}={4 * limit}"] if limit else [],
            advice="" if limit else f"raise {setting} on the host itself: a container does not have it",
            safe=True,
        )
    elif host.system.neighbour_overflows:
        yield note(
            "neighbour-table",
            f"the kernel's neighbour table was full {host.system.neighbour_overflows} times since boot; "
            f"now it has {entries}{of_limit} entries",
        )
    else:
        yield right("neighbour-table", f"room in the neighbour table: {entries}{of_limit} entries")


def offloads(cards: Iterable[Card], modes: dict[str, str]) -> Iterable[Finding]:
    """Check the interfaces for offloads that change forwarded frames. `modes`: mode of the program by
    interface.
    """
    for card in cards:
        mode = modes.get(card.name)
        if mode is None:
            continue
        offloads = card.offloads
        if offloads.lro:
            yield fault(
                "lro",
                f"{card.name} merges received packets (LRO)",
                "merged packets are longer than the MTU, so they cannot be forwarded and are lost",
                remedy=[f"ethtool -K {card.name} lro off"],
                safe=True,
            )
        elif mode == "native" and offloads.driver == "virtio_net" and offloads.receive_checksum:
            yield warning(
                "guest-csum",
                f"{card.name} (virtio_net) accepts packets without "
                "checksums from virtual machines on the same host",
                "native XDP forwards them unchanged, and the real server drops them",
                remedy=[f"ethtool -K {card.name} rx off"],
                advice="or run the director with --xdp-mode generic",
            )
        else:
            yield right("offloads", f"{card.name} has no offload that harms forwarded packets")


def kernel(system: System, lacks: Collection[str]) -> Iterable[Finding]:
    """Check that the kernel has what a director needs. `lacks`: capabilities its process does not have."""
    if system.kernel is not None:
        release = ".".join(map(str, system.kernel))
        if system.kernel < OLDEST_KERNEL:
            yield warning(
                "kernel",
                f"Linux {release} is older than {'.'.join(map(str, OLDEST_KERNEL))}, the oldest tested",
                "its verifier may reject the director's program",
                advice="boot a newer kernel",
            )
        else:
            yield right("kernel", f"Linux {release}")
    if system.types is False:
        yield note(
            "kernel", "no BTF (CONFIG_DEBUG_INFO_BTF): traces cannot say why the kernel dropped a packet"
        )
    if lacks:
        yield fault(
            "capabilities",
            f"the director runs without {join_words(lacks)}",
            "it cannot change its table or learn MAC addresses: the table stays as it is",
            advice="start it as root, or grant them in the systemd unit "
            "(CapabilityBoundingSet) or the container",
        )
    else:
        yield right("capabilities", "the director has the capabilities it needs")


def speed(system: System, vrrp_is_slow: bool | None) -> Iterable[Finding]:
    """Check that the kernel lets a director be fast enough."""
    if system.bpf_jit == 0:
        yield warning(
            "bpf-jit",
            "BPF programs are interpreted (net.core.bpf_jit_enable is 0)",
            "each packet costs several times as much CPU time",
            remedy=["sysctl -w net.core.bpf_jit_enable=1"],
            safe=True,
        )
    if vrrp_is_slow:
        yield warning(
            "real-time",
            "the VRRP process has no real-time priority",
            "under load its adverts are late, and the backup takes over although the master works",
            advice="run it as root or with CAP_SYS_NICE, and allow real-time tasks in its control group "
            "(cpu.rt_runtime_us of cgroup v1; LimitRTPRIO in the unit)",
        )
    elif vrrp_is_slow is False:
        yield right("real-time", "the VRRP process runs with real-time priority")
