"""What of a connector's document is refused at publish, and that the hint's line is the one to add."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stanchion.blueprints import ConfigIssue
from tests.tools.documents import parsed
from tests.tools.egress import corpus

HTTP = """
connector: registry
owner: casework
adapter: http
environment: local
base_url: {url}
resources:
  cases:
    key: case_id
    fields: {{case_id: {{type: string}}}}
    lookup: {{path: "/cases/{{key}}"}}
"""


def issues(source: str) -> tuple[ConfigIssue, ...]:
    return tuple(parsed(source.lstrip()).issues)


def document(url: str, more: str = "") -> str:
    quoted = yaml.safe_dump(url, default_style='"', width=10_000).strip()
    return HTTP.format(url=quoted) + more


@pytest.mark.parametrize("host", [host for host, found in corpus.HOSTS.items() if found])
def test_a_private_literal_is_refused_with_the_line_that_makes_it_right(host: str) -> None:
    source = document(f"http://{host}:8080/api")
    (issue,) = issues(source)
    assert (issue.code, issue.line) == ("connector.private_host", 5)
    never = corpus.HOSTS[host] in {"cloud metadata", "multicast", "broadcast", "unspecified"}
    if never:
        assert "no connector reaches" in issue.message
        listed = f"egress: {{private: [{yaml.safe_dump(host.strip('[]'), default_style=chr(34)).strip()}]}}"
        assert "connector.private_host" in {one.code for one in issues(f"{source}{listed}\n")}
        return
    assert f"of the class {corpus.HOSTS[host]}," in issue.message
    line = issue.hint.removeprefix("Add the line: ")
    assert line.startswith("egress: {private: [")
    left = issues(f"{source}{line}\n")
    # What carries a private address in a public coat needs both; then the hint says the other too.
    assert left == () or (carrying(host) and left[0].code == "connector.private_host")


def carrying(host: str) -> bool:
    return corpus.HOSTS[host] in {"NAT64", "6to4", "Teredo", "ISATAP", "IPv4-compatible", "IPv4-translated"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "api.localhost", "localhost.localdomain"])
def test_names_of_this_machine_are_refused_alike(host: str) -> None:
    source = document(f"http://{host}/")
    (issue,) = issues(source)
    assert issue.code == "connector.private_host"
    assert issues(f"{source}{issue.hint.removeprefix('Add the line: ')}\n") == ()


def test_where_there_is_a_list_the_hint_says_what_to_add_to_it() -> None:
    (issue,) = issues(document("http://10.1.2.3/", "egress: {private: [10.9.0.0/16]}\n"))
    assert issue.hint == "Add 10.1.2.3 to `egress.private`."
    assert issues(document("http://10.1.2.3/", "egress: {private: [10.9.0.0/16, 10.1.0.0/16]}\n")) == ()


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://{host}/" for host, found in corpus.HOSTS.items() if found is None and "\x00" not in host),
        *(url for url in corpus.URLS if url.startswith("http") and "\x00" not in url),
    ],
)
def test_a_url_with_two_readings_is_not_published(url: str) -> None:
    found = issues(document(url))
    assert {issue.code for issue in found} & {"connector.bad_base_url", "document.pattern", "connector.credential"}
    assert all(issue.line == 5 for issue in found)


@pytest.mark.parametrize(
    ("section", "code", "said"),
    [
        ("{hosts: ['127.1']}", "connector.bad_egress", "odd spelling of 127.0.0.1"),
        ("{hosts: ['a:b']}", "connector.bad_egress", "host:port"),
        ("{hosts: [https://a.example]}", "connector.bad_egress", "host:port"),
        ("{hosts: [a.example:70000]}", "connector.bad_egress", "1 to 65535"),
        ("{hosts: [192.168.1.1]}", "connector.private_host", "private"),
        ("{private: [0.0.0.0/0]}", "connector.bad_egress", "public"),
        ("{private: [169.254.169.254]}", "connector.bad_egress", "never"),
        ("{private: [10.0.0.1/8]}", "connector.bad_egress", "10.0.0.0/8"),
        ("{private: ['*.internal']}", "connector.bad_egress", "no host name"),
        ("{proxy: 'http://127.0.0.1:3128'}", "connector.private_host", "loopback"),
        ("{proxy: 'http://u:p@proxy.example:3128'}", "connector.bad_egress", "user or password"),
        ("{proxy: 'socks5://proxy.example'}", "document.pattern", ""),
        ("{ca_file: ../ca.pem}", "connector.path_escapes", "'..'"),
        ("{ca_file: /etc/ssl/ca.pem}", "connector.path_escapes", "absolute"),
        ("{max_bytes: 10}", "document.range", ""),
        ("{verify: false}", "document.unknown_field", "verify"),
        ("{insecure: true}", "document.unknown_field", "insecure"),
    ],
)
def test_what_is_wrong_in_the_section_is_said_at_its_place(section: str, code: str, said: str) -> None:
    found = issues(document("https://registry.example/", f"egress: {section}\n"))
    assert code in {issue.code for issue in found}, found
    assert all(issue.line == 11 for issue in found)
    assert any(said in issue.message for issue in found)


def test_a_right_section_has_no_issue_and_is_the_connectors() -> None:
    section: dict[str, Any] = {
        "hosts": ["files.registry.example", "auth.registry.example:8443"],
        "private": ["10.1.0.0/16", "fd12::/32", "erp.internal"],
        "proxy": "http://proxy.example:3128",
        "ca_file": "ca.pem",
        "max_bytes": 1024,
    }
    source = document("https://registry.example/", yaml.safe_dump({"egress": section}))
    assert issues(source) == ()


MORE = {
    "/auth/oauth2/token_url": document(
        "https://registry.example/",
        "auth: {oauth2: {grant: client_credentials, token_url: 'http://10.1.2.3/token', client_id: x, "
        "client_secret: secret://local/x}}\n",
    ),
    "/host": """
connector: mail
owner: casework
adapter: smtp
environment: local
host: localhost
from: a@b.example
recipients: ["b.example"]
resources:
  notes: {fields: {to: {type: string}, subject: {type: string}, text: {type: string}}, push: {idempotency: none}}
""",
    "/base_url": """
connector: hook
owner: casework
adapter: webhook
environment: local
base_url: https://192.168.1.1/hook
resources:
  notes: {type: note.made, fields: {text: {type: string}}, push: {idempotency: key}}
""",
    "/store/endpoint": """
connector: files
owner: casework
adapter: objects
environment: local
store: {url: "s3://bucket", region: eu-central-1, endpoint: "http://127.0.0.1:9000"}
resources:
  notes: {fields: {key: {type: string}}, lookup: {}}
""",
}


@pytest.mark.parametrize("pointer", MORE)
def test_every_place_where_a_document_names_a_host_is_looked_at(pointer: str) -> None:
    (found,) = [issue for issue in issues(MORE[pointer]) if issue.code == "connector.private_host"]
    assert found.pointer == pointer
    line = found.hint.removeprefix("Add the line: ")
    assert "connector.private_host" not in {issue.code for issue in issues(f"{MORE[pointer]}{line}\n")}
