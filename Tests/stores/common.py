"""What both stores are tried with: the suites, and what fails under way. Each test gets the world of its store: `w.server`,
`w.programs`, `w.config(**more)`, `w.store(**more)`, `w.password_text`."""

import random
import time

from harness import DEADLINE_GRACE
from servers import Proxy
from store_abi import CANCELLED, DENIED, FAILED, OK, RETRY_LATER, TOPIC, names, number, status_of, text


def refused_with(w, sentence, **more):
    """A server that is not taken: never DENIED, which would tell a member that it is a zombie; the log says why, once, and
    no secret."""
    with w.store(**more) as refused:
        deadline = time.monotonic() + 10
        while sentence not in refused.log():
            assert time.monotonic() < deadline, refused.log()
            time.sleep(0.02)
        assert status_of(lambda: refused.commit("g", 1, [(0, 1)])) == RETRY_LATER
        assert w.password_text not in refused.log()
        assert len(refused.lines) <= 4, refused.log()


def broken(noise, request):
    """A message of which some bytes are others, missing, or there twice."""
    raw = bytearray(request)
    for _ in range(noise.randint(1, 4)):
        at = noise.randrange(len(raw) + 1)
        match noise.randrange(4):
            case 0:
                raw[at:at + 1] = bytes([noise.choice((0, 1, 127, 128, 255, noise.randrange(256)))])
            case 1:
                del raw[at:at + noise.randint(1, 8)]
            case 2:
                raw[at:at] = raw[at:at + noise.randint(1, 40)]
            case _:
                raw[at:at] = b"\xff" * noise.randint(1, 10)
    return bytes(raw)


def add(test, w):
    @test
    def passes_the_suite_of_every_store_in_a_real_child():
        return w.programs.suite(w.config())

    @test
    def passes_the_conformance_kit():
        return w.programs.kit_passes(w.config())

    @test
    def the_kit_says_that_no_server_answers():
        w.programs.kit_without_server()

    @test
    def kill_9_of_the_server_loses_nothing_that_was_acknowledged():
        for n in range(3):
            # The member ends while the server is down: nothing later hides what is missing.
            with w.programs.committing(w.config(), f"killed-{n}", "--pause", "0") as member:
                member.wait(50)
                w.server.kill()
                member.wait_failure()
            w.server.start()
            w.programs.verify(w.config(), f"killed-{n}", member)
        with w.programs.committing(w.config(), "goes-on") as member:
            member.wait(20)
            w.server.kill()
            member.wait_failure()
            w.server.start()
            member.wait(20)
        w.programs.verify(w.config(), "goes-on", member)

    @test
    def a_cut_network_loses_nothing_and_heals():
        proxy = Proxy(w.server.port)
        with w.programs.committing(w.config(port=proxy.port), "cut") as member:
            for _ in range(3):
                member.wait(30)
                proxy.drop()
            member.wait(30)
            proxy.set("cut")
            member.wait_failure()
            proxy.set("pass")
            member.wait(30)
            # The worst cut: nobody hears of it.
            proxy.set("hold")
            member.wait_failure()
            proxy.set("pass")
            member.wait(30)
        proxy.close()
        w.programs.verify(w.config(), "cut", member)

    @test
    def calls_end_at_their_deadlines_when_answers_are_slow():
        proxy = Proxy(w.server.port, delay=0.4)
        with w.store(port=proxy.port, connect_timeout_ms=20000) as slow:
            slow.until_up()
            slow.commit("slow", 1, [(0, 1)])
            proxy.set("slow")
            start = time.monotonic()
            assert status_of(lambda: slow.commit("slow", 1, [(0, 2)], seconds=0.2)) == CANCELLED
            assert time.monotonic() - start < 0.2 + DEADLINE_GRACE
            slow.commit("slow", 1, [(0, 3)])
            assert slow.fetch("slow") == {0: 3}
            # Cancelled: it ends at once, and what was sent may have happened; the same again does no harm.
            call = slow.begin("commit", slow.commit_request("slow", 1, [(0, 4)]))
            slow.table.cancel(slow.self, call)
            start = time.monotonic()
            assert status_of(lambda: slow.wait(call)) == CANCELLED and time.monotonic() - start < DEADLINE_GRACE
            slow.commit("slow", 1, [(0, 4)])
            assert slow.fetch("slow") == {0: 4}
        proxy.close()

    @test
    def a_commit_that_was_under_way_is_acknowledged_after_a_reconnect():
        proxy = Proxy(w.server.port)
        with w.store(port=proxy.port) as under_way:
            under_way.until_up()
            proxy.set("hold")
            calls = [under_way.begin("commit", under_way.commit_request("under-way", 1, [(0, n)]), 10) for n in range(1, 20)]
            time.sleep(0.1)
            proxy.drop()
            proxy.set("pass")
            for call in calls:
                under_way.wait(call)
            assert under_way.fetch("under-way") == {0: 19}
        proxy.close()

    @test
    def a_store_that_is_down_says_so_at_once():
        with w.store(port=1) as nowhere:
            time.sleep(0.3)
            start = time.monotonic()
            assert status_of(lambda: nowhere.commit("g", 1, [(0, 1)])) == RETRY_LATER
            assert time.monotonic() - start < DEADLINE_GRACE
            assert "Connection refused" in nowhere.log()

    @test
    def a_name_that_nobody_knows_holds_up_nothing():
        with w.store(host="nobody.invalid", connect_timeout_ms=500) as lost:
            start = time.monotonic()
            assert status_of(lambda: lost.commit("g", 1, [(0, 1)], seconds=0.3)) in (RETRY_LATER, CANCELLED)
            assert time.monotonic() - start < 0.3 + DEADLINE_GRACE
            # By the name server, or by our patience where there is none.
            while not ("cannot be resolved" in lost.log() or "did not answer in time" in lost.log()):
                assert time.monotonic() - start < 10, lost.log()
                time.sleep(0.02)
            assert status_of(lambda: lost.fetch("g")) == RETRY_LATER
            start = time.monotonic()
        assert time.monotonic() - start < 1

    @test
    def no_request_however_broken_hurts_it():
        noise = random.Random(11)
        with w.store() as fooled:
            fooled.until_up()
            fooled.tenant = "fuzz"
            named = text(1, "fuzz") + text(2, "g")
            good = [("commit", fooled.commit_request("g", 1, [(p, p) for p in range(4)], metadata="note", ms=1)),
                    ("fetch", named + names([0, 1, 2])), ("fetch", named + text(4, f"1 {TOPIC} g") + number(5, 10)),
                    ("scan", text(1, "fuzz") + text(2, f"1 {TOPIC} g") + number(3, 10)), ("remove", named + names([0, 1]))]
            for _ in range(8):
                calls = []
                for _ in range(400):
                    what, request = noise.choice(good)
                    calls.append(fooled.begin(what, broken(noise, request), 10))
                for call in calls:
                    assert status_of(lambda call=call: fooled.wait(call)) in (OK, FAILED, DENIED, RETRY_LATER)
            fooled.commit("g", 2**31 - 1, [(0, 2**62)])
            assert fooled.fetch("g", [0]) == {0: 2**62}

    @test
    def another_authority_is_refused():
        refused_with(w, w.bad_certificate, ca_file=str(w.other_authority.file))
