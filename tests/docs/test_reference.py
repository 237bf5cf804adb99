"""The reference is what the code says now, and every document it shows is one that would be published."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from docs.generator import REFERENCE, errors, pages, tables
from docs.generator.parts import deployment
from docs.generator.tables import Field

from stanchion.artifacts import Document
from tests.docs.fences import fences

_KINDS = {"blueprint": "blueprint", "config": "config", "connector": "connector", "flag": "flag", "policy": "policy"}


def test_pages_are_up_to_date(repo) -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, f"run `make docs`; out of date:\n{done.stdout}{done.stderr}"


def test_every_code_is_explained_and_every_explained_code_is_raised() -> None:
    assert errors.faults() == []


def test_a_missing_and_a_superfluous_explanation_are_found(monkeypatch) -> None:
    from docs.generator import error_texts

    sections = {**error_texts.SECTIONS, "Approvals": dict(error_texts.SECTIONS["Approvals"])}
    del sections["Approvals"]["approval.self"]
    sections["Approvals"]["approval.invented"] = ("", "")
    monkeypatch.setattr(errors, "SECTIONS", sections)
    assert errors.faults() == [
        "approval.self is raised and not explained",
        "approval.invented is explained and not raised",
    ]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("limit.rate", "yes"),
        ("db.unavailable", "yes"),
        ("request.timeout", "yes"),
        ("request.too_large", "no"),
        ("approval.decided", "no"),
        ("document.type", "no"),
        ("blueprint.unknown_parameter", "no"),
        ("adapter.busy", "yes"),
        ("adapter.not_http", "no"),
        ("adapter.status", "sometimes"),
    ],
)
def test_retryable_is_what_the_problem_says(code, said) -> None:
    assert errors.retryable(code) == said


# Parts whose problems are no answers of the HTTP API: they end a step, a command or a process.
_ELSEWHERE = ("adapter.", "cli.", "data.", "db.", "demo.", "fetch.", "process.", "tool.", "migration.")


def test_a_client_can_tell_from_the_status_what_to_repeat() -> None:
    from docs.generator.codes import collect
    from docs.generator.error_texts import KINDS, SECTIONS

    from stanchion.base import Kind
    from stanchion.http import problems

    kinds = {**{code: next(iter(found)) for code, found in collect().kinds.items()}, **KINDS}
    wrong = []
    for code in [name for section in SECTIONS.values() for name in section if not name.startswith(_ELSEWHERE)]:
        if kinds[code] != "document":
            again, kind = errors.retryable(code), Kind(kinds[code])
            final = kind is Kind.UNAVAILABLE and again == "no"
            status = problems._STATUS_BY_CODE.get(code, 502 if final else problems._STATUS[kind])
            if (again in {"yes", "sometimes"}) != (status in {408, 429, 503}):
                wrong.append((code, status, again))
    assert wrong == []


def test_every_option_of_the_command_line_is_on_its_page() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    common = page.partition("## Common options")[2].partition("\n## ")[0]
    for option in ("-o, --output", "--data", "--url", "--profile", "-h, --help"):
        assert f"`{option}" in common
    for section in page.split("\n## stanchion ")[1:]:
        assert "[Common options](#common-options): " in section, section[:40]


def test_a_field_without_words_stops_the_generator() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    with pytest.raises(SystemExit, match="nothing is said about b"):
        tables.fields(schema, {"a": Field("x", "y")}, "here")
    with pytest.raises(SystemExit, match="the schema has no c"):
        tables.fields(schema, {name: Field("x", "y") for name in "abc"}, "here")


def _documents(pages_shown):
    """Every document that the pages show, by kind and name."""
    found: dict[tuple[str, str], Document] = {}
    for page in pages_shown:
        for fence in fences(page.read_text(encoding="utf-8")):
            head = re.match(r"(\w+): ([a-z0-9-]+)\n", fence.text)
            if fence.language == "yaml" and head and head[1] in _KINDS:
                found[head[1], head[2]] = Document(path=f"{page.name}:{fence.line}", source=fence.text)
    return found


def _accepted(documents) -> None:
    """Every document is one that `apply` would take, connectors and policies before the Blueprints that name them."""
    bodies = {}
    for (kind, name), document in sorted(documents.items(), key=lambda item: item[0][0] == "blueprint"):
        parsed = deployment().kinds[kind].parse(document, lambda k, n: bodies.get((k, n)))
        assert not parsed.issues, [f"{i.file}:{i.line} {i.message}" for i in parsed.issues]
        bodies[kind, name] = parsed.body


def test_documents_of_the_reference_are_accepted() -> None:
    documents = _documents(sorted(REFERENCE.glob("*.md")))
    assert len(documents) >= 8
    _accepted(documents)


def test_the_blueprint_of_the_readme_fits_the_example(repo) -> None:
    documents = _documents([repo / "README.md"])
    assert list(documents) == [("blueprint", "close-case")]
    for path in sorted((repo / "examples/case-triage").glob("*.yaml")):
        source = path.read_text(encoding="utf-8")
        kind, name = re.search(r"^(blueprint|connector|policy): (.+)$", source, re.MULTILINE).groups()
        documents[kind, name] = Document(path=path.name, source=source)
    _accepted(documents)


def test_links_lead_somewhere(repo) -> None:
    broken = []
    for page in [repo / "README.md", *(repo / "docs").rglob("*.md"), repo / "examples/case-triage/README.md"]:
        if "_intro" in page.parts:
            continue
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            other = (page.parent / path).resolve() if path else page
            if not other.exists():
                broken.append(f"{page.relative_to(repo)}: {target}")
            elif anchor and other.suffix == ".md":
                titles = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.MULTILINE)
                if anchor not in {re.sub(r"[^\w -]", "", t.lower()).strip().replace(" ", "-") for t in titles}:
                    broken.append(f"{page.relative_to(repo)}: {target}")
    assert broken == []


def test_every_generated_page_says_so() -> None:
    for path, text in pages().items():
        if path.suffix == ".md":
            assert text.startswith("<!-- Generated by docs/generate.py"), path
