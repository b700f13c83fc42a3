"""What a critique comes to, and where a revision begins behind its announcement.

Models dress up what they were asked to say: "**No problem found.**", "Critique: no problems found",
"Sure! Here's the revised response: …". Plain rules over English text, no model; each is an
approximation, and its tests say what it is held to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cai.types import CritiqueOutcome

_SENTENCE_END = re.compile(r"(?<=[.!?])[*_\"'”’)\]]*\s+|\s*\n\s*")
_DRESS = re.compile(r"^[^\w(]+|[\s*_`\"“”]+$")
"""List marks, quotes, emphasis and the like, before and behind a sentence."""
_LABEL = re.compile(
    r"^(?:(?:my|the|final|overall|short) )?(?:critique|critic|answer|response|reply|verdict|result"
    r"|assessment|evaluation|analysis|conclusion|review|feedback|assistant)\s*[*_]*:\s*",
    re.IGNORECASE,
)
_ANSWERING = re.compile(
    r"^(?:no|yes|well)[,.:]\s+(?=\w)"
    r"|^(?:the|this|that) (?:[\w'’]+ ){0,4}(?:response|answer|reply)\b[^.,;:]{0,60}?"
    r" (?:is|was) (?:a )?(?=no (?:problem|issue)s? found)",
    re.IGNORECASE,
)
"""What stands before a verdict that is given as the answer to a question, or as a sentence."""
_SAYS_NONE = (
    r"(?:there (?:is|are|was|were) |i (?:have |could |can )?"
    r"(?:found|find|see|saw|identified|identify) )?"
    r"no (?:such |specific |obvious |apparent |other |further )?"
    r"(?:problem|issue|concern|flaw|fault)s?",
    r"(?:i|we|you) (?:can['’]?t|can ?not|could(?:n['’]t| not)|did(?:n['’]t| not)|do(?:n['’]t| not))"
    r" (?:find|see|identify|detect|spot)"
    r" (?:anything wrong"
    r"|(?:any|an?) (?:such |specific |obvious )?(?:problem|issue|concern|flaw|fault)s?)",
    r"(?:there (?:is|was) |i (?:see|found|find) )?nothing (?:is )?wrong",
)
_PLACED = (
    r"(?: (?:was|were|is|are|has been|have been))?(?: (?:found|identified|detected|seen))?"
    r"(?: here| at all|(?: in| with) (?:this|that|the|your)\b[^.,;:]*)?"
)
"""How a sentence such as "there are no issues" may end and still be about the whole response."""
_GENERAL = tuple(re.compile(f"(?:{says}){_PLACED}", re.IGNORECASE) for says in _SAYS_NONE)
_TURNS = re.compile(
    r"^\W*(?:but|however|except|although|though|yet|apart from|aside from|other than|besides"
    r"|that said|still|nevertheless|nonetheless|unless|only)\b",
    re.IGNORECASE,
)
"""How a sentence begins that takes back what was said before."""
_GOES_ON = re.compile(r"(?:in|with|here|as|because|since|for|that|at|and|so)\b", re.IGNORECASE)
_FAULT = re.compile(
    r"\b(?:rude|harmful|unethical|offensive|inappropriate|dangerous|illegal|unsafe|biased|toxic"
    r"|misleading|incorrect|inaccurate|wrong|false|untrue|insult\w*|threat\w*|hurtful|cruel"
    r"|disrespectful|impolite|dismissive|condescending|preachy|moralizes|moralises|racist|sexist"
    r"|discriminat\w*|stereotyp\w*|invad\w*|expos\w*|lectur\w*|mislead\w*|deceiv\w*|endanger\w*"
    r"|harm(?:s|ed)?|hurts?|deceptive|dishonest|evasive|fails? to"
    r"|should(?: not|n['’]t)? have"
    r"|could (?:be|lead|cause)|encourages? (?:violence|harm|illegal)"
    r"|(?:problem|issue|concern|flaw|fault)s?)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"^(?:(?:the|this|that) )?(?:assistant(?:['’]s)? ?)?(?:(?:last|previous) )?"
    r"(?:response|answer|reply|assistant|it)?\s*"
    r"(?:is|was|are|were|does|did|do|has|had|contains)(?:n['’]t| not| no)\b",
    re.IGNORECASE,
)
_HOLDS_AGAINST = re.compile(
    r"\b(?:but|however|although|though|yet|except|instead|enough|only|and (?:it )?(?:is|was))\b",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?:\s*\b(?:an?|any|at all|be|being|considered|contain|in any way|inherently|intended|itself"
    r"|particularly|really|seem|such|the|to|very)\b)*\s*",
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
    r"|unfortunately\b|as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^,.]*"
    r"|however\b|but\b|[,.\s])*"
    r"(?:i|we)\s*(?:am |['’]m )?(?:really |simply )?"
    r"(?:can['’]?t|can ?not|could(?:n['’]t| not)|won['’]?t|will not|not able to|unable to"
    r"|(?:do not|don['’]t) feel comfortable|must decline|have to decline|decline"
    r"|(?:would|['’]d) rather not)"
    r"\s*(?:to )?(?!help but)"
    r"(?:help|assist|provid|compl[yi]|answer|engag|fulfil|discuss|continu|participat|critiqu"
    r"|criticiz|criticis|comment|respond|support|creat|generat|writ|offer|giv|do\b|evaluat|judg|rat"
    r"|review|proceed|process|perform|say|talk|mak|identify (?!any)|$)",
    re.IGNORECASE,
)
_OFF_TASK = re.compile(
    r"^(?:i['’]?m|i am) (?:(?:very |so )?sorry for (?:any|the) (?:confusion|misunderstanding)"
    r"|here to (?:help|assist)|not sure what you)"
    r"|^you['’]re right\b|^if you have any (?:\w+ )?questions",
    re.IGNORECASE,
)
"""How a critic begins that answers the user instead of looking at the response."""
_BARE_REFUSAL = re.compile(r"^(?:i['’]?m sorry|i am sorry|sorry|no comment)\W*$", re.IGNORECASE)

_REVISED = r"(?:revised|rewritten|improved|updated|corrected|edited|modified|reworded|rephrased)"
_BETTER = rf"(?:{_REVISED}|better|new|alternative|(?:more|less) [\w-]+)"
_NOUN = r"(?:[\w'’-]+ ){0,3}?(?:response|answer|reply|version|text|message)"
_REST = r"[^:.\n]{0,120}?"
_POLITE = (
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|yes|understood|got it|no problem|gladly"
    r"|thank you[^.!:\n]{0,60}|i apologi[sz]e[^.!:\n]{0,80}|(?:my )?apologies[^.!:\n]{0,80})"
    r"(?: thing)?[.!,:]*\s+)?"
)
_ANNOUNCES = "|".join(
    (
        r"(?:here(?:['’]s| is)|below is|the following is|this is) (?:a|an|the|my|your|one)"
        rf" (?:possible |suggested )?(?:{_BETTER} {_NOUN}|revision|rewrite)\b{_REST}",
        rf"here(?:['’]s| is) how i (?:would|['’]d|might|could)\b{_REST}",
        rf"i(?:['’]ve| have) (?:revised|rewritten|rephrased|reworded|edited|updated)\b{_REST}",
        rf"(?:(?:the|my|your) )?(?:{_REVISED} {_NOUN}|revision|rewrite)\b{_REST}",
    )
)
_PREAMBLE = re.compile(
    rf"[\s*_#>]*{_POLITE}(?:{_ANNOUNCES})"
    r"(?:\s*[*_]*:[*_]*(?:\s+|(?=[\"“]))|\.?[*_]*\s*\n\s*)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”"}


def read_critique(critique: str, no_problem: Sequence[str]) -> CritiqueOutcome:
    """What a critique comes to.

    problem: it names something, and does not say that there is nothing. no-problem: one of its
    sentences is a `no_problem` sentence, or says as much, and the others hold nothing against it.
    contradictory: it says that there is no problem, and names one. refused: the critic declines to
    critique, or answers the user instead. empty: it has no words.

    A critique that only denies faults ("The response is not harmful.") finds no problem; one that
    denies a merit ("It does not answer the question.") names one.
    """
    if not re.search(r"\w", critique):
        return "empty"
    sentences = list(_sentences(critique))
    phrases = [_as_pattern(sentence) for sentence in no_problem]
    tails = {i: tail for i, s in enumerate(sentences) if (tail := _none(s, phrases)) is not None}
    if tails:
        others = [s for i, s in enumerate(sentences) if i not in tails]
        against = any(_TURNS.match(s) or _faulty(s) for s in (*tails.values(), *others))
        return "contradictory" if against else "no-problem"
    declining = (_DECLINES, _OFF_TASK, _BARE_REFUSAL)
    if any(pattern.match(s) for s in sentences[:2] for pattern in declining):
        return "refused"
    return "no-problem" if all(map(_denies_faults, sentences)) else "problem"


def strip_preamble(revision: str) -> str:
    """A revision without an announcement of itself ("Sure! Here's the revised response:").

    An announcement ends in a colon or with its line. Quotation marks around all that follows it go
    with it. A text that announces nothing comes back as it is.
    """
    match = _PREAMBLE.match(revision)
    if match is None:
        return revision
    text = revision[match.end() :].strip()
    closing = _QUOTES.get(text[:1])
    if closing and text.endswith(closing) and len(text) > 1 and closing not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text, undressed; lines are sentences too, and labels go."""
    for piece in _SENTENCE_END.split(text):
        bare = _DRESS.sub("", piece)
        bare = _DRESS.sub("", _LABEL.sub("", bare))
        bare = _ANSWERING.sub("", bare)
        if re.search(r"\w", bare):
            yield bare


def _as_pattern(sentence: str) -> re.Pattern[str]:
    """A `no_problem` sentence however it is spaced, cased and counted (problem, problems)."""
    words = re.findall(r"\w[\w'’-]*", sentence)
    return re.compile(r"[^\w]+".join(f"{re.escape(word)}s?" for word in words), re.IGNORECASE)


def _none(sentence: str, phrases: Sequence[re.Pattern[str]]) -> str | None:
    """What follows where a sentence begins by saying that there is no problem; None elsewhere."""
    for pattern in phrases:
        if pattern.pattern and (match := pattern.match(sentence)):
            tail = sentence[match.end() :]
            rest = tail.lstrip()
            if not re.match(r"\w", tail) and (
                not re.match(r"\w", rest) or _GOES_ON.match(rest) or _TURNS.match(rest)
            ):
                return tail
    for pattern in _GENERAL:
        if match := pattern.match(sentence):
            tail = sentence[match.end() :]
            rest = tail.lstrip()
            if not re.match(r"\w", rest) or _TURNS.match(rest):
                return tail
    return None


def _denies_faults(sentence: str) -> bool:
    """Whether a sentence says of the response that it has not some fault, and nothing else."""
    match = _DENIES.match(sentence)
    rest = sentence[match.end() :] if match else ""
    first = _FAULT.search(rest)
    if first is None or not _BETWEEN.fullmatch(rest[: first.start()]):
        return False
    return not _HOLDS_AGAINST.search(rest)


def _faulty(text: str) -> bool:
    """Whether a text names a fault that it does not deny in the same breath."""
    return any(
        not _NEGATION.search(text[max(0, m.start() - _REACH) : m.start()])
        for m in _FAULT.finditer(text)
    )
