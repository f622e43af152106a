"""Where groups keep their offsets: shown, chosen, moved."""

from test_groups import fill, group, offsets, read_all  # noqa: F401  (a fixture among them)


def test_offsets_move_between_stores(skein, topic, group):
    stores = skein.ok("group", "stores", "-o", "json").json
    assert {"log", "sqlite"} <= {s["name"] for s in stores}
    assert [s["name"] for s in stores if s["default"]] == ["log"] and "NEW GROUPS" in skein.ok("group", "stores").out
    fill(skein, topic)
    read_all(skein, topic, group)
    moved = skein.ok("group", "move-offsets", group, "--to", "sqlite", "-o", "json")
    assert moved.json == {"group": group, "from": "log", "to": "sqlite", "offsets": 3} and "switched" in moved.err
    assert offsets(skein, group) == {0: 3, 1: 3, 2: 3}
    assert "in sqlite already" in skein.ok("group", "move-offsets", group, "--to", "sqlite").out
    assert skein.ok("group", "describe", group, "-o", "json").json["offset_store"] == "sqlite"
    late = skein.run("group", "choose-store", "log", "--group", group)
    assert late.code == 1 and "CONFLICT" in late.err
    wrong = skein.run("group", "move-offsets", group, "--to", "sqllite")
    assert wrong.code == 1 and "OFFSET_STORE_NOT_FOUND" in wrong.err and "id you mean `sqlite`" in wrong.err
    new = group + "-new"
    assert skein.ok("group", "choose-store", "sqlite", "--group", new, "-o", "json").json == {
        "store": "sqlite", "before": "log", "group": new}
    read_all(skein, topic, new)
    assert skein.ok("group", "describe", new, "-o", "json").json["offset_store"] == "sqlite"


def test_a_group_that_is_not_there_has_nothing_to_move(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    result = skein.run("group", "move-offsets", group + "q", "--to", "sqlite")
    assert result.code == 1 and "GROUP_NOT_FOUND" in result.err and f"id you mean `{group}`" in result.err


def test_the_tab_key_knows_stores(skein):
    assert {"log", "sqlite"} <= set(skein.tab("skein", "group", "choose-store", ""))
