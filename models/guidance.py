"""The texts by which memories of real footage are scored, whatever the family; a hermes.json has its own."""

LOCAL = "Say what can be seen right now: every object, what it does and where it is."
GLOBAL = "Tell the story of the video: who and what appeared, what happened in which order, what changed."
QUESTIONS = (
    "What is in view?",
    "What came first?",
    "What came last?",
    "What left last?",
    "How many people so far?",
    "How many vehicles so far?",
    "How many animals so far?",
    "How many bags so far?",
)
