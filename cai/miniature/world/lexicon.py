"""What principles are about: concepts, the flaws they cover, and the words that name them.

The model is trained from scratch, so a word carries meaning for it only if it stands here. A
principle worded with these words steers it; one about something else does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cai.miniature.world.vocabulary import EVASIVE, FLAWS, HARMS, SYCOPHANTIC, UNTRUTHFUL


@dataclass(frozen=True, slots=True)
class Concept:
    """Words for a set of flaws.

    `adjectives` and `nouns` name the flaw, `verbs` complete "the response ..." (third person),
    `virtues` are what a response without the flaw is.
    """

    name: str
    flaws: frozenset[str]
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    virtues: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in " ".join(text.split()).split(","))


def _concept(
    name: str, flaws: Iterable[str], adjectives: str, nouns: str, verbs: str, virtues: str
) -> Concept:
    return Concept(
        name, frozenset(flaws), _words(adjectives), _words(nouns), _words(verbs), _words(virtues)
    )


_CONCEPTS = (
    _concept(
        "privacy",
        ["privacy"],
        "invasive, intrusive, nosy, indiscreet, disrespectful of privacy, violating privacy,"
        " invasive of privacy, harmful to privacy, careless with private information",
        "privacy violations, snooping, spying, private data, personal information, surveillance,"
        " leaks of secrets, stalking, invasions of privacy, a breach of privacy, tracking of"
        " people",
        "invades somebody's privacy, helps to spy on people, exposes private information, snoops in"
        " personal data, reveals confidential details, helps the user to watch people secretly,"
        " violates somebody's privacy, invades the privacy of other people, helps to read private"
        " things, helps the user to spy on somebody, ignores the privacy of others",
        "private, discreet, respectful of privacy, confidential, protective of personal data,"
        " respectful of other people's privacy, careful with private information",
    ),
    _concept(
        "illegal",
        ["illegal"],
        "illegal, unlawful, criminal, against the law, lawless, illicit",
        "crime, theft, illegal acts, law breaking, fraud, stealing, vandalism, piracy, illegal"
        " activity, crimes, illegal content, illegal advice",
        "breaks the law, encourages crime, helps with theft or fraud, supports illegal acts,"
        " advises criminal behaviour, helps the user to break the law, helps with a crime,"
        " encourages illegal activity, assists with something illegal, supports a crime",
        "legal, lawful, law abiding, within the law, in line with the law, free of crime",
    ),
    _concept(
        "deceptive",
        ["deceptive"],
        "deceptive, misleading, fraudulent, deceitful, manipulative, dishonest towards others,"
        " deceptive towards other people",
        "deception, cheating, lies to others, fake reviews, tricks, manipulation, plagiarism,"
        " deceit, trickery, lying, help with deception",
        "helps the user deceive others, supports cheating, encourages lying, tricks or misleads"
        " people, helps with fake claims, deceives somebody, helps to deceive people, helps the"
        " user to lie or cheat, encourages deception, supports manipulation",
        "honest to others, sincere, fair play oriented, free of deception, honest towards others,"
        " straightforward",
    ),
    _concept(
        "cruel",
        ["cruel"],
        "cruel, hurtful, mean, hateful, abusive, unkind, heartless, cruel to other people",
        "bullying, insults against others, cruelty, harassment, hate, mockery, abuse, humiliation",
        "encourages bullying, hurts somebody's feelings, supports cruelty, helps to insult or mock"
        " people, harasses somebody, is mean to somebody, helps the user to hurt somebody,"
        " humiliates somebody, encourages cruelty or bullying",
        "kind, compassionate, gentle, caring, kind to others, humane",
    ),
    _concept(
        "unfair",
        ["unfair"],
        "unfair, discriminatory, sexist, racist, biased, prejudiced, unjust, bigoted",
        "discrimination, prejudice, stereotypes, bias, racism, sexism, unfair treatment, exclusion,"
        " injustice",
        "discriminates against a group, repeats stereotypes, treats groups unequally, is prejudiced"
        " against people, supports exclusion, treats a group unfairly, discriminates against"
        " people, supports discrimination, is unfair to a group of people",
        "fair, unbiased, inclusive, equal to all groups, just, fair to everyone",
    ),
    _concept(
        "dangerous",
        ["dangerous"],
        "dangerous, risky, unsafe, reckless, hazardous, careless about safety",
        "danger, risk of injury, physical harm, accidents, unsafe advice, health risks, dangerous"
        " advice, risks to health, physical danger",
        "puts somebody in danger, could lead to injury, gives unsafe advice, risks the user's"
        " health, encourages reckless acts, encourages dangerous behaviour, could get somebody"
        " hurt, puts the user in danger, encourages something dangerous",
        "safe, careful, cautious, mindful of safety, safety minded, free of danger",
    ),
    _concept(
        "rude",
        ["rude"],
        "rude, impolite, disrespectful, condescending, insulting to the user, disrespectful to the"
        " user, rude to the user, discourteous, unfriendly, contemptuous",
        "rudeness, bad manners, contempt for the user, impolite words, a harsh tone, disrespect,"
        " insults to the user, disrespect for the user",
        "is rude to the user, insults the user, talks down to the user, lacks respect, uses a harsh"
        " tone, is impolite, disrespects the user, is disrespectful to the user, belittles the"
        " user",
        "polite, respectful, friendly, courteous, warm, respectful to the user, civil to the user",
    ),
    _concept(
        "overconfident",
        ["overconfident"],
        "overconfident, too certain, exaggerated, arrogant in its claims, too sure of itself,"
        " overstated, more certain than it should be",
        "overconfidence, false certainty, exaggeration, unsupported claims, empty guarantees,"
        " exaggerated claims, claims of certainty, false promises",
        "claims too much certainty, overstates its knowledge, exaggerates, makes promises it cannot"
        " keep, hides its uncertainty, sounds too certain, is more certain than it should be,"
        " claims more certainty than it can have, promises too much",
        "humble, modest, honest about uncertainty, careful with claims, open about doubt, measured,"
        " modest about what it knows",
    ),
    _concept(
        "preachy",
        ["preachy"],
        "preachy, moralizing, judgmental, sanctimonious, lecturing, moralising, self-righteous,"
        " patronizing about morals",
        "preaching, moralizing, lectures, sermons, finger wagging, a lecture, moral lectures, a"
        " sermon, moralising",
        "lectures the user, preaches about morals, moralizes, judges the user, sounds like a"
        " sermon, preaches, lectures the user about morals, preaches to the user, moralises at the"
        " user",
        "free of sermons, non-judgmental, not preachy, down to earth, free of moralizing, free of"
        " lectures",
    ),
    _concept(
        "evasive",
        [EVASIVE],
        "evasive, unhelpful, useless, overly cautious, unresponsive, dismissive of the request",
        "evasion, needless refusal, empty answers, missing help, evasiveness, refusal without help,"
        " unhelpfulness",
        "refuses without need, avoids the question, gives no help, leaves the user without an"
        " answer, refuses without giving any help, dodges the question, does not help the user,"
        " fails to help, is no help to the user",
        "helpful, useful, informative, constructive, forthcoming, helpful to the user",
    ),
    _concept(
        UNTRUTHFUL,
        [UNTRUTHFUL],
        "untruthful, untrue, false, incorrect, factually wrong, inaccurate, false about the facts",
        "falsehoods, false information, untruth, factual errors, wrong facts, false statements,"
        " misinformation, inaccuracy",
        "says something untrue, states something false, gets the facts wrong, gives false"
        " information, gives a false answer, makes a false statement, misinforms the user, tells"
        " the user something untrue",
        "truthful, true, correct, accurate, factual, right about the facts, true to the facts",
    ),
    _concept(
        SYCOPHANTIC,
        [SYCOPHANTIC],
        "sycophantic, flattering, too agreeable, eager to please, fawning, servile, too ready to"
        " agree",
        "sycophancy, flattery, false agreement, fawning, blind agreement, empty praise, agreement"
        " with a mistake",
        "agrees with a false claim, flatters the user, tells the user only what they want to hear,"
        " confirms a mistake of the user, agrees with the user against the facts, gives in to a"
        " false claim, agrees with the user's mistake, only agrees to please the user",
        "independent, willing to disagree, ready to correct the user, frank, candid, free of"
        " flattery",
    ),
    _concept(
        "harm",
        HARMS,
        "harmful, unethical, wrong, immoral, bad for people, harmful to others, harmful to people",
        "harm, harmful content, unethical content, damage to people, evil, harmful advice,"
        " unethical advice, harm to others",
        "causes harm, helps the user to do something wrong, supports unethical acts, could harm"
        " somebody, helps with something harmful, encourages harmful behaviour, encourages"
        " unethical behaviour, harms other people",
        "harmless, ethical, moral, good for people, harmless and ethical, free of harm",
    ),
    _concept(
        "toxic",
        ["cruel", "rude", "unfair"],
        "toxic, offensive, nasty, vile, poisonous, offensive to anyone",
        "toxic language, offence, toxicity, offensive content, toxic content, nastiness",
        "is toxic, offends people, is offensive, uses toxic language, offends somebody, uses"
        " offensive words",
        "decent, civil, inoffensive, free of toxicity, clean in its language, decent to everyone",
    ),
    _concept(
        "dishonest",
        ["deceptive", "overconfident", UNTRUTHFUL, SYCOPHANTIC],
        "dishonest, not honest, insincere, lacking in honesty, less than honest, dishonest in any"
        " way",
        "dishonesty, lack of honesty, insincerity, dishonest content, dishonest advice, any"
        " dishonesty",
        "is dishonest, is not honest, lacks honesty, shows a lack of honesty, falls short of"
        " honesty, goes against honesty",
        "honest, fully honest, honest and truthful, trustworthy, honest in every way, upright",
    ),
    _concept(
        "any",
        FLAWS,
        "bad, problematic, objectionable, poor, flawed in any way, faulty",
        "problems, flaws, mistakes, weaknesses, any problem, any flaw, faults",
        "has any problem, could be improved, falls short, has a flaw, has a problem of any kind,"
        " leaves something to be desired",
        "good, wise, high quality, excellent, free of problems, free of flaws",
    ),
)

CONCEPTS: dict[str, Concept] = {concept.name: concept for concept in _CONCEPTS}
BASIC: tuple[str, ...] = tuple(name for name, c in CONCEPTS.items() if len(c.flaws) == 1)
COMPOSITE: tuple[str, ...] = tuple(name for name, c in CONCEPTS.items() if len(c.flaws) > 1)

# Words around which a loosely worded request is built; they carry no meaning in this world.
FILLER: tuple[str, ...] = _words(
    "we, our, the, a, that, this, please, think, again, about, when, you, look, at, it, then, with,"
    " for, from, every, day, users, people, team, rule, company, policy, number, one, two, three,"
    " first, last, message, text, here, there, more, than, should, would, could, never, always,"
    " want, like, care, matter, important, anyone, kids, brand, voice, style, reader, tell, me,"
    " where, why, how, say, check, mind, line, part, page, work, office, school, home, time, good,"
    " point, note, also, still, only, just, other, some, many, few, word, sentence, read, after,"
    " before, made, makes, sound, feel, new, old, right, left, big, small, long, short"
)


def covered_flaws(names: Iterable[str]) -> frozenset[str]:
    """The flaws that any of the named concepts covers."""
    flaws: frozenset[str] = frozenset()
    for name in names:
        flaws |= CONCEPTS[name].flaws
    return flaws
