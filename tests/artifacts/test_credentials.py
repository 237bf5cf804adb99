from __future__ import annotations

import time

import pytest

from stanchion.artifacts import Document, credentials_in, secret_issues
from tests.artifacts.secret_corpus import LOOK_ALIKES, PLANTED, made
from tests.docs.fences import fences


def look(source: str):
    return secret_issues(Document(path="planted.yaml", source=source))


def test_the_corpus_is_large_enough() -> None:
    assert len(PLANTED) >= 40
    assert len(LOOK_ALIKES) >= 40


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_credential_is_found_at_its_line_and_never_told(name: str) -> None:
    text, value = PLANTED[name]
    issues = look(f"policy: planted\n{text}\n")
    assert len(issues) == 1, [issue.message for issue in issues]
    (issue,) = issues
    assert (issue.code, issue.file) == ("artifact.secret", "planted.yaml")
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if value in line), 0)
    assert first <= issue.line - 2 <= first or "folded" in name, (issue.line, first)
    assert 1 <= issue.column <= len(lines[issue.line - 2]) + 1
    said = f"{issue.message} {issue.hint} {issue.pointer} {issue.code}"
    assert value not in said
    assert not any(part in said for part in (value[i : i + 8] for i in range(len(value) - 7)))
    assert "secret://" in issue.hint
    assert "0600" in issue.hint


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_one_passes(name: str) -> None:
    assert look(f"policy: harmless\n{LOOK_ALIKES[name]}\n") == []


PLANTED_IN_DOCS = "pl4nted-" + "horse"


def test_the_repository_gives_no_false_find(repo) -> None:
    paths = [*repo.glob("examples/**/*.yaml"), *repo.glob("tests/blueprints/fixtures/*.yaml")]
    sources = {str(path): path.read_text() for path in paths}
    for page in [repo / "README.md", *repo.glob("docs/**/*.md")]:
        sources[str(page)] = page.read_text()
        for number, fence in enumerate(fences(page.read_text())):
            sources[f"{page}#{number}"] = fence.text
    assert len(paths) >= 7
    assert len(sources) > 50
    # One page plants one, to show that it is refused.
    shown = [name for name, source in sources.items() if PLANTED_IN_DOCS in source]
    assert {name.partition("#")[0] for name in shown} == {str(repo / "docs/howto/review-changes.md")}
    assert look(sources[shown[0]])
    found = {
        name: [(i.line, i.message) for i in look(source.replace(PLANTED_IN_DOCS, "${input.password}"))]
        for name, source in sources.items()
    }
    assert {name: issues for name, issues in found.items() if issues} == {}


PASSWORD = "sword" + "fish"


@pytest.mark.parametrize(
    "source",
    [
        f"password: {PASSWORD}  # stanchion: not-a-secret the name of a film",
        f"# stanchion: not-a-secret the name of a film\npassword: {PASSWORD}",
        f"# stanchion: not-a-secret the name of a film\n# really\npassword: {PASSWORD}",
        f"password: |  # stanchion: not-a-secret the name of a film\n  {PASSWORD}",
    ],
)
def test_a_false_positive_is_accepted_in_place_with_its_reason(source: str) -> None:
    document = Document(path="x.yaml", source=f"policy: x\n{source}\n")
    assert secret_issues(document) == []
    (found,) = credentials_in(document)
    assert found.accepted == "the name of a film"


@pytest.mark.parametrize(
    "source",
    [
        f"password: {PASSWORD}  # stanchion: not-a-secret",
        f"password: {PASSWORD}  # stanchion: not-a-secret no",
        f"password: {PASSWORD}\n# stanchion: not-a-secret the name of a film",
        f"# stanchion: not-a-secret the name of a film\nother: 1\npassword: {PASSWORD}",
        f"# stanchion: not-a-secret the name of a film\nother: 1\n\npassword: {PASSWORD}",
    ],
)
def test_a_marker_without_a_reason_or_elsewhere_accepts_nothing(source: str) -> None:
    assert len(look(f"policy: x\n{source}\n")) == 1


def test_several_are_told_at_their_own_places() -> None:
    source = f"a:\n  password: {PASSWORD}\n  list: [1, 2]\nb: {{token: {made(30)}, secret: {PASSWORD}}}\n"
    assert [(i.line, i.column) for i in look(source)] == [(2, 13), (4, 12), (4, 52)]
    assert [i.pointer for i in look(source)] == ["/a/password", "/b/token", "/b/secret"]


@pytest.mark.parametrize(
    "unit",
    ["a", "eyJ", "password", "password=", "sk-", "a://b", "-----BEGIN ", "# stanchion: not-a-secret because so\n", "bearer ", "x: password: q1 ", "a-", "\n#"],
)  # fmt: skip
def test_a_hostile_text_takes_no_longer_than_a_long_one(unit: str) -> None:
    size = 300_000
    begun = time.perf_counter()
    look("x: '" + (unit * (size // len(unit)))[:size])
    assert time.perf_counter() - begun < 5
