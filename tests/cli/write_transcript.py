"""The conversation of docs/conversation.md, held anew: ``PYTHONPATH=tests python -m cli.write_transcript``."""

import re
import tempfile
from pathlib import Path

from cli.talk import ENTER, Talk
from exporting import ROOT, environment
from pipeline.sandbox import Sandbox, SandboxOptions

PAGE = ROOT / "docs/conversation.md"
_BLOCK = re.compile(r"(?<=```text\n).*?(?=```)", re.DOTALL)
CLEAR = "\x15"


def from_token_to_dataset(sandbox, folder, columns=120):
    """From a fresh home, with a token to type, to a verified dataset; returns the conversation, which has ended."""
    talk = Talk(env=environment(), folder=folder, columns=columns)
    talk.answer("Access token?")
    talk.answer("Address of the API?", f"{CLEAR}{sandbox.url}{ENTER}")
    talk.answer("Token (not shown)", f"{sandbox.token}{ENTER}")
    for question in ("What is exported?", "Project?", "Which records?", "Formats?", "Splits?", "Classes?"):
        talk.answer(question)
    for question in ("Name of the export?", "Where to?", "What now?"):
        talk.answer(question)
    return talk


def transcript(sandbox, folder):
    """The text of the screen, with the addresses and the paths that a person would see."""
    talk = from_token_to_dataset(sandbox, folder)
    assert talk.end() == 0, talk.screen.text
    text = talk.screen.text.replace(str(folder), "/home/me").replace(sandbox.url, "https://api.synapse.sh")
    questions, _, rest = text.partition("   plan ━")
    end = rest.rstrip().splitlines()[-1]
    return f"$ synapse-export\n{questions}…\n{end}\n"


def stable(text):
    """A transcript without what differs between versions of libraries: sizes of pictures, and digests."""
    return re.sub(r"executor \w+|\b[0-9a-f]{12,}\b", "0", re.sub(r"[\d.]+ (k|M)?B\b", "0 kB", text))


def documented():
    """The transcript in the page."""
    return _BLOCK.search(PAGE.read_text())[0]


def write():
    """Put the transcript into the page."""
    with Sandbox(SandboxOptions(records=24)) as sandbox, tempfile.TemporaryDirectory() as folder:
        text = transcript(sandbox, Path(folder))
    PAGE.write_text(_BLOCK.sub(lambda _: text, PAGE.read_text(), count=1))


if __name__ == "__main__":
    write()
