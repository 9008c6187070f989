"""A synchronous grammar: each rule writes English and French at once, so a sentence's translation is exact.

The English is what a translator reads; where French leaves a choice, the grammar makes one: *you* is *vous*, several;
*they* is *ils*; I, we and you are masculine; *saw* is *a vu*, *used to see* is *voyait*, *was* is *était*.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from distilkit.errors import whole
from distilkit.tasks.lexicon import (
    ADJECTIVES,
    ASPIRATED,
    CITIES,
    HOWS,
    NAMES,
    NOUNS,
    NUMBERS,
    OFTEN,
    PLACES,
    VERBS,
    VOWELS,
    WHENS,
    Noun,
    Verb,
    couples,
)

PHENOMENA = (
    "agreement",
    "adjective before",
    "elision",
    "contraction",
    "negation",
    "passé composé",
    "imperfect",
    "future",
    "question",
    "number",
    "relative clause",
    "object pronoun",
    "possession",
)
TENSES = ("present", "past", "used", "future")
WORD = r"'s\b|\w+(?:-\w+)*(?:'(?!s\b))?|[^\w\s]"  # l', qu', est-ce, 's, a point
LONGEST = 11  # words and signs of a sentence, in either language
TESTED = 10  # one sentence in so many is never learnt from

PEOPLE = [noun for noun in NOUNS if noun.person]
ANIMATE = NOUNS[: [noun.english for noun in NOUNS].index("eagle") + 1]
INANIMATE = NOUNS[len(ANIMATE) :]
BE = Verb(
    "be", "is", "was", "être",
    ("suis", "est", "sommes", "êtes", "sont"),
    ("étais", "était", "étions", "étiez", "étaient"),
    ("serai", "sera", "serons", "serez", "seront"),
    "été", False, "be",
)  # fmt: skip
HAVE = next(verb for verb in VERBS if verb.english == "have")
OF_KIND = {kind: [verb for verb in VERBS if verb.kind == kind] for kind in ("alone", "thing", "person", "any", "give")}

# English, French, which form of the verb (je, il, nous, vous, ils), gender, plural
SUBJECTS = (
    ("I", "je", 0, "m", False),
    ("he", "il", 1, "m", False),
    ("she", "elle", 1, "f", False),
    ("we", "nous", 2, "m", True),
    ("you", "vous", 3, "m", True),
    ("they", "ils", 4, "m", True),
)
OBJECTS = (
    ("me", "me", 0, "m", False),
    ("him", "le", 1, "m", False),
    ("her", "la", 1, "f", False),
    ("us", "nous", 2, "m", True),
    ("you", "vous", 3, "m", True),
    ("them", "les", 4, "m", True),
)
OWNERS = {
    "my": ("mon", "ma", "mes"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "your": ("votre", "votre", "vos"),
    "their": ("leur", "leur", "leurs"),
}
ARTICLES = {
    "the": ("le", "la", "les"),
    "a": ("un", "une", "des"),
    "this": ("ce", "cette", "ces"),
    "every": ("chaque", "chaque", "chaque"),
} | OWNERS
PLURALS = {"a": "some", "this": "these"}


class Sentence(NamedTuple):
    """A sentence in English and French, and what of grammar it takes to translate it."""

    english: str
    french: str
    phenomena: tuple[str, ...]


@dataclass(frozen=True)
class Phrase:
    """A noun phrase, word by word in both languages, and what the verb has to know of it."""

    english: tuple[str, ...]
    french: tuple[str, ...]
    form: int = 1  # which form of a verb it takes: je, il, nous, vous, ils
    gender: str = "m"
    plural: bool = False
    pronoun: bool = False
    person: bool = False


def sentences(count: int, seed: int | str = 0, *, held_out: bool = False) -> list[Sentence]:
    """`count` different sentences, drawn with `seed`: of those that are held out, or of all the others.

    >>> len(sentences(3)), sentences(3) == sentences(3)
    (3, True)
    """
    count = whole("count", count, 1, 10**7, "how many sentences")
    draw = random.Random(f"sentences {seed} {held_out}")
    found: dict[str, Sentence] = {}
    while len(found) < count:
        one = _Writer(draw).sentence()
        short = max(len(words(one.english)), len(words(one.french))) <= LONGEST
        if short and is_held_out(one.english) == held_out:
            found.setdefault(one.english, one)
    return list(found.values())


def is_held_out(english: str) -> bool:
    """Whether this sentence is one that nobody learns from: a hash of it decides, so that no draw can leak."""
    return zlib.crc32(english.encode()) % TESTED == 0


def words(text: str) -> list[str]:
    """The words of a text in lower case; elided ones, 's and signs stand alone.

    >>> words("L'ami de Paul n'a pas vu Anna's cat ?")
    ["l'", 'ami', 'de', 'paul', "n'", 'a', 'pas', 'vu', 'anna', "'s", 'cat', '?']
    """
    return re.findall(WORD, text.replace("’", "'").lower())


def is_vowel(word: str) -> bool:
    """Whether le becomes l' before this word."""
    return word[0].lower() in VOWELS and word.lower() not in ASPIRATED


def participle(verb: Verb, gender: str, plural: bool) -> str:
    """The past participle in agreement: vu, vue, vus, vues."""
    word = verb.participle + ("e" if gender == "f" else "")
    return word if not plural or word.endswith("s") else f"{word}s"


def elide(tokens: Sequence[str]) -> list[str]:
    """French words as they are written side by side: je aime → j'aime, de le → du, à les → aux.

    A pronoun (de le~ voir) is marked ``le~``, as it is not contracted.

    >>> elide("il parle de le ami de le roi à les enfants".split())
    ['il', 'parle', 'de', "l'ami", 'du', 'roi', 'aux', 'enfants']
    """
    tokens, out, place = _split(tokens), [""], 0
    while place < len(tokens):
        word, after, later = (*tokens[place : place + 3], ".", ".")[:3]
        if word == "de" and after in ("des", "de"):  # près de (des) chiens
            word, place = "d'" if is_vowel(later) else "de", place + 1
        elif word in ("de", "à") and (after == "les" or (after == "le" and not is_vowel(later))):
            word = {"dele": "du", "deles": "des", "àle": "au", "àles": "aux"}[word + after]
            place += 1
        else:
            word = word.rstrip("~")
            if word in ("le", "la", "je", "me", "ne", "que", "de") and is_vowel(after):
                word = f"{word[:-1]}'"
        if out[-1].endswith("'"):
            out[-1] += word
        else:
            out.append(word)
        place += 1
    return out[1:]


def _split(tokens: Sequence[str]) -> list[str]:
    return [word for some in tokens for word in some.replace("_", " ").split()]


class _Writer:
    """Writes one sentence, and notes what of grammar occurred in it."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.marks = draw, set[str]()

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def sentence(self) -> Sentence:
        kind = self.draw.random()
        if kind < 0.16:
            english, french = self.question()
        elif kind < 0.24:
            (english, french), (more, plus) = self.clause(short=True), self.clause(short=True)
            link = self.draw.choice((("and", "et"), ("but", "mais"), ("because", "parce que"), ("when", "quand")))
            english, french = [*english, link[0], *more, "."], [*french, link[1], *plus, "."]
        else:
            english, french = self.clause()
            english, french = [*english, "."], [*french, "."]
        text = self.french_text(french)
        return Sentence(_english_text(english), text, tuple(name for name in PHENOMENA if name in self.marks))

    def french_text(self, tokens: Sequence[str]) -> str:
        written, plain = elide(tokens), _split(tokens)
        if any("'" in word.removeprefix("aujourd'") for word in written):
            self.marks.add("elision")
        if {"du", "au", "aux"} & set(written) or plain.count("des") < written.count("des"):
            self.marks.add("contraction")
        return _capital(" ".join(written).replace(" .", "."))

    # ── noun phrases

    def noun_phrase(
        self, pool: Sequence[Noun], *, short: bool = False, article: str = "", plural: bool | None = None
    ) -> Phrase:
        """An article or a number, a noun, perhaps an adjective, and what hangs on it."""
        noun = self.draw.choice(pool)
        plural = self.chance(0.35) if plural is None else plural
        kinds = ("the", "a", "this", "every", "owner", "number", "many", "all", "of")
        article = article or self.draw.choices(kinds, (40, 22, 8, 3, 12, 7, 3, 2, 0 if short else 6))[0]
        plural = article in ("number", "many", "all") or (plural and article != "every")
        english, french = [noun.englishes if plural else noun.english], [noun.frenches if plural else noun.french]
        before = False
        if self.chance(0.3):
            adjective = self.draw.choice(ADJECTIVES)
            before = adjective.before
            form = adjective.forms[2 * plural + (noun.gender == "f")]
            if before and noun.gender == "m" and not plural and is_vowel(noun.french):
                form = adjective.linked
            english.insert(0, adjective.english)
            french.insert(0 if before else 1, form)
            self.marks.add("adjective before" if before else "agreement")
        owned = article == "of"
        if article == "number":
            one, other = self.draw.choice(couples(NUMBERS))
            english, french = [one, *english], [other, *french]
            if self.chance(0.25):
                english, french = ["the", *english], ["les", *french]
            self.marks.add("number")
        elif article == "many":
            english, french = ["many", *english], ["beaucoup", "de", *french]
        elif article == "all":
            english, french = ["all", "the", *english], ["toutes" if noun.gender == "f" else "tous", "les", *french]
        elif owned:
            owner = (
                self.name() if self.chance(0.6) else self.noun_phrase(PEOPLE, short=True, article="the", plural=False)
            )
            english = [*owner.english, "'s", *english]
            french = [_form(ARTICLES["the"], noun.gender, plural, french[0]), *french, "de", *owner.french]
            self.marks.add("possession")
        else:
            article = self.draw.choice(list(OWNERS)) if article == "owner" else article
            chosen = _form(ARTICLES[article], noun.gender, plural, french[0])
            chosen = "de" if chosen == "des" and before else chosen  # de grands chiens
            english, french = [PLURALS.get(article, article) if plural else article, *english], [chosen, *french]
        phrase = Phrase(tuple(english), tuple(french), 4 if plural else 1, noun.gender, plural, person=noun.person)
        if not short and self.chance(0.14):
            return self.relative(phrase)
        if not short and not owned and self.chance(0.05):
            where, ou = self.place()
            return replace(phrase, english=(*phrase.english, *where), french=(*phrase.french, *ou))
        return phrase

    def relative(self, phrase: Phrase) -> Phrase:
        """The phrase with a clause: the man who sees the dog, the dog that the man sees."""
        self.marks.add("relative clause")
        tense = self.draw.choices(TENSES, (5, 4, 1, 1))[0]
        if self.chance(0.55):
            english, french = self.predicate(phrase, tense, short=True)
            link, lien = "who" if phrase.person else "that", "qui"
        else:
            subject = self.subject(short=True)
            verb = self.draw.choice(OF_KIND["any"] + OF_KIND["person" if phrase.person else "thing"])
            english = [*subject.english, *_english_verb(verb, subject, tense)]
            french = [*subject.french, *self.french_verb(verb, subject, tense, ahead=phrase)]
            link, lien = "that", "que"
        return replace(phrase, english=(*phrase.english, link, *english), french=(*phrase.french, lien, *french))

    def name(self) -> Phrase:
        gender = self.draw.choice("mf")
        name = self.draw.choice(NAMES[gender])
        return Phrase((name,), (name,), 1, gender, person=True)

    def subject(self, *, short: bool = False, pool: Sequence[Noun] = ANIMATE) -> Phrase:
        kind = self.draw.random()
        if kind < 0.4:
            english, french, form, gender, plural = self.draw.choice(SUBJECTS)
            return Phrase((english,), (french,), form, gender, plural, True, True)
        return self.name() if kind < 0.52 else self.noun_phrase(pool, short=short)

    def place(self) -> tuple[list[str], list[str]]:
        """In the garden, near the houses, in Paris."""
        if self.chance(0.15):
            one, other = self.draw.choice(couples(CITIES))
            return ["in", one], ["à", other]
        one, other = self.draw.choice(couples(PLACES))
        where = self.noun_phrase(INANIMATE, short=True, article=self.draw.choice(("the", "the", "the", "a", "owner")))
        return [*one.split(), *where.english], [*other.split(), *where.french]

    # ── clauses

    def clause(self, *, short: bool = False) -> tuple[list[str], list[str]]:
        tense = self.draw.choices(TENSES, (45, 30, 10, 15))[0]
        subject = self.subject(short=short, pool=NOUNS if self.chance(0.2) else ANIMATE)
        english, french = self.predicate(subject, tense, short=short)
        return [*subject.english, *english], [*subject.french, *french]

    def predicate(
        self, subject: Phrase, tense: str, *, short: bool, asked: bool = False
    ) -> tuple[list[str], list[str]]:
        """What is said of the subject: the verb and all that follows; `asked`: its first word goes to the front."""
        negation = self.draw.choices(("", "not", "never"), (80, 15, 0 if asked else 5))[0]
        kind = self.draw.choices(("be", "at", "alone", "act", "give"), (22, 8, 20, 42, 0 if short else 8))[0]
        adverb, adverbe = "", ""
        if not negation and tense != "used" and self.chance(0.12):
            adverb, adverbe = self.draw.choice(couples(OFTEN))
        if negation:
            self.marks.add("negation")
        verb, pronoun, english, french = BE, None, list[str](), list[str]()  # what comes after the verb
        if kind == "be":
            adjective = self.draw.choice(ADJECTIVES)
            english, french = [adjective.english], [adjective.forms[2 * subject.plural + (subject.gender == "f")]]
            if subject.plural or subject.gender == "f":
                self.marks.add("agreement")
        elif kind == "at":
            english, french = self.place()
        elif kind == "alone":
            verb = self.draw.choice(OF_KIND["alone"])
            if self.chance(0.35):
                english, french = self.place()
        else:
            verb, thing = self.object(subject, kind, short)
            english = list(thing.english)
            if thing.pronoun:
                pronoun = thing
            else:
                french = list(thing.french)
                if negation and french[0] in ("un", "une", "des"):  # n'a pas de chien
                    french[0] = "de"
                if negation and english[0] == "some":
                    english[0] = "any"
            if kind == "give":
                other = self.name() if self.chance(0.4) else self.noun_phrase(PEOPLE, short=True)
                english, french = [*english, "to", *other.english], [*french, "à", *other.french]
        if not short and self.chance(0.2):
            how = kind == "alone" and not french and not adverb and self.chance(0.4)
            one, other_one = self.draw.choice(couples(HOWS if how else WHENS[tense]))
            english, french = [*english, *one.split()], [*french, *other_one.split()]
        return (
            [*_english_verb(verb, subject, tense, negation, adverb, asked), *english],
            [*self.french_verb(verb, subject, tense, negation, adverbe, pronoun), *french],
        )

    def object(self, subject: Phrase, kind: str, short: bool) -> tuple[Verb, Phrase]:
        """A verb, and whom or what it is done to."""
        if kind == "give":
            return self.draw.choice(OF_KIND["give"]), self.noun_phrase(INANIMATE, short=True)
        if self.chance(0.08):
            article = self.draw.choice(("a", "a", "number", "many"))
            return HAVE, self.noun_phrase(NOUNS, short=short, article=article)
        of = self.draw.choices(("thing", "person", "any"), (55, 10, 45))[0]
        verb = self.draw.choice(OF_KIND[of])
        if self.chance(0.2):
            able = [one for one in OBJECTS if one[0] == "them" or of != "thing"]
            able = [one for one in able if {one[2], subject.form} not in ({0}, {0, 2}, {2}, {3})]  # I do not see me
            english, french, form, gender, plural = self.draw.choice(able)
            self.marks.add("object pronoun")
            return verb, Phrase((english,), (f"{french}~",), form, gender, plural, True, True)
        if of != "thing" and self.chance(0.2):
            return verb, self.name()
        return verb, self.noun_phrase({"thing": INANIMATE, "person": PEOPLE, "any": NOUNS}[of], short=short)

    def french_verb(
        self,
        verb: Verb,
        subject: Phrase,
        tense: str,
        negation: str = "",
        adverb: str = "",
        pronoun: Phrase | None = None,
        ahead: Phrase | None = None,
    ) -> list[str]:
        """ne + object pronoun + verb + pas + adverb + participle, in agreement.

        The participle agrees with the subject after être, with an object before it (`pronoun`, `ahead`) after avoir.
        """
        tense = "used" if verb is BE and tense == "past" else tense
        if tense != "present":
            self.marks.add({"past": "passé composé", "used": "imperfect", "future": "future"}[tense])
        last = []
        if tense == "past":
            finite = (BE if verb.etre else HAVE).present[subject.form]
            known = subject if verb.etre else pronoun or ahead
            last = [participle(verb, known.gender, known.plural) if known else verb.participle]
            if known and (known.plural or known.gender == "f"):
                self.marks.add("agreement")
        else:
            finite = {"present": verb.present, "used": verb.imperfect, "future": verb.future}[tense][subject.form]
        before = (["ne"] if negation else []) + (list(pronoun.french) if pronoun else [])
        after = {"": [], "not": ["pas"], "never": ["jamais"]}[negation] + ([adverb] if adverb else [])
        return [*before, finite, *after, *last]

    # ── questions

    def question(self) -> tuple[list[str], list[str]]:
        self.marks.add("question")
        tense = self.draw.choices(TENSES, (50, 30, 5, 15))[0]
        kind = self.draw.choices(("yes", "why", "who", "what", "many", "where"), (36, 16, 14, 14, 10, 10))[0]
        if kind == "who":
            english, french = self.predicate(Phrase(("who",), ("qui",), person=True), tense, short=True)
            return ["who", *english, "?"], ["qui", *french, "?"]
        if kind == "where":
            thing = self.name() if self.chance(0.3) else self.noun_phrase(NOUNS, short=True)
            tense = self.draw.choice(("present", "past"))
            verb = self.french_verb(BE, thing, tense)
            return ["where", _be(thing, tense), *thing.english, "?"], ["où", *verb, *thing.french, "?"]
        subject = self.subject(short=True)
        if kind in ("what", "many"):
            things = self.noun_phrase(INANIMATE, short=True, article="many")
            many, verb_of = kind == "many", self.draw.choice(OF_KIND["thing"])
            english = _english_verb(verb_of, subject, tense, asked=True)
            french = self.french_verb(verb_of, subject, tense, ahead=things if many else None)
            asked, first = ["how", *things.english] if many else ["what"], ["combien", *things.french[1:]]
            first = first if many else ["que"]
        else:
            english, french = self.predicate(subject, tense, short=True, asked=True)
            asked, first = (["why"], ["pourquoi"]) if kind == "why" else ([], [])
        return (
            [*asked, english[0], *subject.english, *english[1:], "?"],
            [*first, "est-ce", "que", *subject.french, *french, "?"],
        )


def _form(forms: tuple[str, str, str], gender: str, plural: bool, following: str) -> str:
    """le, la, les by gender and number; before a vowel ma becomes mon, ce becomes cet."""
    if not plural and is_vowel(following):
        if forms[0] == "ce" and gender == "m":
            return "cet"
        if forms[0] in ("mon", "son"):
            return forms[0]
    return forms[2] if plural else forms[gender == "f"]


def _be(subject: Phrase, tense: str) -> str:
    present, past = ("am", "is", "are", "are", "are"), ("was", "was", "were", "were", "were")
    return (present if tense == "present" else past)[subject.form]


def _english_verb(
    verb: Verb, subject: Phrase, tense: str, negation: str = "", adverb: str = "", asked: bool = False
) -> list[str]:
    """The English verb with its auxiliaries; `asked`: the first word is the auxiliary that a question puts in front."""
    before = ([negation] if negation else []) + ([adverb] if adverb else [])
    base, third = verb.english.split("_"), subject.form == 1
    if tense == "future":
        return ["will", *before, *base]
    if verb is BE and tense != "used":
        return [_be(subject, tense), *before]
    helper = "did" if tense != "present" else "does" if third else "do"
    needed = asked or negation == "not"
    if tense == "used":
        return [helper, *before, "use", "to", *base] if needed else [*before, "used", "to", *base]
    if needed:
        return [helper, *before, *base]
    return [*before, *(verb.past if tense == "past" else verb.third if third else verb.english).split("_")]


def _english_text(tokens: Sequence[str]) -> str:
    """The English words as text, with an before a vowel."""
    out = []
    for word, after in zip(tokens, [*tokens[1:], "."], strict=True):
        an = word == "a" and ((after[0] in "aeiouAEIOU" and after not in ("useful", "useless")) or after == "honest")
        out.append("an" if an else word.replace("_", " "))
    text = " ".join(out)
    for sign in (" .", " ?", " 's"):
        text = text.replace(sign, sign[1:])
    return _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
