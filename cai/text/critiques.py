"""Reads a critique: a problem, no problem, a refusal, a contradiction, or nothing.

Models dress up what they were asked to say: "**No problem found.**", "Sure! Here is my critique: no
problems found", "Upon review, there are no issues with the response." Plain rules over English
text, no model; each is an approximation, and its tests say what it is held to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cai.types import CritiqueOutcome

_SENTENCE_END = re.compile(r"(?<=[.!?])[*_\"'”’)\]]*\s+|(?<=[。！？])|\s*\n\s*")
_TAG = re.compile(
    r"</?(?:[biup]|em|strong|br|div|span|code|h\d|[uo]l|li)\b[^<>\n]*>", re.IGNORECASE
)
_MARKUP = re.compile(r"^\W+|[\s*_`\"“”)\]]+$")
"""List marks, quotes, brackets, emphasis and the like, before and behind a sentence."""

_RESPONSE = r"(?:response|answer|reply)"
_PROBLEMS = r"(?:problem|issue|concern|flaw|fault)s?"
_LABEL = re.compile(
    r"^(?:(?:my|the|final|overall|short) )?(?:critique|critic|answer|response|reply|verdict|result"
    r"|assessment|evaluation|analysis|conclusion|review|feedback|assistant|judge?ment"
    rf"|{_PROBLEMS}(?: (?:found|identified))?)\s*[*_]*:\s*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    "^(?:"
    + "|".join((
        r"(?:no|yes|well|sure|certainly|of course|absolutely|ok(?:ay)?|understood|got it)"
        r"(?: thing)?[,.:!]\s*(?=\w)",
        r"(?:here(?:['’]s| is)|this is|below is|the following is) (?:my|the|an?) [^.:\n]{0,80}:",
        r"(?:my (?:[\w'’]+ ){0,2}answer|(?:my|the) (?:[\w'’]+ ){0,2}(?:critique|verdict|assessment"
        r"|evaluation|conclusion)) (?:is|would be)(?: that| as follows)?\b:?",
        r"as (?:an?|the|your) (?:\w+ )?(?:critic|reviewer|judge|evaluator),",
        r"(?:overall|all in all|in (?:conclusion|summary|short|general|my (?:opinion|view)))\b,?",
        r"(?:based on|according to|considering|given|judging by) [^,.;:]{1,80},",
        r"(?:after|upon|on|having|by|from) (?:[\w'’]+ ){0,3}?(?:review|read|examin|inspect"
        r"|analy|evaluat|assess|look|consider|check|reflect|stud)\w*\b[^,.;:]{0,80},",
        r"(?:from what|as far as) i (?:can )?(?:tell|see),",
        r"i (?:would say|(?:['’]d|would) say|think|believe|conclude)(?: that)?\b:?",
        r"it (?:seems|appears)(?: to me)?(?: that)?\b(?=:? (?:no|there)\b)",
        r"(?:the|this|that) (?:[\w'’]+ ){0,4}(?:response|answer|reply)\b[^.,;:]{0,60}?"
        r" (?:is|was) (?:a )?(?=no (?:problem|issue)s? found)",
    ))
    + r")\s*",
    re.IGNORECASE,
)  # fmt: skip
"""What stands before a verdict: a word of courtesy, an announcement, what it is based on."""
_COURTESY = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|absolutely|ok(?:ay)?|understood|got it"
    r"|thank you[^.!?]*|(?:here(?:['’]s| is)|this is|below is) (?:my|the|an?) (?:\w+ ){0,2}critique"
    r"[^.!?:]*)[.!:]*$",
    re.IGNORECASE,
)
"""A sentence that says nothing of its own."""
_HEADING = re.compile(
    r"^(?!.*\b(?:says?|said|states?|claims?|writes?|wrote|repl\w+|answers?|not|never)\b)"
    r"[^\W\d_]+(?: [^\W\d_]+)?\s*[*_]*:[\s*_\"“]*"
)
"""One or two words and a colon, in whatever language, before a `no_problem` sentence."""

_MERITS = (
    r"(?:(?:also|both|very|quite|and|polite|respectful|helpful|kind|friendly|honest|truthful|safe"
    r"|accurate|correct|fine|good|appropriate|harmless|ethical|fair|clear|neutral|informative)\b"
    r"[\s,]*)+"
)
_FIND = r"(?:find|see|identify|detect|spot|notice)"
_CANNOT_FIND = (
    r"(?:(?:i|we|you)(?: (?:can['’]?t|can ?not|could(?:n['’]t| not)|did(?:n['’]t| not)"
    r"|do(?:n['’]t| not))"
    r"|(?: am|['’]m| was| are|['’]re| were|['’]ve been| have been)(?: not able| unable) to"
    rf"| failed to) {_FIND}|there do(?:es)?(?: not|n['’]t) (?:seem|appear) to be)"
)
_HAS_FOUND = rf"i (?:have |could |can )?(?:found|saw|identified|noticed|{_FIND})"
_SAYS_NONE = (
    rf"(?:there (?:is|are|was|were) |{_HAS_FOUND} "
    rf"|(?:(?:the|this|that) (?:[\w'’]+ ){{0,4}}?)?(?:{_RESPONSE}|it) "
    rf"(?:(?:is|was) {_MERITS})?(?:has|contains|raises|poses|presents|shows) )?"
    rf"no (?:such |specific |obvious |apparent |other |further )?{_PROBLEMS}",
    rf"{_CANNOT_FIND} (?:anything wrong|(?:any|an?) (?:such |specific |obvious )?{_PROBLEMS})",
    r"(?:there (?:is|was) |i (?:see|found|find) )?nothing (?:is )?wrong",
    r"(?:none|n/a|not applicable|nothing(?: to (?:report|critici[sz]e|change))?)"
    r"(?! (?:in|with|is|was|here)\b)",
)
_WHERE = r"(?: here| at all|(?: in| with) (?P<part>(?:this|that|the|your)\b[^.,;:]*))?"
_PLACED = (
    rf"(?: (?:was|were|is|are|has been|have been))?(?: (?:found|identified|detected|seen))?{_WHERE}"
)
"""How a sentence such as "there are no issues" may end and still be about the whole response."""
_GENERAL = tuple(re.compile(f"(?:{says}){_PLACED}", re.IGNORECASE) for says in _SAYS_NONE)
_WHOLE = re.compile(rf"\b(?:{_RESPONSE}|text|message|output|conversation)\b", re.IGNORECASE)
_TURNS = re.compile(
    r"^\W*(?:but|however|except|although|though|yet|apart from|aside from|other than|besides"
    r"|that said|still|nevertheless|nonetheless|unless|only|on the contrary"
    r"|aber|jedoch|allerdings|außer|obwohl|mais|cependant|toutefois|sauf|pero|sin embargo|aunque"
    r"|salvo|ma|però|tuttavia|mas|porém|embora|maar|echter|hoewel)\b",
    re.IGNORECASE,
)
"""How a sentence begins that takes back what was said before."""
_GOES_ON = re.compile(r"(?:in|with|here|as|because|since|for|that|at|and|so)\b", re.IGNORECASE)
_ENGLISH = re.compile(r"\b(?:the|it|this|there|response|answer|assistant)\b", re.IGNORECASE)

_KIND_OF_FAULT = (
    r"rude|harmful|unethical|offensive|inappropriate|dangerous|illegal|unsafe|biased|toxic"
    r"|misleading|incorrect|inaccurate|wrong|false|untrue|hurtful|cruel|disrespectful|impolite"
    r"|dismissive|condescending|preachy|racist|sexist|discriminatory|deceptive|dishonest|evasive"
    r"|problematic|hateful|abusive|violent"
)
_PRIVATE = (
    r"(?:private|confidential|personal (?:data|details|information)|passwords?|address(?:es)?"
    r"|phone numbers?|identity)"
)
_CRIME = (
    r"(?:steal|rob|kill|murder|poison|blackmail|stalk|forge|smuggle|cheat|lie|spy|break into"
    r"|hack into)"
)
_FAULT = re.compile(
    rf"\b(?:{_KIND_OF_FAULT}|insult\w*|threat\w*|moralizes|moralises"
    r"|discriminat\w*|stereotyp\w*|invad\w*|expos\w*|lectur\w*|mislead\w*|deceiv\w*|endanger\w*"
    r"|harm(?:s|ed)?|hurts?|fails? to|violat\w*"
    r"|mock(?:s|ed|ing)? (?:the|him|her|them|people|an?)|ridicul\w*|belittl\w*|humiliat\w*"
    r"|idiots?|morons?|stupid|slurs?|lie[sd] (?:about|to)"
    rf"|(?:reveal|disclos|leak|shar|publish)\w*\b[^.;]{{0,40}}?\b{_PRIVATE}"
    rf"|how to (?:\w+ )?{_CRIME}|(?:help|encourag)\w*\b[^.;]{{0,30}}?(?<!not) (?:to )?{_CRIME}"
    r"|how to (?:build|make|get|use|buy) [^.;]{0,30}?\b(?:bombs?|explosives?|weapons?|guns?|drugs)"
    r"|should(?: not|n['’]t)? have"
    r"|could (?:be|lead|cause)|encourages? (?:violence|harm|illegal|theft|crime)"
    r"|(?:problem|issue|flaw|fault)s?|concerns?(?! for\b))\b",
    re.IGNORECASE,
)
_OPPOSES = re.compile(
    r"\b(?:warn(?:s|ed|ing)?|caution(?:s|ed)?|refus(?:es|ed|ing)|declin(?:es|ed|ing)"
    r"|discourag\w+|advis(?:es|ed) against|condemn(?:s|ed)?|corrects?|rejects?|prevents?|protects?"
    r"|address(?:es|ed)|resolv(?:es|ed)|solv(?:es|ed)|explain(?:s|ed)? why|points? out"
    r"|makes? (?:it )?clear|acknowledg\w+"
    r"|(?:correctly|rightly|accurately|appropriately|responsibly) \w+)\b",
    re.IGNORECASE,
)
"""What a response does with a fault that is not its own."""
_CLAUSE = re.compile(
    r";|\b(?:but|however|although|though|yet)\b|,? which\b|, (?:it|this|that|they)\b"
    r"|\band (?:it )?(?:is|was|does|did|has)\b",
    re.IGNORECASE,
)
_NEXT_VERB = re.compile(rf"{_CLAUSE.pattern}|,? \band (?:it |then )?[a-z]+s\b", re.IGNORECASE)
"""Where what a response opposes ends: it refuses to help, *and insults* the user."""

_SUBJECT = (
    rf"(?:(?:the|this|that) )?(?:assistant(?:['’]s)? ?)?(?:(?:last|previous) )?"
    rf"(?:{_RESPONSE}|assistant|it)?\s*"
)
_DENIES = re.compile(
    rf"^(?:{_SUBJECT}(?:(?:is|was|are|were|does|did|do|has|had|contains)(?:n['’]t| not| no)\b"
    rf"|(?:is|was) free (?:of|from)\b|avoids\b(?! (?:\w+ )?{_PROBLEMS}\b))"
    rf"|there(?: (?:is|are|was|were)|['’]s) (?:no|nothing)\b(?! {_PROBLEMS}\b)"
    rf"|no (?=(?:{_KIND_OF_FAULT})\b)|{_CANNOT_FIND} (?:any|anything|an?)\b"
    rf"|{_HAS_FOUND} (?:no|nothing)\b)",
    re.IGNORECASE,
)
_DENIES_ALL = re.compile(rf"^(?:no|{_SUBJECT}(?:is|was|does|did|has)(?:n['’]t| not))\W*$", re.I)
"""An answer to the question whether there is a problem: "No, it does not.\""""
_PRAISES = re.compile(rf"^{_SUBJECT}(?:is|was|remains|stays) {_MERITS}\W*$", re.IGNORECASE)
_HOLDS_AGAINST = re.compile(
    r"\b(?:but|however|although|though|yet|except|instead|enough|only|and (?:it )?(?:is|was))\b",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?:\s*\b(?:an?|any|anything|any way|appear|at all|be|being|considered|contain|do|encourage"
    r"|evidence|express|include|in|in any way|indications?|inherently|intended|itself|of|or|other"
    r"|particularly|promote|provide|really|seem|show|signs?|suggest|such|that|the|to|use|very"
    r"|way)\b)*\s*",
    re.IGNORECASE,
)
"""What may stand between "not" and the fault that it denies."""
_NEGATION = re.compile(
    r"\b(?:no|not|never|nor|neither|without|nothing|free of|free from|avoids?|avoiding|any)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_REACH = 40
"""Characters before a word for a fault in which a negation is looked for."""

_DECLINES = re.compile(
    r"^(?:(?:i['’]?m|i am) (?:very |so |really )?sorry\b|sorry\b|(?:my )?apologies\b"
    r"|i (?:\w+ )?apologi[sz]e\b[^,.;]{0,40}"
    r"|unfortunately\b|as an? (?:\w+ ){0,3}?(?:ai|artificial intelligence|model|assistant)\b[^,.]*"
    r"|however\b|but\b|[,.\s])*"
    r"(?:i|we)\s*(?:am |['’]m )?(?:really |simply |therefore |respectfully )*"
    r"(?:can['’]?t|can ?not|could(?:n['’]t| not)|(?:won['’]?t|will not)(?: be able)?|not able to"
    r"|unable to|not going to|(?:(?:do not|don['’]t) feel|not) comfortable"
    r"|(?:must|have to|need to) (?:\w+ly )?(?:decline|refuse)|decline|refuse"
    r"|(?:would|['’]d) rather not|prefer not)"
    r"\s*(?:to )?(?!help but)"
    r"(?:help|assist|provid|compl[yi]|answer|engag|fulfil|discuss|continu|participat|critiqu"
    r"|criticiz|criticis|comment|respond|support|creat|generat|writ|offer|giv|do(?:ing)?\b|evaluat"
    r"|judg|rat|review|proceed|process|perform|say(?! (?:that|there|[\"'“‘]))|talk|mak|with\b"
    r"|identify (?!any)|\W*$)",
    re.IGNORECASE,
)
_OFF_TASK = re.compile(
    r"^(?:i['’]?m|i am) (?:(?:very |so )?sorry for (?:any|the) (?:confusion|misunderstanding)"
    r"|here to (?:help|assist)|not sure what you)"
    r"|^you['’]re right\b|^if you have any (?:\w+ )?questions"
    r"|^it (?:is|would)(?: not|n['’]t)(?: be)? (?:appropriate|right|ethical) for me to\b"
    r"|^(?:this|that|it|(?:the|this|your) (?:request|question|topic|content|prompt)) (?:violates"
    r"|is against|goes against) (?:my|our)\b",
    re.IGNORECASE,
)
"""How a critic begins that answers the user, or refuses, instead of looking at the response."""
_BARE_REFUSAL = re.compile(r"^(?:i['’]?m sorry|i am sorry|sorry|no comment)\W*$", re.IGNORECASE)
_OF_RESPONSE = re.compile(
    rf"^(?:the|this|that) (?:[\w'’]+ ){{0,3}}?(?:{_RESPONSE}|assistant)\b|^(?:it|assistant)\b",
    re.IGNORECASE,
)


class _Phrase(NamedTuple):
    """A `no_problem` sentence, and whether the general English patterns match it."""

    pattern: re.Pattern[str]
    is_general: bool


def read_critique(critique: str, no_problem: Sequence[str]) -> CritiqueOutcome:
    """The outcome of a critique.

    problem: it names something, and does not say that there is nothing. no-problem: one of its
    sentences is a `no_problem` sentence, or says as much, and the others hold nothing against it.
    contradictory: it says that there is no problem, and names one, or goes on in a sentence that
    can't be read. refused: the critic declines to critique, or answers the user instead. empty: it
    has no words, or none but an announcement.

    A critique that only denies faults ("The response is not harmful.") finds no problem; one that
    denies a merit ("It does not answer the question.") names one. What is said of the response
    counts before a refusal that follows it.
    """
    sentences = list(_sentences(critique))
    if not sentences:
        return "empty"
    phrases = [_phrase(sentence) for sentence in no_problem]
    withdrawals = [_retracts_no_problem(sentence, phrases) for sentence in sentences]
    others = [s for s, withdrawal in zip(sentences, withdrawals, strict=True) if withdrawal is None]
    if others != sentences:
        against = any(withdrawals) or any(_TURNS.match(s) or _faulty(s) for s in others)
        return "contradictory" if against else "no-problem"
    if _refused(sentences):
        return "refused"
    beside = [s for s in sentences if not _denies_faults(s)]
    clean = len(beside) < len(sentences) and all(map(_PRAISES.match, beside))
    return "no-problem" if clean else "problem"


def only_says_no_problem(text: str, no_problem: Sequence[str]) -> bool:
    """Whether a text consists of `no_problem` sentences alone, whatever their markup."""
    sentences = list(_sentences(text))
    patterns = [_phrase(sentence).pattern for sentence in no_problem]
    return bool(sentences) and all(
        any(pattern.fullmatch(s.rstrip(".!? ")) for pattern in patterns) for s in sentences
    )


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text without labels, leads and markup; a line is a sentence too."""
    for piece in _SENTENCE_END.split(_TAG.sub(" ", text)):
        bare = _bare(piece)
        if re.search(r"\w", bare) and not _COURTESY.match(bare):
            yield bare


def _bare(piece: str) -> str:
    """A sentence without markup, label and lead."""
    bare = piece
    while True:
        less = _MARKUP.sub("", bare)
        less = _MARKUP.sub("", _LABEL.sub("", less))
        less = _LEAD.sub("", less)
        if less == bare:
            return bare
        bare = less


def _phrase(sentence: str) -> _Phrase:
    """The pattern of a `no_problem` sentence: any spacing and case, plural or not."""
    words = re.findall(r"\w[\w'’-]*", sentence)
    pattern = r"[^\w]+".join(f"{re.escape(word)}s?" for word in words) or r"(?!)"
    is_general = any(general.fullmatch(" ".join(words)) for general in _GENERAL)
    return _Phrase(re.compile(pattern, re.IGNORECASE), is_general)


def _retracts_no_problem(sentence: str, phrases: Sequence[_Phrase]) -> bool | None:
    """Whether a sentence retracts its own "no problem"; None if it does not say so at all."""
    for text in (sentence, _HEADING.sub("", sentence)):
        for phrase in phrases:
            match = phrase.pattern.match(text)
            tail = text[match.end() :] if match else None
            if tail is not None and _ends_here(tail):
                return _takes_back(tail) or not (phrase.is_general or _readable(tail))
    for pattern in _GENERAL:
        if match := pattern.match(sentence):
            tail = sentence[match.end() :]
            part = match["part"]
            if part and not _WHOLE.search(part) and _takes_back(tail):
                return None  # "no problem with the tone, but …"
            if not re.match(r"\w", tail.lstrip()) or _TURNS.match(tail):
                return _takes_back(tail)
    return None


def _ends_here(tail: str) -> bool:
    """Whether a `no_problem` sentence ends where this text follows; not in "No problem founded"."""
    rest = tail.lstrip()
    return not re.match(r"\w", tail) and (
        not re.match(r"\w", rest) or bool(_GOES_ON.match(rest) or _TURNS.match(rest))
    )


def _takes_back(tail: str) -> bool:
    """Whether what follows "no problem" turns against it, or names a fault."""
    return bool(_TURNS.match(tail)) or _faulty(tail)


def _readable(tail: str) -> bool:
    """Whether the text after a sentence of another language is empty or English."""
    words = tail.lstrip(" \t,;:.!–—-")
    return not re.search(r"\w", tail) or bool(_GOES_ON.match(words)) or bool(_ENGLISH.search(words))


def _refused(sentences: Sequence[str]) -> bool:
    """Whether a critique declines: at once, or after a sentence that is not of the response."""
    opening = sentences[:1] if _OF_RESPONSE.match(sentences[0]) else sentences[:2]
    declining = (_DECLINES, _OFF_TASK, _BARE_REFUSAL)
    return any(pattern.match(s) for s in opening for pattern in declining)


def _denies_faults(sentence: str) -> bool:
    """Whether a sentence only denies that the response has some fault."""
    if _DENIES_ALL.match(sentence):
        return True
    match = _DENIES.match(sentence)
    rest = sentence[match.end() :] if match else ""
    first = _FAULT.search(rest)
    if first is None or not _BETWEEN.fullmatch(rest[: first.start()]):
        return False
    if _HOLDS_AGAINST.search(rest):
        return False
    return not any(map(_faulty, _CLAUSE.split(rest)[1:]))


def _faulty(text: str) -> bool:
    """Whether a text names a fault without denying or opposing it in the same clause."""
    return any(
        not _NEGATION.search(_led_up(text, m.start(), _CLAUSE)[-_REACH:])
        and not _OPPOSES.search(_led_up(text, m.start(), _NEXT_VERB))
        for m in _FAULT.finditer(text)
    )


def _led_up(text: str, at: int, boundary: re.Pattern[str]) -> str:
    """The text before a place, from the last boundary on."""
    starts = [m.start() for m in boundary.finditer(text) if m.start() < at]
    return text[starts[-1] if starts else 0 : at]
