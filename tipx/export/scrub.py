"""What a file that others will read must not tell: where things lie on this machine, who made them, and keys.

What is private is found in two ways. Some texts are known: this user's name and home, this machine's name, and the
homes and whole paths in the run's own files. The rest is told by its form: a path, the host of an address, the value of
a key such as `api_key`, and keys in the spelling of well-known services.
"""

import getpass
import html
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REMOVED = "[removed]"
SECRET_KEY = re.compile(
    r"(^|[._-])(key|token|secret|password|passwd|credentials?|auth|entity|user|username|email|host|hostname)$",
    re.IGNORECASE,
)
"""Keys whose text is private, as `logger.entity` and `api_key`; `max_new_tokens` is none."""
SECRET_PAIR = re.compile(r"([\w.-]+)(=|:\s*)(\"[^\"]*\"|'[^']*'|&#3[49];.*?&#3[49];|[^\s,;<>&'\"]+)")
"""`key=value` and `key: value` in running text."""
TOKEN = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|xox[abpr]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.[\w-]+\.[\w-]+)"
)
"""Keys of Hugging Face, OpenAI and those alike, GitHub, AWS and Slack, and JSON web tokens."""
ADDRESS = re.compile(r"\b(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<where>[^\s/\"'<>&?#]+)", re.IGNORECASE)
PUBLIC = {
    *("huggingface.co", "arxiv.org", "github.com", "docs.vllm.ai", "hydra.cc", "localhost", "127.0.0.1", "[host]"),
    *("www.w3.org", "purl.org", "creativecommons.org", "matplotlib.org"),
}
"""Hosts that say nothing about who made a run: in cards, and in pictures as matplotlib writes them."""
NETWORK = {"http", "https", "ssh", "ftp", "tcp", "ws", "wss", "git"}
"""Schemes whose addresses name a host; `hf://datasets` does not."""
WHOLE_PATH = re.compile(r"(~[\w.-]*|\.{1,2})?(/[^/]+){2,}/?|~[\w.-]*/.*")
"""A value that is nothing but a path which says where something lies. `org/model` is a name on the hub."""
PATH_WITHIN = re.compile(r"(?<![\w<./~])(?:~[\w.-]*|\.\.)?(?:/[\w.@+%~-]+){2,}/?|(?<![\w/])~[\w.-]*/[\w.@+%/-]+")
PATH_ENCLOSED = re.compile(
    r"(?:(?<=['\">])|(?<=&#3[49];)|(?<=&quot;))(?:~[\w.-]*|\.\.)?(?:/[^/'\"<>&\n]+){2,}/?(?=['\"<]|&#3[49];|&quot;)"
)
"""The same between quotes or tags, where it may hold blanks."""
HOME_OF = re.compile(r"(?:^|(?<=[^\w/]))/(?:home|Users|export/home|data/home)/([\w.@-]+)")
ORDINARY = {"root", "user", "users", "ubuntu", "admin", "debian", "runner", "localhost", "docker", "shared", "public"}
"""Names of users and machines that name nobody."""
SHORTEST = 3
"""Characters of a name that is looked for as a word: shorter ones are parts of other words."""


@dataclass
class Scrubber:
    """Takes private texts out, and counts them by kind."""

    paths: dict[str, str]
    """What is put for each known path, longest first: they may hold blanks, so that no pattern tells where they end."""
    names: dict[str, str]
    """What is put for each name of a user or a machine."""
    removed: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_texts_in(cls, *trees: Any) -> "Scrubber":
        """One that knows this user and machine, and what the values of these trees tell of others."""
        texts = [text for tree in trees for text in strings(tree)]
        user, home = own_user()
        values = [*texts, *(text.partition("=")[2] for text in texts), home, str(Path.cwd())]
        paths = {value: last_part(value) for value in values if WHOLE_PATH.fullmatch(value)}
        users = {user, *(name for text in texts for name in HOME_OF.findall(text))}
        machine = socket.gethostname()
        hosts = {machine, machine.split(".")[0], *(host for text in texts for host in private_hosts(text))}
        names = dict.fromkeys(users, "[user]") | dict.fromkeys(hosts, "[host]")
        return cls(
            by_length(paths),
            by_length({n: put for n, put in names.items() if len(n) >= SHORTEST and n.lower() not in ORDINARY}),
        )

    def tree(self, value: Any, key: str = "") -> Any:
        """A value of a configuration or of JSON, with all below it; keys too."""
        if isinstance(value, dict):
            return {self.text(str(name)): self.tree(part, str(name)) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.tree(part, key) for part in value]
        if not isinstance(value, str):
            return value
        return self.put(REMOVED, "key") if value and SECRET_KEY.search(key) else self.word(value)

    def word(self, text: str) -> str:
        """One whole value, or one word of a command line: a path may hold blanks."""
        before, sign, value = text.partition("=")
        if sign and re.fullmatch(r"[+~-]*[\w.@/-]+", before):
            return f"{before}={self.tree(value, before)}"
        if WHOLE_PATH.fullmatch(text):
            return self.text(self.put(last_part(text), "path"))
        return self.text(text)

    def text(self, text: str) -> str:
        """Running text: a page, or a card."""
        text = ADDRESS.sub(self.address, TOKEN.sub(lambda _: self.put(REMOVED, "key"), text))
        text = SECRET_PAIR.sub(self.pair, text)
        for path, put in self.paths.items():
            text = self.replace(text, path, put, "path", r"(?![\w/])")
        for pattern in (PATH_ENCLOSED, PATH_WITHIN):
            text = pattern.sub(lambda found: self.put(last_part(found[0]), "path"), text)
        for name, put in self.names.items():
            text = self.replace(text, name, put, put.strip("[]"), r"(?!\w)")
        return text

    def replace(self, text: str, private: str, put: str, kind: str, end: str) -> str:
        """A text without `private`, also as a page spells it; what it is a part of stays."""
        spellings = "|".join(re.escape(spelling) for spelling in {private, html.escape(private)})
        return re.sub(rf"(?<!\w)({spellings}){end}", lambda _: self.put(put, kind), text)

    def pair(self, found: re.Match[str]) -> str:
        if not SECRET_KEY.search(found[1]) or found[3] in (REMOVED, "null", "None"):
            return found[0]
        return found[1] + found[2] + self.put(REMOVED, "key")

    def address(self, found: re.Match[str]) -> str:
        """An address with neither password nor private host."""
        if not any(private_hosts(found[0])):
            return found[0]
        port = re.search(r":\d+$", found["where"])
        return f"{found['scheme']}://{self.put('[host]', 'host')}{port[0] if port else ''}"

    def put(self, text: str, kind: str) -> str:
        self.removed[kind] += 1
        return text


def own_user() -> tuple[str, str]:
    """Name and home of who runs this; empty where a container gives its user neither."""
    try:
        return getpass.getuser(), str(Path.home())
    except (KeyError, OSError, RuntimeError):
        return "", ""


def by_length(texts: dict[str, str]) -> dict[str, str]:
    """The longest first: none is a part of a later one."""
    return dict(sorted(texts.items(), key=lambda pair: -len(pair[0])))


def strings(tree: Any) -> Iterator[str]:
    """Every text of a configuration or of JSON."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from strings(value)


def last_part(path: str) -> str:
    """What a path leads to, without where it lies: `student` of `/home/me/student/`."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return parts[-1] if parts and not parts[-1].startswith("~") else REMOVED


def private_hosts(text: str) -> Iterator[str]:
    """Hosts of addresses in a text, but for those that all know; of any where a password stands before it."""
    for found in ADDRESS.finditer(text):
        if found["scheme"].lower() in NETWORK:
            host = re.sub(r":\d+$", "", found["where"].rpartition("@")[2])
            if host.lower() not in PUBLIC or "@" in found["where"]:
                yield host
