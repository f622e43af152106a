"""A live topic's partitioner: compared, changed, rolled back."""

import signal
import subprocess

import pytest


@pytest.fixture
def keyed(skein, topic):
    """A topic with 300 keyed records."""
    skein.ok("produce", topic, "--key-separator", ":", input="".join(f"k{n}:v{n}\n" for n in range(300)))
    return topic


def partitioner(skein, *arguments, **options):
    return skein.run("topic", "partitioner", *arguments, **options)


def test_diff_changes_nothing(skein, keyed):
    found = partitioner(skein, "diff", keyed, "sticky", "-o", "json").json
    assert found["sampled"] == 300 and found["moved"] == 300 and found["moved_share"] == 1
    assert sum(found["before"]) == 300 and sum(found["after"]) == 300 and len(found["before"]) == 3
    assert partitioner(skein, "diff", keyed, "murmur2", "-o", "json").json["moved"] == 0
    text = partitioner(skein, "diff", keyed, "sticky", "--sample", "100").out
    assert text.startswith("100.0% of ") and "RECORDS THEN" in text
    assert skein.ok("topic", "describe", keyed, "-o", "json").json["generation"] == 1


def test_a_change_without_a_fence_asks_when_keys_move(skein, keyed):
    refused = partitioner(skein, "set", keyed, "sticky")
    assert refused.code == 1 and refused.out == "" and "REORDER_NOT_ACCEPTED" in refused.err
    assert "300 of 300" in refused.err and "--fence" in refused.err and "--accept-reorder" in refused.err
    assert skein.ok("topic", "describe", keyed, "-o", "json").json["generation"] == 1
    assert partitioner(skein, "set", keyed, "sticky", "--accept-reorder").code == 0


def test_steps_on_stderr_result_on_stdout_and_the_generations(skein, keyed):
    done = partitioner(skein, "set", keyed, "sticky", "--fence", "--watch", "200ms", "-o", "json")
    assert done.code == 0, done
    steps = [line.split(",")[0].split()[0] for line in done.err.splitlines()]
    assert steps == ["prepare", "fenced", "commit", "flipped", "drained", "watching", "done"], done.err
    result = done.json
    assert result["generation"] == 2 and result["phase"] == "done" and result["rolled_back_to"] is None
    assert result["pause_us"] > 0 and sum(result["cuts"]) == 300
    back = partitioner(skein, "rollback", keyed, "--fence", "--watch", "100ms", "-o", "json").json
    assert back["generation"] == 3
    described = skein.ok("topic", "describe", keyed, "-o", "json").json
    assert described["partitioner"] == "murmur2" and described["broker_assigns"] is False
    assert [(g["generation"], g["partitioner"], g["fenced"], g["rolls_back_to"]) for g in described["generations"]] == [
        (1, "murmur2", False, None), (2, "sticky", True, None), (3, "murmur2", True, 1)]
    assert described["generations"][1]["cuts"] == result["cuts"]
    assert "GENERATION" in skein.ok("topic", "describe", keyed).out and "back to 1" in skein.ok("topic", "describe", keyed).out


def test_without_another_one_there_is_no_way_back(skein, topic):
    refused = partitioner(skein, "rollback", topic)
    assert refused.code == 1 and "NO_EARLIER_GENERATION" in refused.err


def test_an_interrupt_after_the_commit_leaves_it_running(skein, keyed):
    process = subprocess.Popen(
        [skein.program, "topic", "partitioner", "set", keyed, "round-robin", "--accept-reorder", "--watch", "1h"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=skein.environment, cwd=skein.home)
    for line in process.stderr:
        if line.startswith("watching"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "is at generation 2" in out
    assert "generation 2 is committed" in err and "describe" in err
    # It is: the watch goes on, so another change of it is held against it or takes its place.
    assert skein.ok("topic", "describe", keyed, "-o", "json").json["partitioner"] == "round-robin"


def test_it_does_not_wait_when_it_is_told_so(skein, keyed):
    done = partitioner(skein, "set", keyed, "sticky", "--fence", "--watch", "1h", "--no-wait", "-o", "json")
    assert done.code == 0 and done.json["phase"] == "drained" and done.json["generation"] == 2


def test_the_steps_share_a_line_of_a_terminal(skein, keyed):
    seen = skein.terminal(
        "topic", "partitioner", "set", keyed, "sticky", "--fence", "--watch", "1h", until=b"Ctrl-C leaves it running")
    line = next(line for line in seen.decode().splitlines() if "prepare" in line)
    assert " · fenced · commit generation 2 · flipped 1/1 in " in line and " · drained · watching" in line


@pytest.mark.parametrize("arguments, says", [
    (["nope"], "murmur2, sticky, round-robin"),
    (["com.acme.none@1.0.0"], "PLUGIN_NOT_FOUND"),
    (["sticky", "--weights", "1,2"], "weights"),
    (["sticky", "--config", '{"a":1}'], "config"),
])
def test_the_broker_says_what_is_wrong(skein, topic, arguments, says):
    for verb in ("diff", "set"):
        result = partitioner(skein, verb, topic, *arguments)
        assert result.code == 1 and result.out == "" and says in result.err, result


@pytest.mark.parametrize("arguments, says", [
    (["--config", "[1]"], "not a JSON object"),
    (["--config", "@/nowhere"], "cannot read the file /nowhere"),
    (["--weights", "1,x"], "one number per partition"),
    (["--fallback", "murmurr2"], "murmur2"),
    (["--watch", "5 minutes"], "--watch"),
    (["--watch", "25h"], "--watch"),
])
def test_wrong_use(skein, topic, arguments, says):
    result = partitioner(skein, "set", topic, "sticky", *arguments)
    assert result.code == 2 and says in result.err, result


def test_a_config_from_a_file_goes_to_the_broker(skein, topic):
    (skein.home / "config.json").write_text('{"a": 1}')
    result = partitioner(skein, "set", topic, "sticky", "--config", "@config.json")
    assert result.code == 1 and "a built-in takes no configuration" in result.err


def test_create_with_a_partitioner(skein):
    skein.ok("topic", "create", "made-sticky", "-p", "2", "--partitioner", "sticky")
    assert skein.ok("topic", "describe", "made-sticky", "-o", "json").json["partitioner"] == "sticky"
    refused = skein.run("topic", "create", "made-plugin", "--partitioner", "com.acme.none@1.0.0", "--partitioner-config", "{}")
    assert refused.code == 1 and "PLUGIN_NOT_FOUND" in refused.err
    assert skein.run("topic", "describe", "made-plugin").code == 1
    wrong = skein.run("topic", "create", "made-wrong", "--partitioner-config", "x")
    assert wrong.code == 2 and "--partitioner-config" in wrong.err
