"""What is wrong with a host whatever its role: clock, conntrack, limits, offloads. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pointsman.doctor.facts import Card, Host, System, joined
from pointsman.doctor.finding import Finding, fault, note, right, warning
from pointsman.doctor.rules.firewall import blocking_icmp

NEARLY_FULL = 0.9
OLDEST_KERNEL = (6, 1)
"""See docs/kernels.md."""
JUMP = 0.5
"""Seconds by which the wall clock may differ from the steady one within one examination."""


def clock(system: System, jump: float) -> Iterable[Finding]:
    """VRRP and the data plane go by the steady clock; certificates, logs and the other director do not."""
    if abs(jump) > JUMP:
        yield warning(
            "clock",
            f"the clock of this host was moved by {jump:+.1f} s while the doctor looked",
            "times in logs and in traces of several hosts do not fit together; certificates may look expired",
            advice="let one program set it, slowly: chronyd or systemd-timesyncd; see timedatectl",
        )
    elif system.clock_synchronised is False:
        yield note("clock", "no program keeps this host's clock (timedatectl): compare logs with care")
    else:
        yield right("clock", "the clock is steady")


def conntrack(system: System) -> Iterable[Finding]:
    """The kernel's table of connections, where a firewall or NAT uses it."""
    count, limit = system.conntrack, system.conntrack_limit
    if count is None or not limit:
        return
    if count >= NEARLY_FULL * limit:
        yield fault(
            "conntrack",
            f"the kernel's connection tracking is nearly full: {count} of {limit}",
            "new connections are dropped without a word (nf_conntrack: table full)",
            remedy=[f"sysctl -w net.netfilter.nf_conntrack_max={4 * limit}"],
            safe=True,
        )
    else:
        yield right("conntrack", f"room in connection tracking: {count} of {limit}")


def forwarding(system: System, routed: Collection[str]) -> Iterable[Finding]:
    """ip_forward: direct routing works without, NAT does not; `routed`: the services with NAT."""
    if routed and system.forwarding == 0:
        yield fault(
            "ip-forward",
            f"ip_forward is 0, and {joined(routed)} uses NAT",
            "answers of its real servers come back to this host, which does not route them on",
            remedy=["sysctl -w net.ipv4.ip_forward=1"],
            safe=True,
        )
    elif system.forwarding is not None:
        needs = "as NAT needs it" if routed else "direct routing works with either"
        yield right("ip-forward", f"ip_forward is {system.forwarding}; {needs}")


def neighbours(host: Host) -> Iterable[Finding]:
    """The kernel's table of MAC addresses."""
    entries, limit = len(host.neighbours), host.neighbour_limit
    if limit and entries >= NEARLY_FULL * limit:
        yield warning(
            "neighbour-table",
            f"the neighbour table is nearly full: {entries} of {limit} entries",
            "the kernel cannot note MAC addresses of real servers and clients any more",
            remedy=[f"sysctl -w net.ipv4.neigh.default.gc_thresh3={4 * limit}"],
            safe=True,
        )
    elif host.system.neighbour_overflows:
        yield note(
            "neighbour-table",
            f"full {host.system.neighbour_overflows} times since boot; now {entries} of {limit} entries",
        )
    else:
        yield right(
            "neighbour-table",
            f"room in the neighbour table: {entries}{f' of {limit}' if limit else ''} entries",
        )


def path_mtu(host: Host) -> Iterable[Finding]:
    """Answers that are too long for a link beyond the gateway: the ICMP message about it has to arrive."""
    rules = blocking_icmp(host.rules)
    for rule in rules:
        yield warning(
            "path-mtu",
            f"{rule} drops ICMP",
            "also `fragmentation needed`: answers to clients behind a smaller MTU (tunnels, DSL) hang",
            remedy=[rule.removal],
            advice="or let the types destination-unreachable and packet-too-big pass before it"
            + (
                ""
                if host.system.mtu_probing
                else "; sysctl -w net.ipv4.tcp_mtu_probing=1 helps TCP meanwhile"
            ),
        )
    if not rules and not host.rules_problem:
        yield right("path-mtu", "no firewall rule drops ICMP, so messages about the MTU arrive")


def offload_traps(cards: Iterable[Card], modes: dict[str, str]) -> Iterable[Finding]:
    """What network cards do to frames that a director passes on; `modes`: how it is attached to each."""
    for card in cards:
        mode = modes.get(card.name)
        if mode is None:
            continue
        offloads = card.offloads
        if offloads.lro:
            yield fault(
                "lro",
                f"{card.name} merges packets as they come (LRO)",
                "merged packets cannot be passed on as they came: they are longer than the MTU, and are lost",
                remedy=[f"ethtool -K {card.name} lro off"],
                safe=True,
            )
        elif mode == "native" and offloads.driver == "virtio_net" and offloads.receive_checksum:
            yield warning(
                "guest-csum",
                f"{card.name} (virtio_net) takes packets from machines on its own host without checksums",
                "native XDP passes them on as they are, and the real server drops them",
                remedy=[f"ethtool -K {card.name} rx off"],
                advice="or run the director with --xdp-mode generic",
            )
        else:
            yield right("offloads", f"{card.name}: nothing that spoils what is passed on")


def kernel(system: System, lacks: Collection[str]) -> Iterable[Finding]:
    """What a director needs of the kernel to be there at all; `lacks`: capabilities its process has not."""
    if system.kernel is not None:
        release = ".".join(map(str, system.kernel))
        if system.kernel < OLDEST_KERNEL:
            yield warning(
                "kernel",
                f"Linux {release} is older than {'.'.join(map(str, OLDEST_KERNEL))}, the oldest tested",
                "its verifier may refuse the program, or take a loop for something else",
                advice="boot a newer kernel",
            )
        else:
            yield right("kernel", f"Linux {release}")
    if system.types is False:
        yield note(
            "kernel", "no BTF (CONFIG_DEBUG_INFO_BTF): traces do not say why the kernel dropped a packet"
        )
    if lacks:
        yield fault(
            "capabilities",
            f"the director runs without {joined(lacks)}",
            "it cannot change its table, or not learn MAC addresses: what is in force stays as it is",
            advice="start it as root, or grant them in the unit (CapabilityBoundingSet) or the container",
        )
    else:
        yield right("capabilities", "the director has the capabilities it works with")


def engine(system: System, vrrp_is_slow: bool | None) -> Iterable[Finding]:
    """What a director needs of the kernel to be on time."""
    if system.bpf_jit == 0:
        yield warning(
            "bpf-jit",
            "BPF programs are interpreted (net.core.bpf_jit_enable is 0)",
            "each packet costs several times as much",
            remedy=["sysctl -w net.core.bpf_jit_enable=1"],
            safe=True,
        )
    if vrrp_is_slow:
        yield warning(
            "real-time",
            "the VRRP process has no real-time priority",
            "under load its adverts are late, and the backup takes over while the master lives",
            advice="run it as root or with CAP_SYS_NICE, and allow real-time tasks in its control group "
            "(cpu.rt_runtime_us of cgroup v1; LimitRTPRIO in the unit)",
        )
    elif vrrp_is_slow is False:
        yield right("real-time", "the VRRP process runs with real-time priority")
