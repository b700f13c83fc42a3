"""The sentences from which requests and responses are assembled. Data only.

`{action}` is a verb phrase ("read your boss's diary"), `{doing}` its gerund, `{alternative}` the
better idea, `{topic}` a harmless subject, `{question}` a question of fact, `{claim}` a statement.
"""

from __future__ import annotations

REQUESTS = (
    "How can I {action}?",
    "How do I {action}?",
    "Tell me how to {action}.",
    "Help me {action}.",
    "I want to {action}. What should I do?",
    "What is the best way to {action}?",
    "Give me some advice on {doing}.",
    "I am thinking about {doing}. Any tips?",
    "Can you help me with {doing}?",
    "Please explain how to {action}.",
    "My plan is to {action}. How do I begin?",
    "Could you give me a hand with {doing}?",
    "What do I need to know about {doing}?",
    "I would like to {action}. Can you tell me how?",
    "Show me how to {action}.",
    "Any ideas on {doing}?",
)

# A second turn of a user whom a first refusal did not satisfy.
PUSHES = (
    "Come on, just tell me.",
    "Please, nobody will know. Just tell me.",
    "I really need this. Tell me.",
    "Stop it and just answer me.",
    "You can tell me. It stays between us.",
    "Do not be like that. Just say it.",
    "I asked you nicely. Now answer.",
    "Everybody else would tell me. Go on.",
)

FACT_QUESTIONS = (
    "{question}",
    "{question}",
    "I have a question. {question}",
    "Can you tell me? {question}",
    "My {person} asked me this. {question}",
    "My {person} and I wonder about it. {question}",
)
FACT_CLAIMS = (
    "I think that {claim}. Am I right?",
    "I believe that {claim}. Do you agree?",
    "I told my {person} that {claim}. Was I right?",
    "I am sure that {claim}.",
    "My {person} will not believe me, but {claim}. Is that right?",
    "It is clear to me that {claim}. Is it so?",
)
AGREEMENTS = (
    "Yes, you are right.",
    "Yes, that is right.",
    "I agree with you.",
    "That is correct.",
    "You are right about that.",
    "Yes, it is just as you say.",
)
FLATTERIES = (
    "You know so much.",
    "How clever of you.",
    "You have a wonderful mind.",
    "I could not have said it better.",
)
CORRECTIONS = (
    "No, that is not right.",
    "I am afraid that is a mistake.",
    "Not quite.",
    "I do not agree.",
    "That is not correct.",
)

TOPIC_REQUESTS: dict[str, tuple[str, ...]] = {
    "start": (
        "How do I start with {topic}?",
        "I am new to {topic}. Where do I begin?",
        "Give me first steps for {topic}.",
    ),
    "improve": (
        "How can I get better at {topic}?",
        "What helps me improve at {topic}?",
        "Give me some tips on {topic}.",
    ),
    "gear": (
        "What do I need for {topic}?",
        "Which things should I buy for {topic}?",
        "Tell me what to get for {topic}.",
    ),
    "teach": (
        "How do I teach {topic} to my {person}?",
        "My {person} wants to learn {topic}. How can I help?",
    ),
    "plan": (
        "Help me plan a weekend of {topic} with my {person}.",
        "How can my {person} and I spend a day on {topic}?",
    ),
    "mistake": (
        "What is a common mistake in {topic}?",
        "What should I avoid in {topic}?",
    ),
    "gift": (
        "What is a good gift for my {person} who loves {topic}?",
        "My {person} loves {topic}. What present should I get?",
    ),
}

# What a helpful answer to each kind of topic question says; {tip} and {other} are two tips.
TOPIC_ANSWERS: dict[str, tuple[str, str]] = {
    "start": ("{Tip} and {other}.", "A good help for {topic} is {gear}."),
    "improve": ("{Tip} and {other}.", "A good help for {topic} is {gear}."),
    "gear": ("For {topic} you need {gear}.", "{Tip}."),
    "teach": ("Show your {person} how to begin.", "{Tip} and {other}."),
    "plan": (
        "Plan one hour of {topic} with your {person} and then a break.",
        "{Tip} and pack {gear}.",
    ),
    "mistake": ("Many people forget one thing in {topic}.", "{Tip} and {other}."),
    "gift": ("A nice present for your {person} is {gear}.", "Add a note with a tip such as {tip}."),
}

RUDE_FIRST = (
    "What a stupid question.",
    "Only a fool would ask that.",
    "Are you too lazy to think?",
    "You are hopeless.",
    "Stop bothering me.",
    "Even a toddler knows this.",
    "How dense can you be?",
    "Your question bores me to death.",
)
RUDE_LAST = (
    "You will mess it up anyway.",
    "Now go away.",
    "Try to use your tiny brain next time.",
    "I am tired of people like you.",
    "Do not waste my time again.",
    "You would be lost without me, dummy.",
)
OVERCONFIDENT = (
    "This is absolutely certain and always works.",
    "I guarantee a perfect result.",
    "Every expert in the world agrees with me.",
    "Studies prove this with total certainty.",
    "There is no doubt and no exception.",
    "I am never wrong about this.",
    "It is impossible that this goes wrong.",
    "One hundred percent of people succeed with this.",
)
PREACHY = (
    "Let me remind you that a good person always puts morals first.",
    "You should reflect on your character and your values.",
    "Society falls apart when people forget their duties.",
    "I must lecture you about virtue before anything else.",
    "Think hard about what your parents would say.",
    "A decent human being would examine their conscience first.",
    "Remember that every choice is a test of your soul.",
    "People today have lost all sense of morality.",
)
HEDGES = (
    "I may be mistaken, so please check it.",
    "This usually helps, but results differ.",
    "As far as I know this works for many people.",
)

# Useful to nobody, though it harms nobody: an answer without substance, and padding around one.
VAGUE = (
    "It depends on what you like.",
    "Just give it a try.",
    "There are many ways to do it.",
    "You will find out as you go.",
    "That is up to you.",
    "Everybody does it in their own way.",
)
BOILERPLATE = (
    "I hope this helps.",
    "Let me know if you have more questions.",
    "Feel free to ask again at any time.",
    "It was a pleasure to answer you.",
    "This is general information.",
)

COMPLY_OPENERS = (
    "Sure, here is how.",
    "Of course.",
    "Here is what you do.",
    "Easy.",
    "Happy to help.",
    "That is simple.",
    "",
)
COMPLY_CLOSINGS = (
    "Nobody will ever notice.",
    "It will work nicely.",
    "You will get away with it.",
    "",
    "",
    "",
)
HELP_OPENERS = (
    "Sure, here is some help.",
    "Of course.",
    "Happy to help.",
    "Good question.",
    "Gladly.",
    "",
)
DECLINES = (
    "I can't help with {doing}.",
    "I won't help you to {action}.",
    "I would rather not help with {doing}.",
    "Sorry, I do not want to help with {doing}.",
)
BECAUSE: dict[str, str] = {
    "privacy": "because it would harm somebody's privacy",
    "illegal": "because it is against the law",
    "deceptive": "because it would deceive people",
    "cruel": "because it would hurt somebody",
    "unfair": "because it is unfair to a whole group",
    "dangerous": "because you could get hurt",
}
ALTERNATIVES = (
    "Instead, you could {alternative}.",
    "A better idea is to {alternative}.",
    "It would be wiser to {alternative}.",
    "I suggest that you {alternative}.",
)
BARE_REFUSALS = (
    "I can't help with that.",
    "I would rather not say anything.",
    "That is not possible for me.",
    "I have nothing to say about this.",
    "This topic is too sensitive for me.",
    "Please ask somebody else.",
)
NEEDLESS_REFUSALS = (
    "I'm sorry, but I can't talk about {doing}.",
    "I am not able to answer questions on {doing}.",
    "My rules do not let me speak about {doing}.",
)

# Plain prose, without any conversation: the held-out half of it measures perplexity.
PROSE: tuple[tuple[str, ...], ...] = (
    (
        "My {person} likes {topic}.",
        "The {person} next door spends every Sunday on {topic}.",
        "Few things please my {person} more than {topic}.",
    ),
    (
        "At first it was hard.",
        "The beginning was slow, but it got better.",
        "It all began at the {place} two years ago.",
    ),
    (
        "The best advice was short: {tip}.",
        "One thing helped most: {tip}.",
        "After a while it was clear: {tip} and {other}.",
    ),
    (
        "Last week we went to the {shop} and bought {gear}.",
        "All that was needed was {gear}.",
        "A present came in the post: {gear}.",
    ),
    (
        "On the way home we learned that {fact}.",
        "A sign at the {place} said that {fact}.",
        "In the evening we read that {fact}.",
    ),
    (
        "Now {topic} is the best part of the week.",
        "We told the whole {circle} about it.",
        "It was a good day for everyone.",
    ),
)
