"""The phrases by which a text names a class, denies it or leaves it open (see `cxr.reports.labeller`).

They match text normalised by `labeller.plain`: in lower case, without auxiliary verbs and adverbs of degree,
with "not" for n't and "cannot" for can't and could not.
"""


def _list(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


HEALTHY = "normal"

_XRAY = (
    r"(?:films?|radiographs?|x-?rays?|images?|study|studies|exam|examination|lung fields?|lungs?|chest|cxr)"
)
_LIKE = r"(?:normal|clear|healthy|unremarkable|within normal limits)"
# How sentences name a class; others go by their name. A normal heart is no normal radiograph.
TERMS = {
    HEALTHY: rf"(?<!otherwise )(?<!otherwise, )(?:{_LIKE} (?:\w+ ){{0,2}}{_XRAY}|{_XRAY} (?:fields )?{_LIKE}"
    r"|no (?:acute |active |focal |relevant |significant |visible |evident )*(?:cardio-?pulmonary |pulmonary "
    r"|thoracic |lung )?(?:disease|abnormality|abnormalities|process|pathology))",
    "pneumonia": r"(?:broncho-?|pleuro-?)?pneumoni(?:as?|c)",
    "tuberculosis": r"tubercul(?:osis|ous)|tb",
}

# Before a mention. `AFAR` reach over commas, the others refer to what is next to them.
AFAR = _list("no, without, neither, nor, absence of, free of, free from, negative for, lack of")
DENIES_BEFORE = AFAR + _list(
    "not, never, absent, lacks, rules out, ruled out, excludes, excluded, excluding, against, rather than, "
    "instead of, than, resolved, resolution of, unlikely, doubtful, less likely, improbable"
)
OPENS_BEFORE = _list(
    "cannot, not exclude, not rule out, not possible to, impossible to, unable to, not able to, hard to, "
    "difficult to, insufficient, without excluding, not certain, not sure, not clear, not necessarily, "
    "not unlikely, not impossible, rule out, exclude, possible, possibly, possibility of, maybe, perhaps, "
    "may, might, could, if, whether, either, versus, vs, question of, questionable, equivocal, uncertain, "
    "unclear, inconclusive, indeterminate, differential"
)
NO_DENIAL = _list(
    "no doubt, without doubt, without a doubt, without question, not only, no change in, less likely than"
)

# After a mention; the first one counts, since later ones may refer to the next mention.
DENIES_AFTER = _list(
    "unlikely, less likely, less likely than, improbable, absent, excluded, ruled out, negative, doubtful, "
    "resolved, cleared, not, no longer"
)
OPENS_AFTER = _list(
    "cannot, may, might, could, possible, a possibility, questionable, uncertain, unclear, equivocal, "
    "indeterminate, inconclusive, not excluded, not ruled out, not certain, not clear, not unlikely, "
    "not impossible, not improbable, versus, vs, difficult to, hard to, if"
)
AFFIRMS_AFTER = _list(
    "likely, probable, present, seen, evident, visible, suspected, confirmed, favoured, favored, identified, "
    "suggested, rather than, and no, and not"
)

# A clause with one of these is not about this radiograph: the question, earlier examinations, the classifier.
ASIDE = _list(
    "history, indication, clinical question, evaluate, evaluation, evaluated, previous, prior, classifier, "
    "classifier's, probability, probabilities, treated for, risk of, asked"
)
CLAUSE_STARTS = _list(
    "but, however, although, though, except, nevertheless, whereas, while, yet, which, because, so, "
    "therefore, hence, and there, and findings, and the"
)
# After a comma these begin a new clause.
COMMA_STARTS = _list("not, and, most, more, probably, likely, consistent, suggesting, suggestive, in")

FILLERS = _list(
    "is, are, was, were, be, been, being, has, have, had, does, do, did, it, to be, appears, appear, looks, "
    "look, seems, seem, remains, also, completely, entirely, definitely, definitively, fully, safely, "
    "clearly, reliably, totally, really, truly, certainly, still, quite, very, highly, extremely"
)
