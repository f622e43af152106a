"""What the program says without a broker: wrong words, contexts, catalogue, completion."""

import json
import subprocess

import pytest
import yaml

CONTEXT = "address: localhost:1\nca: ca.pem\ncertificate: c.pem\nkey: k.key\n"


@pytest.mark.parametrize("arguments, word", [
    (["tpoic", "list"], "topic"),
    (["topic", "lst"], "list"),
    (["topic", "creat", "x"], "create"),
    (["contxt"], "context"),
    (["topic", "list", "--otput", "json"], "--output"),
    (["topic", "list", "--output", "jsn"], "json"),
    (["--output", "jsn", "topic", "list"], "json"),
    (["produce", "t", "--compression", "zsdt"], "zstd"),
    (["produce", "t", "--format", "jason"], "json"),
    (["consume", "t", "--format", "key-vlaue"], "key-value"),
    (["consume", "t", "--from", "begining"], "beginning"),
    (["bench", "prodcue", "--topic", "t"], "produce"),
    (["completion", "zhs"], "zsh"),
    (["errors", "TOPIC_NOTFOUND"], "TOPIC_NOT_FOUND"),
    (["help", "topci"], "topic"),
])
def test_a_wrong_word_gets_the_nearest_one(alone, arguments, word):
    result = alone.run(*arguments)
    assert result.code == 2, result
    assert result.out == ""
    first = result.err.splitlines()[0]
    assert "id you mean" in first and word in first.split("id you mean")[1], result.err


def test_nothing_near_gets_no_suggestion(alone):
    result = alone.run("frobnicate")
    assert result.code == 2 and "did you mean" not in result.err and "topic" in result.err


@pytest.mark.parametrize("arguments", [
    ["consume", "t", "--template", "%z"], ["consume", "t", "--template", "%k", "--format", "json"],
    ["produce", "t", "--format", "json", "--key-separator", ":"], ["produce", "t", "--value", "x", "--file", "f"],
    ["produce", "t", "--keep-partitions"], ["topic", "tail", "t", "--grep", "("], ["topic", "tail", "t", "-n", "-1"],
    ["topic", "offsets", "t", "--at", "noon"], ["topic", "delete-records", "t", "--before", "5"],
    ["topic", "delete-records", "t", "--before", "soon"], ["topic", "describe", "t", "--interval", "0"],
    ["topic", "list", "--connect-timeout", "0"], ["context", "delete", "nowhere"], ["context", "show", "nowhere"],
    ["topic", "create", "t", "-p", "0"], ["topic", "create", "t", "--set", "novalue"],
    ["topic", "create", "t", "--set", "a=1", "--set", "a=2"],
])
def test_wrong_use_is_two_and_says_why(alone, arguments):
    (alone.home / "c.yaml").write_text(CONTEXT)
    result = alone.run(*arguments, SKEIN_CONTEXT=str(alone.home / "c.yaml"))
    assert result.code == 2, result
    assert result.out == "" and result.err.strip()


def test_contexts_live(alone):
    (alone.home / "c.yaml").write_text(CONTEXT)
    assert alone.run("context", "current").code == 1
    alone.ok("context", "set", "home", "--from", "c.yaml")
    alone.ok("context", "set", "home", "--address", "example:7600")  # the rest stays
    alone.ok("context", "use", "home")
    assert alone.ok("context", "current").out == "home\n"
    shown = alone.ok("context", "show", "-o", "json").json
    assert shown["address"] == "example:7600" and shown["ca"].endswith("/ca.pem")
    assert alone.ok("context", "list", "-o", "name").out == "home\n"
    wrong = alone.run("context", "use", "hoem")
    assert wrong.code == 2 and "did you mean `home`" in wrong.err
    alone.ok("context", "delete", "home")
    assert alone.ok("context", "list", "-o", "json").json == []
    assert alone.run("context", "current").code == 1


def test_the_catalogue_is_explained(alone):
    one = alone.ok("errors", "topic-not-found", "-o", "json").json
    assert one["code"] == "NOT_FOUND" and one["outcome"] == "definite" and one["retriable"] is False
    names = alone.ok("errors", "-o", "name").lines
    assert "DISK_FULL" in names and len(names) == len(set(names)) > 30
    table = alone.ok("errors").lines
    assert len(table) == len(names) + 1


def test_yaml_is_the_same_value_as_json(alone):
    assert yaml.safe_load(alone.ok("errors", "-o", "yaml").out) == alone.ok("errors", "-o", "json").json


def test_an_unreachable_broker_is_four_and_every_address_is_named(alone, broker):
    result = alone.run(
        "topic", "list", "--context", broker.dev / "context.yaml", "--address", "localhost:1,127.0.0.1:2",
        "--connect-timeout", "2")
    assert result.code == 4 and result.out == ""
    assert "UNREACHABLE" in result.err and "localhost:1" in result.err and "127.0.0.1:2" in result.err
    assert "refused" in result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(alone, shell):
    script = alone.ok("completion", shell).out
    for word in ("topic", "delete-records", "consume", "follow"):
        assert word in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script.encode(), check=True)
