"""What the tests need of the project's Markdown: code blocks with their test directive, inline code, links, headings.

A directive is an HTML comment on the line before a block:

    <!-- test: run -->                        shell: the block runs, line after line, and must succeed
    <!-- test: run OLD => NEW; OLD2 => NEW2 --> the same after replacing some text (8 ranks by 2, a host name by this host)
    <!-- test: validate -->                   YAML: a complete recipe that `rqat validate` accepts
    <!-- test: validate in stages.kd -->      YAML: keys that the quickstart recipe accepts at that place
    <!-- test: skip REASON -->                shown only; names of commands, options and files in it are checked all the same

Anywhere in a page, `<!-- test: foreign NAME NAME -->` declares names of other programs, or made up for an example.
"""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTIVE = re.compile(r"\s*<!-- test: (.*?) -->\s*$")
FENCE = re.compile(r"(\s*)(```+|~~~+)\s*([\w+-]*)\s*$")
LIST_ITEM = re.compile(r"\s*([-*+]|\d+\.)\s")
KINDS = {"run": ("bash",), "validate": ("yaml",), "skip": ("bash", "yaml", "cpp", "json")}


@dataclasses.dataclass
class Block:
    where: str        # FILE:LINE of the first line of code
    language: str
    text: str
    directive: str    # empty = none

    @property
    def kind(self):
        return self.directive.split(" ")[0] if self.directive else ""

    @property
    def argument(self):
        return self.directive.partition(" ")[2].strip()


class Document:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.name = str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else str(self.path)
        self.generated = "do not edit" in self.path.read_text().split("\n", 1)[0]
        self.blocks, self.faults, self.prose, self.foreign = [], [], [], set()
        self._read(self.path.read_text().splitlines())

    def _read(self, lines):
        """Takes the blocks out; `prose` keeps the other lines, at their places."""
        directive, in_list, number = "", False, 0
        while number < len(lines):
            line = lines[number]
            fence, found = FENCE.match(line), DIRECTIVE.match(line)
            self.prose.append("" if fence or found else line)
            if found and found.group(1).startswith("foreign "):
                self.foreign.update(found.group(1).split()[1:])
                found = None
            if directive and not fence:
                self.faults.append(f"{self.name}:{number}: a test directive without a code block after it")
            directive = found.group(1) if found else directive if fence else ""
            if fence:
                number = self._read_block(lines, number, fence, directive)
                directive = ""
            elif line and not line[0].isspace():
                in_list = LIST_ITEM.match(line) is not None
            elif re.match(r"    \s*\S|\t", line) and not in_list:
                self.faults.append(f"{self.name}:{number + 1}: indented code; fence it and name its language: {line.strip()}")
            number += 1

    def _read_block(self, lines, start, fence, directive):
        indent, marks, language = fence.groups()
        end = start + 1
        while end < len(lines) and lines[end].strip() != marks:
            end += 1
        code = [line[len(indent):] if line.startswith(indent) else line for line in lines[start + 1:end]]
        self.prose.extend([""] * (min(end, len(lines) - 1) - start))
        self.blocks.append(Block(f"{self.name}:{start + 2}", language, "\n".join(code) + "\n", directive))
        return end

    def block_faults(self):
        """Blocks that would escape the tests."""
        for block in self.blocks:
            if not block.language:
                yield f"{block.where}: a code block without a language"
            elif block.language == "text":
                if block.directive:
                    yield f"{block.where}: a block of text is not tested, but has a directive"
            elif block.kind not in KINDS:
                yield f"{block.where}: no directive on the line before; write one of " + ", ".join(f"<!-- test: {k} -->" for k in KINDS)
            elif block.language not in KINDS[block.kind]:
                yield f"{block.where}: '{block.kind}' is for {', '.join(KINDS[block.kind])}, not for {block.language}"
            elif block.kind == "skip" and not block.argument:
                yield f"{block.where}: skipped without a reason"

    def inline_code(self):
        """(where, text) of every code span; one that is broken over lines is joined."""
        text = "\n".join(self.prose)
        for found in re.finditer(r"(?<!`)(`+)(?!`)((?:[^`\n]|\n(?!\n)|(?!\1)`)+?)\1(?!`)", text):
            yield f"{self.name}:{text.count(chr(10), 0, found.start()) + 1}", " ".join(found.group(2).split())

    def links(self):
        """(where, target) of every link; code spans do not hold any."""
        for number, line in enumerate(self.prose, 1):
            for found in re.finditer(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "``", line)):
                yield f"{self.name}:{number}", found.group(1)

    def anchors(self):
        """Headings as GitHub turns them into anchors."""
        headings = (re.match(r"#+ (.*)", line) for line in self.prose)
        return {re.sub(r"[^\w\- ]", "", found.group(1).lower()).replace(" ", "-") for found in headings if found}


def documents():
    return [Document(path) for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]


def words_of(text):
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))
