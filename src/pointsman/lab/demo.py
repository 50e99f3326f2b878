# SPDX-License-Identifier: Apache-2.0
"""`pointsman lab demo`: both documents' clusters, built, tested and removed in two minutes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from pointsman.control import paths
from pointsman.control.client import ControlError, request
from pointsman.control.client_messages import (
    Reply,
    Request,
    StatusReply,
    StatusRequest,
    TableReply,
    TableRequest,
)
from pointsman.lab import arp, mailsink, namespace, processes, tracing, traffic, waiting
from pointsman.lab.errors import LabError
from pointsman.lab.lab import PREFIX, Lab
from pointsman.lab.scripted_demo import ScriptedDemo
from pointsman.lab.topologies import dual_homed, ha_pair
from pointsman.trace import hop_table

VIP = ha_pair.VIP
REMOVAL_SECONDS = 25.0
"""delay_loop 6 + retry 3 x delay_before_retry 3, and some reserve."""
RETRIES_SECONDS = 3 * 3.0
RETURN_SECONDS = 15.0
FIRST_CHECK_SECONDS = 10.0
"""The first check starts at a random moment of the first delay_loop. If it fails there are no retries."""
FAILOVER_SECONDS = 4.5
"""3 x advert_int + skew (256 - 200) / 256, and some reserve."""
HANDOVER_SECONDS = 1.0
"""A planned stop sends priority 0, so the backup waits only for the skew."""
NO_SILENCE_SECONDS = 0.5


def run_demo(
    console: Console, topologies: Sequence[str], xdp_mode: str = "auto", prefix: str = PREFIX
) -> bool:
    """Run the demo of these topologies. Return True if every expectation was met.

    Everything is removed in any case. Raises LabError before the first step if a lab is already up.
    """
    demo = ScriptedDemo(console)
    labs = [Lab(name, prefix=prefix, xdp_mode=xdp_mode, progress=demo.tell) for name in topologies]
    for lab in labs:
        lab.require_free()
    for topology, lab in zip(topologies, labs, strict=True):
        try:
            with demo.step(f"{topology}: {lab.topology.summary}"):
                lab.up()
                inodes = {node.inode for node in lab.nodes.values()}
                demo.expect(True, f"{len(lab.nodes)} hosts are up")
            for chapter in CHAPTERS[topology]:
                chapter(demo, lab)
        except LabError:
            _clean_up(lab)
            continue  # the step has printed the error; the next topology is independent
        except BaseException:
            _clean_up(lab)
            raise
        with demo.step(f"{topology} is removed"):
            lab.down()
            _expect_nothing_left(demo, lab, inodes)
    return demo.end()


def _clean_up(lab: Lab) -> None:
    """Remove the lab, but only if this process built it. Another process may have built one meanwhile."""
    if lab.claimed:
        lab.down()


def _expect_nothing_left(demo: ScriptedDemo, lab: Lab, inodes: set[int]) -> None:
    left = [node.namespace for node in lab.nodes.values() if namespace.exists(node.namespace)]
    left += list(processes.find_processes(inodes).values())
    for inode in inodes:
        left += [str(place) for place in paths.namespace_directories(inode)]
    left += [str(lab.directory)] if lab.directory.exists() else []
    demo.expect(not left, f"left: {', '.join(left) or 'no namespace, no process, no pin, no file'}")


def _show_listing(demo: ScriptedDemo, lab: Lab, director: str) -> str:
    demo.command(director, "pointsman ipvsadm -Ln")
    text = lab.node(director).run(["pointsman", "ipvsadm", "-Ln"]).stdout
    demo.output(text)
    return text


def _ask_director(lab: Lab, director: str, message: Request) -> Reply:
    """Return the director's reply to a message on its control socket."""
    try:
        return request(message, lab.node(director).run_directory / "control.sock")
    except ControlError as error:
        raise LabError(f"{director}: {error}") from error


def _real_servers(lab: Lab, director: str, port: int = 80) -> set[str]:
    """Return the addresses of the real servers in the table for the VIP's port."""
    reply = _ask_director(lab, director, TableRequest())
    if not isinstance(reply, TableReply):
        raise LabError(f"{director}: {reply}")
    entries = [entry for entry in reply.table if entry.service.key.port == port]
    return {str(server.key.address) for entry in entries for server in entry.servers}


def _has_checked_all(lab: Lab, director: str) -> bool:
    """True if the director's checks of every real server have succeeded."""
    reply = _ask_director(lab, director, StatusRequest())
    if not isinstance(reply, StatusReply):
        raise LabError(f"{director}: {reply}")
    return all(server.up for service in reply.status.services for server in service.servers)


def _ask_all(lab: Lab, rounds: int) -> dict[str, Counter[str]]:
    """Send requests from every client address in turn, and count the answers by client and server."""
    served: dict[str, Counter[str]] = {source: Counter() for source in ha_pair.CLIENT_ADDRESSES}
    for _ in range(rounds):
        for source, answers in served.items():
            try:
                answers[traffic.fetch(lab.node("client"), VIP, 80, source)] += 1
            except OSError as error:
                answers[f"no answer ({error})"] += 1
    return served


def _expect_only_director_answers_arp(demo: ScriptedDemo, lab: Lab, director: str) -> None:
    """Check that only the director answers ARP for the VIP, although the web servers have it on lo."""
    hosts = lab.topology.hosts_by_mac()
    answering = sorted(hosts.get(mac, mac) for mac in arp.who_has(lab.node("router"), "ens224", VIP))
    demo.expect(
        answering == [director], f"ARP who-has {VIP} is answered by: {', '.join(answering) or 'no host'}"
    )


def _show_served(demo: ScriptedDemo, served: dict[str, Counter[str]]) -> None:
    demo.command("client", f"curl --interface {ha_pair.CLIENT_ADDRESSES[0]} http://{VIP}/   # and so on")
    for source, answers in served.items():
        demo.output(f"{source}  " + ", ".join(f"{count} x {name}" for name, count in answers.items()))


def _expect_mail(demo: ScriptedDemo, lab: Lab, what: str, *words: str) -> None:
    """Wait for a mail whose subject contains all these words."""

    def arrived() -> str:
        subjects = [str(mail["Subject"]) for mail in mailsink.mails(lab.mail_directory)]
        return next((subject for subject in subjects if all(word in subject for word in words)), "")

    try:
        subject = waiting.until(arrived, 5, "the mail arrives")
    except LabError:
        demo.expect(False, f"no mail about {what} arrived within 5 s")
    else:
        demo.expect(True, f"mail: {subject}")


def _listing_and_requests(demo: ScriptedDemo, lab: Lab) -> None:
    with demo.step("the table of the master, before any request"):
        text = _show_listing(demo, lab, "lb-01")
        demo.expect(lab.masters() == ["lb-01"], f"lb-01 is master, and only it has {VIP}")
        _expect_only_director_answers_arp(demo, lab, "lb-01")
        whole = all(f"TCP  {VIP}:{port} rr persistent 600" in text for port in (80, 443))
        demo.expect(
            whole and text.count("Route   1      0          0") == 4,
            "two services, two real servers each, no connections",
        )
        for director in ha_pair.DIRECTORS:
            waiting.until(
                partial(_has_checked_all, lab, director), FIRST_CHECK_SECONDS, f"{director} has checked all"
            )
        demo.expect(True, "both directors have checked every real server once (within delay_loop, 6 s)")
    with demo.step("20 requests from 4 clients behind the router"):
        served = _ask_all(lab, 5)
        _show_served(demo, served)
        servers = {name for answers in served.values() for name in answers}
        demo.expect(servers == set(ha_pair.WEB_SERVERS), "all 20 are answered, by both web servers")
        sticks = all(
            len(set(answers) & set(ha_pair.WEB_SERVERS)) == 1 == len(answers) for answers in served.values()
        )
        demo.expect(sticks, "persistence works: each client stays on one server")
        _show_listing(demo, lab, "lb-01")


def _web_server_fails(demo: ScriptedDemo, lab: Lab) -> None:
    name, address = "web-02", ha_pair.WEB_SERVERS["web-02"]
    with demo.step(f"the web service on {name} fails"):
        demo.command(name, "kill -9 $(pidof nginx)")
        failed_at = time.monotonic()
        lab.node(name).kill()
        waiting.until(
            lambda: address not in _real_servers(lab, "lb-01"),
            REMOVAL_SECONDS,
            f"{address} is out of the table",
        )
        demo.expect(
            time.monotonic() - failed_at > RETRIES_SECONDS,
            f"{name} is out of the table, after its retries (3, one every 3 s)",
        )
        served = _ask_all(lab, 1)
        _show_served(demo, served)
        alone = all(set(answers) == {"web-01"} for answers in served.values())
        demo.expect(alone, "web-01 serves all clients, also those that were persistent on web-02")
        _expect_mail(demo, lab, "the failed server", "lb-01", address, "DOWN")
    with demo.step(f"{name} comes back"):
        demo.command(name, "nginx")
        lab.start_web_server(name)
        waiting.until(lambda: address in _real_servers(lab, "lb-01"), RETURN_SECONDS, f"{address} is back")
        demo.expect(True, f"{name} is back in the table after its next check")
        _expect_mail(demo, lab, "its return", "lb-01", address, "UP")


def _master_fails(demo: ScriptedDemo, lab: Lab) -> None:
    with demo.step("the master fails: every process of lb-01 is killed, its link is down"):
        client = lab.node("client")
        demo.tell(f"client: a new connection to {VIP}:80 every 10 ms")
        with traffic.Prober(client, VIP, 80) as prober:
            waiting.until(lambda: prober.answered_since(0), 5, "the probe is answered")
            node = lab.node("lb-01")
            demo.command("lb-01", f"ip link set ens224 down; kill -9 $(ip netns pids {node.namespace})")
            killed = time.monotonic()
            node.power_off()
            waiting.until(lambda: lab.masters() == ["lb-02"], 10, f"lb-02 has {VIP}")
            demo.expect(True, f"lb-02 is master and has {VIP}")
            moved = time.monotonic()
            waiting.until(lambda: prober.answered_since(moved), 5, "clients are served again")
        silence = prober.longest_silence()
        _expect_only_director_answers_arp(demo, lab, "lb-02")
        demo.expect(
            silence < FAILOVER_SECONDS,
            f"the client got no answer for {silence:.2f} s; lb-02 had the VIP after {moved - killed:.2f} s "
            "(VRRP waits 3 adverts of 1 s + 0.22 s)",
        )
        served = _ask_all(lab, 1)
        _show_served(demo, served)
        demo.expect(
            all(set(answers) <= set(ha_pair.WEB_SERVERS) for answers in served.values()),
            "every client is served",
        )
        _expect_mail(demo, lab, "the new master", "lb-02", "MASTER")


def _master_returns(demo: ScriptedDemo, lab: Lab) -> None:
    client = lab.node("client")
    with demo.step("lb-01 comes back"):
        with traffic.Prober(client, VIP, 80) as prober:
            demo.command("lb-01", "ip link set ens224 up; pointsman run -f lb-01.conf")
            lab.node("lb-01").power_on()
            lab.start_director("lb-01")
            time.sleep(FAILOVER_SECONDS)  # longer than lb-01 would need to become master
        silence = prober.longest_silence()
        demo.expect(lab.masters() == ["lb-02"], "lb-02 stays master, because both have priority 200")
        demo.expect(
            silence < NO_SILENCE_SECONDS,
            f"clients were served all the time (longest gap {silence * 1000:.0f} ms)",
        )
    with demo.step("planned stop of lb-02"):
        with traffic.Prober(client, VIP, 80) as prober:
            waiting.until(lambda: prober.answered_since(0), 5, "the probe is answered")
            demo.command("lb-02", f"kill -TERM {lab.director_pid('lb-02')}")
            lab.stop_director("lb-02")
            lab.wait_for_master("lb-01")
            moved = time.monotonic()
            waiting.until(lambda: prober.answered_since(moved), 5, "clients are served again")
        silence = prober.longest_silence()
        demo.expect(
            silence < HANDOVER_SECONDS, f"lb-01 took over; the client got no answer for {silence:.2f} s"
        )


def _dual_homed(demo: ScriptedDemo, lab: Lab) -> None:
    service = f"{dual_homed.VIP}:{dual_homed.PORT}"
    with demo.step("the second document's experiment, hop by hop"):
        _show_listing(demo, lab, "lvs")
        demo.command("client", f"curl http://{service}/")
        page = lab.node("client").run(["curl", "-sS", "--max-time", "5", f"http://{service}/"]).stdout.strip()
        demo.output(page)
        demo.expect(page == "server", "the page is from the server behind br_lvs")
        demo.command("client", f"pointsman trace {service}")
        traced = tracing.trace(lab, dual_homed.VIP, dual_homed.PORT)
        hop_table.show(traced.trace, lab.topology.hosts_by_mac(), demo.console)
        demo.expect(traced.trace.ok, "direct routing, as in the document's six lines of tcpdump")


CHAPTERS: dict[str, tuple[Callable[[ScriptedDemo, Lab], None], ...]] = {
    "ha-pair": (_listing_and_requests, _web_server_fails, _master_fails, _master_returns),
    "dual-homed": (_dual_homed,),
}
"""Chapters of the demo by topology. Some topologies have none."""
