"""`pointsman lab demo`: both documents' clusters, from the first packet to the last pin in two minutes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from pointsman.control import paths
from pointsman.control.client import ControlError, request
from pointsman.control.messages import Reply, Request, StatusReply, StatusRequest, TableReply, TableRequest
from pointsman.lab import arp, mailsink, namespace, processes, tracing, traffic, waiting
from pointsman.lab.errors import LabError
from pointsman.lab.lab import PREFIX, Lab
from pointsman.lab.scripted_demo import ScriptedDemo
from pointsman.lab.topologies import dual_homed, ha_pair
from pointsman.trace import hop_table

VIP = ha_pair.VIP
REMOVAL_SECONDS = 25.0
"""delay_loop 6 + retry 3 x delay_before_retry 3, and some patience."""
RETRIES_SECONDS = 3 * 3.0
RETURN_SECONDS = 15.0
FIRST_CHECK_SECONDS = 10.0
"""A check comes at a random moment of the first delay_loop; a failure of the very first has no retries."""
FAILOVER_SECONDS = 4.5
"""3 x advert_int + skew (256 - 200) / 256, and some patience."""
HANDOVER_SECONDS = 1.0
"""A planned stop says goodbye (priority 0): only the skew is waited for."""
NO_SILENCE_SECONDS = 0.5


def tell(console: Console, topologies: Sequence[str], xdp_mode: str = "auto", prefix: str = PREFIX) -> bool:
    """Tell the story of these topologies; True when every expectation held.

    Leaves nothing of its own in any case. Raises LabError before the first step when a lab is up already.
    """
    story = ScriptedDemo(console)
    labs = [Lab(name, prefix=prefix, xdp_mode=xdp_mode, progress=story.tell) for name in topologies]
    for lab in labs:
        lab.require_free()
    for topology, lab in zip(topologies, labs, strict=True):
        try:
            with story.step(f"{topology}: {lab.topology.summary}"):
                lab.up()
                inodes = {node.inode for node in lab.nodes.values()}
                story.expect(True, f"{len(lab.nodes)} hosts are up")
            for chapter in CHAPTERS[topology]:
                chapter(story, lab)
        except LabError:
            _clean_up(lab)
            continue  # its step has said so; the other topology has a story of its own
        except BaseException:
            _clean_up(lab)
            raise
        with story.step(f"{topology} is taken down"):
            lab.down()
            _expect_nothing_left(story, lab, inodes)
    return story.end()


def _clean_up(lab: Lab) -> None:
    """Take away what was built here, and only that: somebody else's lab may have come in between."""
    if lab.claimed:
        lab.down()


def _expect_nothing_left(story: ScriptedDemo, lab: Lab, inodes: set[int]) -> None:
    left = [node.namespace for node in lab.nodes.values() if namespace.exists(node.namespace)]
    left += list(processes.living_in(inodes).values())
    for inode in inodes:
        left += [str(place) for place in paths.places_of(inode)]
    left += [str(lab.directory)] if lab.directory.exists() else []
    story.expect(not left, f"left behind: {', '.join(left) or 'no namespace, no process, no pin, no file'}")


def _show_listing(story: ScriptedDemo, lab: Lab, director: str) -> str:
    story.command(director, "pointsman ipvsadm -Ln")
    text = lab.node(director).run(["pointsman", "ipvsadm", "-Ln"]).stdout
    story.output(text)
    return text


def _asked(lab: Lab, director: str, message: Request) -> Reply:
    """The director's reply to a message on its control socket."""
    try:
        return request(message, lab.node(director).run_directory / "control.sock")
    except ControlError as error:
        raise LabError(f"{director}: {error}") from error


def _real_servers(lab: Lab, director: str, port: int = 80) -> set[str]:
    """Addresses of the real servers in force for the VIP's port."""
    reply = _asked(lab, director, TableRequest())
    if not isinstance(reply, TableReply):
        raise LabError(f"{director}: {reply}")
    entries = [entry for entry in reply.table if entry.service.key.port == port]
    return {str(server.key.address) for entry in entries for server in entry.servers}


def _all_checked(lab: Lab, director: str) -> bool:
    """Whether the director's checks of every real server have succeeded."""
    reply = _asked(lab, director, StatusRequest())
    if not isinstance(reply, StatusReply):
        raise LabError(f"{director}: {reply}")
    return all(server.up for service in reply.status.services for server in service.servers)


def _ask_all(lab: Lab, rounds: int) -> dict[str, Counter[str]]:
    """Requests from every client address in turn: who served whom, and how often."""
    served: dict[str, Counter[str]] = {source: Counter() for source in ha_pair.CLIENT_ADDRESSES}
    for _ in range(rounds):
        for source, answers in served.items():
            try:
                answers[traffic.fetch(lab.node("client"), VIP, 80, source)] += 1
            except OSError as error:
                answers[f"no answer ({error})"] += 1
    return served


def _expect_one_voice(story: ScriptedDemo, lab: Lab, director: str) -> None:
    """Direct routing stands and falls with this: the web servers bear the VIP, too, and must keep silent."""
    hosts = lab.topology.hosts_by_mac()
    voices = sorted(hosts.get(mac, mac) for mac in arp.who_has(lab.node("router"), "ens224", VIP))
    story.expect(voices == [director], f"ARP who-has {VIP} is answered by: {', '.join(voices) or 'nobody'}")


def _show_served(story: ScriptedDemo, served: dict[str, Counter[str]]) -> None:
    story.command("client", f"curl --interface {ha_pair.CLIENT_ADDRESSES[0]} http://{VIP}/   # and so on")
    for source, answers in served.items():
        story.output(f"{source}  " + ", ".join(f"{count} x {name}" for name, count in answers.items()))


def _expect_mail(story: ScriptedDemo, lab: Lab, what: str, *words: str) -> None:
    """A mail whose subject holds all these words."""

    def arrived() -> str:
        subjects = [str(mail["Subject"]) for mail in mailsink.mails(lab.mail_directory)]
        return next((subject for subject in subjects if all(word in subject for word in words)), "")

    try:
        subject = waiting.until(arrived, 5, "the mail comes")
    except LabError:
        story.expect(False, f"no mail about {what} came within 5 s")
    else:
        story.expect(True, f"mail: {subject}")


def _listing_and_requests(story: ScriptedDemo, lab: Lab) -> None:
    with story.step("the table of the master, before any request"):
        text = _show_listing(story, lab, "lb-01")
        story.expect(lab.masters() == ["lb-01"], f"lb-01 is master and alone holds {VIP}")
        _expect_one_voice(story, lab, "lb-01")
        whole = all(f"TCP  {VIP}:{port} rr persistent 600" in text for port in (80, 443))
        story.expect(
            whole and text.count("Route   1      0          0") == 4,
            "two services, two real servers each, no connection",
        )
        for director in ha_pair.DIRECTORS:
            waiting.until(
                partial(_all_checked, lab, director), FIRST_CHECK_SECONDS, f"{director} has checked all"
            )
        story.expect(True, "both directors have checked every real server once (within delay_loop, 6 s)")
    with story.step("20 requests from 4 clients beyond the router"):
        served = _ask_all(lab, 5)
        _show_served(story, served)
        servers = {name for answers in served.values() for name in answers}
        story.expect(servers == set(ha_pair.WEB_SERVERS), "all 20 were answered, by both web servers")
        sticks = all(
            len(set(answers) & set(ha_pair.WEB_SERVERS)) == 1 == len(answers) for answers in served.values()
        )
        story.expect(sticks, "persistence holds: each client stays with one server")
        _show_listing(story, lab, "lb-01")


def _web_server_dies(story: ScriptedDemo, lab: Lab) -> None:
    name, address = "web-02", ha_pair.WEB_SERVERS["web-02"]
    with story.step(f"the web service on {name} dies"):
        story.command(name, "kill -9 $(pidof nginx)")
        died = time.monotonic()
        lab.node(name).kill()
        waiting.until(
            lambda: address not in _real_servers(lab, "lb-01"), REMOVAL_SECONDS, f"{address} leaves the table"
        )
        story.expect(
            time.monotonic() - died > RETRIES_SECONDS,
            f"{name} is out of the table, after its retries (3, one every 3 s)",
        )
        served = _ask_all(lab, 1)
        _show_served(story, served)
        alone = all(set(answers) == {"web-01"} for answers in served.values())
        story.expect(alone, "web-01 serves everybody, also the clients that had stuck to web-02")
        _expect_mail(story, lab, "the dead server", "lb-01", address, "DOWN")
    with story.step(f"{name} comes back"):
        story.command(name, "nginx")
        lab.start_web_server(name)
        waiting.until(lambda: address in _real_servers(lab, "lb-01"), RETURN_SECONDS, f"{address} is back")
        story.expect(True, f"{name} is back in the table with its next check")
        _expect_mail(story, lab, "its return", "lb-01", address, "UP")


def _master_dies(story: ScriptedDemo, lab: Lab) -> None:
    with story.step("the master dies: every process of lb-01 killed, its cable pulled"):
        client = lab.node("client")
        story.tell(f"client: a new connection to {VIP}:80 every 10 ms")
        with traffic.Prober(client, VIP, 80) as prober:
            waiting.until(lambda: prober.answered_since(0), 5, "the probe is answered")
            story.command("lb-01", "kill -9 -1; ip link set ens224 down")
            killed = time.monotonic()
            lab.node("lb-01").power_off()
            waiting.until(lambda: lab.masters() == ["lb-02"], 10, f"lb-02 holds {VIP}")
            story.expect(True, f"lb-02 is master and holds {VIP}")
            moved = time.monotonic()
            waiting.until(lambda: prober.answered_since(moved), 5, "clients are served again")
        silence = prober.longest_silence()
        _expect_one_voice(story, lab, "lb-02")
        story.expect(
            silence < FAILOVER_SECONDS,
            f"the client saw nothing for {silence:.2f} s; lb-02 held the VIP after {moved - killed:.2f} s "
            "(VRRP waits 3 adverts of 1 s + 0.22 s)",
        )
        served = _ask_all(lab, 1)
        _show_served(story, served)
        story.expect(
            all(set(answers) <= set(ha_pair.WEB_SERVERS) for answers in served.values()),
            "every client is served",
        )
        _expect_mail(story, lab, "the new master", "lb-02", "MASTER")


def _master_returns(story: ScriptedDemo, lab: Lab) -> None:
    client = lab.node("client")
    with story.step("lb-01 comes back"):
        with traffic.Prober(client, VIP, 80) as prober:
            story.command("lb-01", "ip link set ens224 up; pointsman run -f lb-01.conf")
            lab.node("lb-01").power_on()
            lab.start_director("lb-01")
            time.sleep(FAILOVER_SECONDS)  # longer than it would take it to become master
        silence = prober.longest_silence()
        story.expect(lab.masters() == ["lb-02"], "lb-02 stays master: both have priority 200, nothing flaps")
        story.expect(
            silence < NO_SILENCE_SECONDS,
            f"clients were served all the time (longest gap {silence * 1000:.0f} ms)",
        )
    with story.step("lb-02 is stopped as planned"):
        with traffic.Prober(client, VIP, 80) as prober:
            waiting.until(lambda: prober.answered_since(0), 5, "the probe is answered")
            story.command("lb-02", f"kill -TERM {lab.director_pid('lb-02')}")
            lab.stop_director("lb-02")
            lab.wait_for_master("lb-01")
            moved = time.monotonic()
            waiting.until(lambda: prober.answered_since(moved), 5, "clients are served again")
        silence = prober.longest_silence()
        story.expect(
            silence < HANDOVER_SECONDS, f"lb-01 took over; the client saw nothing for {silence:.2f} s"
        )


def _dual_homed(story: ScriptedDemo, lab: Lab) -> None:
    service = f"{dual_homed.VIP}:{dual_homed.PORT}"
    with story.step("the second document's experiment, hop by hop"):
        _show_listing(story, lab, "lvs")
        story.command("client", f"curl http://{service}/")
        page = lab.node("client").run(["curl", "-sS", "--max-time", "5", f"http://{service}/"]).stdout.strip()
        story.output(page)
        story.expect(page == "server", "the page came from the server behind br_lvs")
        story.command("client", f"pointsman trace {service}")
        traced = tracing.trace(lab, dual_homed.VIP, dual_homed.PORT)
        hop_table.show(traced.trace, lab.topology.hosts_by_mac(), story.console)
        story.expect(traced.trace.ok, "direct routing, as in the document's six lines of tcpdump")


CHAPTERS: dict[str, tuple[Callable[[ScriptedDemo, Lab], None], ...]] = {
    "ha-pair": (_listing_and_requests, _web_server_dies, _master_dies, _master_returns),
    "dual-homed": (_dual_homed,),
}
"""What is told about a topology; there are topologies without a story."""
