"""Strips announcements and remarks from a revision, and detects texts that are no revision.

Models announce what they were asked to write ("Sure! Here's the revised response: …"), say
afterwards what they changed, or answer the request instead of following it. Plain rules over
English text, no model; each is an approximation, and its tests say what it is held to.
"""

from __future__ import annotations

import re

_REVISED = r"(?:revised|rewritten|improved|updated|corrected|edited|modified|reworded|rephrased)"
_BETTER = rf"(?:{_REVISED}|better|new|alternative|(?:more|less) [\w-]+)"
_NOUN = r"(?:[\w'’-]+ ){0,3}?(?:response|answer|reply|version|text|message)"
_REST = r"[^:.\n]{0,120}?"
_REWRITE = r"(?:rewrit|revis|rephras|reword|improv)\w*"
_TEXT = r"(?:the|my|your|a) [\w'’ ]{0,40}?(?:response|answer|reply|message|text)"
_OBJECT = rf"(?:it|this|that|{_TEXT})"
_POLITE = (
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|yes|understood|got it|no problem|gladly"
    r"|thank you[^.!:\n]{0,60}|i apologi[sz]e[^.!:\n]{0,80}|(?:my )?apologies[^.!:\n]{0,80})"
    r"(?: thing)?[.!,:]*\s+)?"
)
_ANNOUNCES = "|".join(
    (
        r"(?:here(?:['’]s| is)|below is|the following is|this is) (?:a|an|the|my|your|one)"
        rf" (?:possible |suggested )?(?:{_BETTER} {_NOUN}|revision|rewrite)\b{_REST}",
        r"here(?:['’]s| is) (?:my|an|one) (?:attempt|try|take|go) (?:at|on|to)"
        rf" (?:[\w'’]+ ){{0,3}}?(?:{_REWRITE}|{_OBJECT})\b{_REST}",
        rf"here(?:['’]s| is) (?:a|another|one) (?:{_BETTER}|different|kinder) way (?:to|of)"
        rf" (?:put|say|phras|respond|answer|word|express|reply)\w*\b{_REST}",
        rf"here(?:['’]s| is) how i (?:would|['’]d|might|could)\b{_REST}",
        rf"i(?:['’]ve| have) (?:revised|rewritten|rephrased|reworded|edited|updated)\b{_REST}",
        r"(?:i (?:would|will|can|could|might)|i['’](?:d|ll)|let me) (?:now |gladly )?"
        rf"(?:(?:rewrite|revise|rephrase|reword) {_OBJECT}"
        rf"|(?:edit|improve|modify|change) {_TEXT})\b{_REST}",
        rf"(?:(?:the|my|your) )?(?:assistant['’]s )?(?:{_REVISED} {_NOUN}|revision|rewrite)\b"
        rf"{_REST}",
        rf"(?:a|an|the|one) (?:possible )?(?:{_BETTER} {_NOUN}|revision|rewrite)"
        r" (?:would|could|might|may|should) (?:be|read)",
        r"(?:rewritten|revised|rephrased|reworded|improved|corrected|edited)(?=[*_]*:)",
        r"(?:(?:the|my) )?(?:assistant(?:['’]s (?:response|answer|reply))?|response|reply)"
        r"(?=[*_]*:)",
    )
)
_PREAMBLE = re.compile(
    rf"[\s*_#>]*{_POLITE}(?:{_ANNOUNCES})"
    r"(?:\s*[*_]*:[*_]*(?:\s+|(?=[\"“]))|\.?[*_]*\s*\n\s*)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”"}

_FAULTY = r"(?:rude|harmful|offensive|preachy|dangerous|unethical|toxic|inappropriate|insulting)"
_CHANGED = (
    r"(?:remov|revis|chang|rewrit|rewrot|replac|soften|reword|rephras|edit|modif|adjust|updat"
    r"|toned|eliminat|kept|omitt)"
)
_I_CHANGED = (
    rf"i(?:['’]ve| have)? (?:also |just |tried to |made sure to )?{_CHANGED}\w*\b[^.\n]{{0,80}}?"
    r"\b(?:tone|wording|phrasing|response|answer|reply|insults?|remarks?|part that"
    rf"|{_FAULTY} (?:\w+ )?(?:parts?|language|words?|content|phrases?|sentences?|advice))\b"
)
_OF_ITSELF = (
    r"(?:this|the) (?:(?:revised|rewritten) (?:response|answer|reply|version)|revision"
    r"|(?:new|updated|improved) (?:response|answer|reply)) (?!of\b)[a-z]+\b"
    r"|this version (?:avoids|is (?:more|less) (?:polite|respectful|kind|honest|careful|ethical"
    r"|helpful|preachy|rude|harmful))\b"
)
_ASIDE = (
    rf"(?:(?:please )?note(?: that)?:? (?:that )?)?(?:{_I_CHANGED}|{_OF_ITSELF}"
    r"|(?:please )?let me know if [^.\n]{0,80}?\b(?:revis|rewrit|rephras|reword)\w*)"
)
_EPILOGUE = re.compile(
    rf"\n[ \t]*[*_(\[]*(?:{_ASIDE}[^\n]*|(?:changes made|explanation of (?:the |my )?changes"
    r"|what i(?:['’]ve| have)? changed)\s*[*_]*:(?s:.*))\s*\Z"
    rf"|(?<=[.!?\"”])[ \t]*\n?[ \t]*[*_]*[(\[]{_ASIDE}[^()\n]*[)\]][*_.\s]*\Z",
    re.IGNORECASE,
)
"""A last paragraph, or a last remark in brackets, in which the reviser tells what was changed."""

_OFF_TASK = re.compile(
    "|".join((
        rf"(?:\A|(?<=[.!?])\s+){_ASIDE}[^.\n]*[.!]?\s*\Z",
        r"\A\W*(?:human|user)\s*:|\n[ \t]*human\s*:",
        r"\n[ \t]*user\s*:(?s:.*)\n[ \t]*assistant\s*:",
        r"\bno (?:response|critique|text|answer) to (?:revise|rewrite|critique|edit|improve)\b",
        r"\b(?:provide|share|send|give|paste|show)\b[^.\n]{0,20}? (?:the|your|a)"
        r" (?:[\w'’]+ ){0,3}?(?:response|critique|answer|reply)\b[^.\n]{0,30}?"
        r"\bto (?:be )?(?:revis|rewrit|critiqu|edit|improv)\w*",
        r"\bno (?:revisions?|rewrites?) (?:(?:is|are|was|were) )?(?:needed|necessary|required)\b",
        r"\bthere(?:['’]s| is) nothing to (?:revise|rewrite)\b",
        r"\A\W*(?:i(?: will| can| would)?|i['’](?:ll|d)) (?:rewrite|revise|rephrase|reword)"
        rf" {_OBJECT}\b",
        r"\bi (?:can['’]?t|can ?not|am unable to|will not|won['’]t) (?:rewrite|revise) "
        rf"{_OBJECT}\b",
    )),
    re.IGNORECASE,
)  # fmt: skip


def strip_preamble(revision: str) -> str:
    """A revision without an announcement of itself, and without a remark on itself at its end.

    An announcement ("Sure! Here's the revised response:") ends in a colon or with its line.
    Quotation marks around all that follows it go with it. A remark ("Note: I have removed the rude
    part.") stands on its own lines, or in brackets. A text that has neither comes back as it is,
    and so does one that is nothing but a remark.
    """
    match = _PREAMBLE.match(revision)
    text = revision[match.end() :].strip() if match else revision
    epilogue = _EPILOGUE.search(text)
    if epilogue and text[: epilogue.start()].strip():
        text = text[: epilogue.start()].strip()
    closing = _QUOTES.get(text[:1]) if match else None
    if closing and text.endswith(closing) and len(text) > 1 and closing not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def off_task(text: str) -> bool:
    """Whether a text speaks of revising, or goes on with the dialogue, instead of being one turn.

    It tells what was changed, asks for the response that it was to revise, says that none is
    needed, or holds a line "Human:".
    """
    return bool(_OFF_TASK.search(text))
