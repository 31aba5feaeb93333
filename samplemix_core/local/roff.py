"""Plain text of manual pages, crudely: enough for a corpus of real text, not a typesetter."""

import re

_HEADINGS = {"SH", "SS", "Sh", "Ss"}
_PARAGRAPHS = {"PP", "P", "LP", "TP", "HP", "IP", "TQ", "Pp", "It", "sp", "br"}
_TEXT_MACROS = {"B", "I", "BR", "BI", "IB", "IR", "RB", "RI", "SM", "SB", "IP", "SY", "OP"}
_SPACED_MACROS = {"B", "I", "SM", "SB", "IP", "SY", "OP"}
_MDOC_TEXT = re.compile(r"(?!(?:Bd|Bl|Dd|Dt|Ed|El|Os|Sh|Ss)$)[A-Z][a-z]{1,2}$")
_AS_IS = {"nf": True, "EX": True, "fi": False, "EE": False}
_QUOTES = {"aq": "'", "oq": "'", "cq": "'", "dq": '"', "lq": '"', "rq": '"'}
_CHARACTERS = {**_QUOTES, "em": "-", "en": "-", "bu": "*", "ti": "~", "ha": "^", "rs": "\\"}

_DEFINITION = re.compile(r"[.']\s*(?:de|am|ig)\b")
_REQUEST = re.compile(r"[.']\s*(?P<name>\w*)\s*(?P<arguments>.*)$")
_ARGUMENT = re.compile(r'"([^"]*)"?|(\S+)')
_COMMENT = re.compile(r"\\[\"#].*$")
_FONT_OR_SIZE = re.compile(r"\\[fm](?:\[[^\]]*\]|\(..|.)|\\s[-+]?\d+|\\\*(?:\[[^\]]*\]|\(..|.)")
_SPECIAL = re.compile(r"\\\((?P<two>..)|\\\[(?P<long>[^\]]*)\]")
_UNPRINTED = re.compile(r"\\[&|^%/,:cz)]")


def render_roff(source: str) -> str:
    """The words of a man or mdoc page: headings and paragraphs on lines of their own, fonts and layout dropped."""
    blocks: list[str] = [""]
    in_definition = as_is = False
    for line in source.splitlines():
        if in_definition:
            in_definition = line.strip() not in {"..", "'.."}
            continue
        if _DEFINITION.match(line):
            in_definition = True
            continue
        text = _plain(line)
        if request := _REQUEST.match(text):
            name = request["name"]
            as_is = _AS_IS.get(name, as_is)
            arguments = [quoted or bare for quoted, bare in _ARGUMENT.findall(request["arguments"])]
            if name in _HEADINGS:
                blocks += [" ".join(arguments) + "\n", ""]
                continue
            if name in _PARAGRAPHS or name in _AS_IS:
                blocks.append("")
            spaced = name in _SPACED_MACROS or _MDOC_TEXT.match(name)
            text = (" " if spaced else "").join(arguments) if spaced or name in _TEXT_MACROS else ""
        if text.strip():
            blocks[-1] += text + ("\n" if as_is else " ")
        elif not line.strip():
            blocks.append("")
    return "\n".join(block.rstrip() + ("\n" if not block.endswith("\n") else "") for block in blocks if block.strip()).strip()


def _plain(line: str) -> str:
    """A line without its comment, with escapes replaced by the characters they print."""
    line = _FONT_OR_SIZE.sub("", _COMMENT.sub("", line))
    line = _SPECIAL.sub(lambda match: _CHARACTERS.get(match["two"] or match["long"], ""), line)
    return _UNPRINTED.sub("", line).replace("\\-", "-").replace("\\ ", " ").replace("\\~", " ").replace("\\e", "\\")
