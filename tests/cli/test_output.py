"""How things look: tables on a narrow terminal, facts in words."""

from __future__ import annotations

from stanchion.cli import output

UUID = "01a2013e-807a-7075-b30b-992e55da786e"
TIME = "2026-11-22 03:13:23Z"
DIGEST = "sha256:" + "0a" * 32


def _width(grid: list[list[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in grid) - 2


def test_a_table_that_fits_keeps_everything_but_empty_columns():
    grid = [["ID", UUID], ["EMPTY", ""], ["AT", TIME]]
    assert output.fitted(grid, [False] * 3, 80) == [["ID", UUID], ["AT", TIME]]


def test_what_is_shortened_first_is_what_is_read_least():
    grid = [["ID", UUID], ["DIGEST", DIGEST], ["AT", TIME]]
    assert output.fitted(grid, [False] * 3, 80) == [["ID", UUID], ["DIGEST", "sha256:0a0a0a0a"], ["AT", TIME]]
    assert output.fitted(grid, [False] * 3, 60) == [["ID", "992e55da786e"], ["DIGEST", "sha256:0a0a0a0a"], ["AT", "11-22 03:13"]]  # fmt: skip
    assert output.fitted(grid, [True, False, False], 60)[0] == ["ID", UUID]


def test_the_widest_columns_give_way_until_it_fits():
    grid = [["NAME", "n" * 30], ["TEXT", "t" * 90], ["KIND", "k" * 9]]
    fitted = output.fitted(grid, [False] * 3, 60)
    assert _width(fitted) <= 60
    assert [len(column[1]) for column in fitted] == [24, 23, 9]
    assert all(column[1].endswith("…") for column in fitted[:2])
    assert _width(output.fitted(grid, [False] * 3, 10)) == 12 + 2 + 12 + 2 + 9


def test_facts_are_words(capsys):
    shown = output.columns(
        "id", "items", "error", "may decide=may_decide", "scopes",
        items=output.counted, error=output.failure, may_decide=output.deciders,
    )  # fmt: skip
    item = {
        "id": "x",
        "items": {"total": 131, "succeeded": 112, "failed": 0, "waiting": 19},
        "error": {"code": "a.b", "message": "No.", "hint": "Try.", "step": "s"},
        "may_decide": {"roles": ["approver"], "principals": ["ada"]},
        "scopes": [],
    }
    output.write_one("table", item, shown)
    assert capsys.readouterr().out.splitlines() == [
        "id          x",
        "items       131: 112 succeeded, 19 waiting",
        "error       No. Try. (a.b, step s)",
        "may decide  role approver, principal ada",
    ]
    assert output.counted({"total": 0}) == "0"


def test_long_values_are_broken_where_they_must_be(capsys):
    item = {
        "text": "one\ntwo\n",
        "list": ["word"] * 30,
        "data": {"short": [1, 2], "long": "x" * 90},
    }
    output.write_one("table", item, output.columns("text", "list", "data"))
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["text  one", "      two"]
    assert out[2].startswith("list  word, word")
    assert max(map(len, out[2:4])) <= 6 + 90
    assert out[4:] == ["data  {", '        "short": [1, 2],', f'        "long": "{"x" * 90}"', "      }"]


def test_a_column_of_what_happens_seldom_is_there_only_if_it_happened(capsys):
    shown = output.columns("id", "simulated", simulated=output.some)
    output.write_table([{"id": "a", "simulated": 0}, {"id": "b", "simulated": False}], shown)
    assert capsys.readouterr().out.splitlines() == ["ID", "a", "b"]
    output.write_table(
        [{"id": "a", "simulated": 0}, {"id": "b", "simulated": 3}, {"id": "c", "simulated": True}], shown
    )
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["ID", "SIMULATED"],
        ["a"],
        ["b", "3"],
        ["c", "yes"],
    ]
    output.write_one("table", {"id": "a", "simulated": 0}, shown)
    assert "simulated" not in capsys.readouterr().out
