"""The grammar's French is exact: each phenomenon on sentences written by hand, and on many drawn ones."""

import random
import re

import pytest

from distilkit.errors import BadValue
from distilkit.tasks import grammar
from distilkit.tasks.grammar import PHENOMENA, Phrase, elide, is_held_out, participle, sentences, words
from distilkit.tasks.lexicon import ADJECTIVES, ASPIRATED, NOUNS, VERBS


def verb(english):
    return next(one for one in VERBS if one.english == english)


def noun(english):
    return next(one for one in NOUNS if one.english == english)


def adjective(english):
    return next(one for one in ADJECTIVES if one.english == english)


@pytest.mark.parametrize(
    ("apart", "written"),
    [
        ("je aime le école", "j'aime l'école"),
        ("il ne aime pas la amie de Anna", "il n'aime pas l'amie d'Anna"),
        ("parce que il est ici", "parce qu'il est ici"),
        ("elle parle à le ami", "elle parle à l'ami"),
        ("elle parle à le héros de les hiboux", "elle parle au héros des hiboux"),
        ("il va à les lacs", "il va aux lacs"),
        ("près de le lac", "près du lac"),
        ("près de des oiseaux", "près d'oiseaux"),
        ("près de de grands lacs", "près de grands lacs"),
        ("combien de onze", "combien de onze"),
        ("nous les~ voyons", "nous les voyons"),
        ("il le~ aime", "il l'aime"),
        ("beaucoup de œufs", "beaucoup d'œufs"),
        ("que est-ce que il voit", "qu'est-ce qu'il voit"),
    ],
)
def test_elision_and_contraction(apart, written):
    assert " ".join(elide(apart.split())) == written


@pytest.mark.parametrize(
    ("english", "forms"),
    [
        ("big", ("grand", "grande", "grands", "grandes")),
        ("old", ("vieux", "vieille", "vieux", "vieilles")),
        ("beautiful", ("beau", "belle", "beaux", "belles")),
        ("happy", ("heureux", "heureuse", "heureux", "heureuses")),
        ("royal", ("royal", "royale", "royaux", "royales")),
        ("red", ("rouge", "rouge", "rouges", "rouges")),
        ("blue", ("bleu", "bleue", "bleus", "bleues")),
        ("grey", ("gris", "grise", "gris", "grises")),
    ],
)
def test_adjectives_agree(english, forms):
    assert adjective(english).forms == forms


@pytest.mark.parametrize(
    ("english", "french", "plural"),
    [
        ("horse", "cheval", "chevaux"),
        ("bird", "oiseau", "oiseaux"),
        ("game", "jeu", "jeux"),
        ("eye", "œil", "yeux"),
        ("nose", "nez", "nez"),
        ("owl", "hibou", "hiboux"),
        ("grandmother", "grand-mère", "grands-mères"),
    ],
)
def test_plurals(english, french, plural):
    assert (noun(english).french, noun(english).frenches) == (french, plural)


def test_english_plurals_and_third_persons():
    assert [noun(one).englishes for one in ("child", "box", "cherry", "boy", "leaf", "sheep")] == [
        *("children", "boxes", "cherries", "boys", "leaves", "sheep")
    ]
    assert [verb(one).third for one in ("wash", "carry", "play", "have")] == ["washes", "carries", "plays", "has"]


@pytest.mark.parametrize(
    ("english", "present", "imperfect", "future", "past"),
    [
        ("eat", "mangeons", "mangions", "mangerons", "mangé"),
        ("buy", "achetons", "achetions", "achèterons", "acheté"),
        ("call", "appelons", "appelions", "appellerons", "appelé"),
        ("see", "voyons", "voyions", "verrons", "vu"),
        ("have", "avons", "avions", "aurons", "eu"),
        ("send", "envoyons", "envoyions", "enverrons", "envoyé"),
        ("come", "venons", "venions", "viendrons", "venu"),
        ("read", "lisons", "lisions", "lirons", "lu"),
    ],
)
def test_verbs_of_nous(english, present, imperfect, future, past):
    one = verb(english)
    assert (one.present[2], one.imperfect[2], one.future[2], one.participle) == (present, imperfect, future, past)


def test_participles_agree():
    assert [participle(verb("come"), gender, many) for gender in "mf" for many in (False, True)] == [
        *("venu", "venus", "venue", "venues")
    ]
    assert participle(verb("take"), "m", True) == "pris"


def said(subject, english, tense, **more):
    return " ".join(elide([*subject.french, *writer().french_verb(verb(english), subject, tense, **more)]))


def writer():
    return grammar._Writer(random.Random(0))


SHE = Phrase(("she",), ("elle",), 1, "f")
WE = Phrase(("we",), ("nous",), 2, "m", True)
I = Phrase(("I",), ("je",), 0)  # noqa: E741
LETTERS = Phrase(("letters",), ("lettres",), 4, "f", True)
HER = Phrase(("her",), ("la~",), 1, "f", pronoun=True)


def test_the_passe_compose_and_its_agreement():
    assert said(SHE, "arrive", "past") == "elle est arrivée"
    assert said(WE, "fall", "past") == "nous sommes tombés"
    assert said(SHE, "see", "past") == "elle a vu"
    assert said(I, "write", "past", ahead=LETTERS) == "j'ai écrites"  # les lettres que j'ai écrites
    assert said(I, "see", "past", pronoun=HER) == "je l'ai vue"
    assert said(I, "see", "past", negation="not", pronoun=HER) == "je ne l'ai pas vue"
    assert said(SHE, "eat", "past", adverb="souvent") == "elle a souvent mangé"


def test_the_other_tenses():
    assert said(I, "love", "present", negation="not") == "je n'aime pas"
    assert said(WE, "eat", "used", negation="never") == "nous ne mangions jamais"
    assert said(SHE, "have", "future") == "elle aura"


def test_english_verbs():
    assert " ".join(grammar._english_verb(verb("see"), SHE, "present", "not")) == "does not see"
    assert " ".join(grammar._english_verb(verb("see"), SHE, "past")) == "saw"
    assert " ".join(grammar._english_verb(verb("see"), SHE, "used", asked=True)) == "did use to see"
    assert " ".join(grammar._english_verb(grammar.BE, WE, "past", "not")) == "were not"
    assert grammar._english_text(["I", "eat", "a", "apple", "."]) == "I eat an apple."
    assert grammar._english_text(["a", "useful", "dog", "."]) == "A useful dog."


def test_determiners_before_a_vowel():
    form = grammar._form
    assert form(grammar.ARTICLES["my"], "f", False, "amie") == "mon"
    assert form(grammar.ARTICLES["my"], "f", False, "grande") == "ma"
    assert form(grammar.ARTICLES["this"], "m", False, "homme") == "cet"
    assert form(grammar.ARTICLES["this"], "m", False, "héros") == "ce"
    assert adjective("old").linked == "vieil"


@pytest.fixture(scope="module")
def drawn():
    return sentences(3000, seed=3)


def test_a_seed_gives_the_same_sentences(drawn):
    assert sentences(3000, seed=3) == drawn
    assert sentences(50, seed=4) != drawn[:50]
    assert len({one.english for one in drawn}) == 3000


def test_what_is_held_out_is_never_learnt(drawn):
    assert not any(is_held_out(one.english) for one in drawn)
    assert all(is_held_out(one.english) for one in sentences(20, seed=3, held_out=True))


def test_every_phenomenon_occurs(drawn):
    share = {name: sum(name in one.phenomena for one in drawn) / len(drawn) for name in PHENOMENA}
    assert min(share.values()) > 0.01, share


def test_no_sentence_is_wrong_on_its_face(drawn):
    vowel = r"(?:[aeiouyàâéèêîôœ]|h(?!ibou|éros|aut|onteu|uit))"
    for one in drawn:
        french = one.french.lower().replace("onze", "xonze")
        assert not re.search(rf"\b(le|la|je|me|ne|que|de) {vowel}", french), one
        assert not re.search(r"\b(de|à) (le|les) (?!\w+(er|ir|re)\b)", french), one
        assert not re.search(r"\b(au|du|ce) " + vowel, french), one
        assert not {"_", "~"} & set(one.french + one.english), one
        assert (one.french + one.english)[0].isupper(), one
        assert (one.french.endswith(" ?"), one.english.endswith("?")) == (one.english[-1] == "?",) * 2, one
        assert (" ne " in f" {french}" or "n'" in french) == ("negation" in one.phenomena), one
        assert max(len(words(one.english)), len(words(one.french))) <= grammar.LONGEST, one
    assert {"hibou", "héros"} <= ASPIRATED


def test_the_lexicon_is_large_enough():
    english = {one.english for one in NOUNS} | {one.englishes for one in NOUNS} | {one.english for one in ADJECTIVES}
    english |= {form for one in VERBS for form in (one.english, one.third, one.past)}
    french = {form for one in NOUNS for form in (one.french, one.frenches)}
    french |= {form for one in ADJECTIVES for form in one.forms}
    french |= {form for one in VERBS for form in (*one.present, *one.imperfect, *one.future, one.participle)}
    assert min(len(english), len(french)) >= 800


def test_a_number_of_sentences_is_checked():
    with pytest.raises(BadValue, match="count must lie in"):
        sentences(0)
