"""Sentences in English and in French, from one small grammar that writes both at once, from a seed alone.

A synchronous grammar: each rule says at the same time how the phrase is put in English and in French, where gender and
number agree, adjectives go before or after their noun, and a vowel takes the place of another (l', d', n', cet, bel).
"""

from __future__ import annotations

import random
from typing import NamedTuple


class Noun(NamedTuple):
    """english, englishes (its plural), french, frenches, and whether the French one is feminine."""

    english: str
    englishes: str
    french: str
    frenches: str
    feminine: bool


PEOPLE = """
woman/women femme/femmes f, man/men homme/hommes m, girl/girls fille/filles f, boy/boys garçon/garçons m,
teacher/teachers professeur/professeurs m, neighbour/neighbours voisin/voisins m, doctor/doctors médecin/médecins m,
friend/friends ami/amis m, sister/sisters sœur/sœurs f, brother/brothers frère/frères m,
child/children enfant/enfants m,
student/students étudiant/étudiants m, singer/singers chanteuse/chanteuses f, baker/bakers boulanger/boulangers m,
farmer/farmers paysan/paysans m, queen/queens reine/reines f, king/kings roi/rois m,
nurse/nurses infirmière/infirmières f,
driver/drivers conducteur/conducteurs m, writer/writers écrivain/écrivains m, aunt/aunts tante/tantes f,
uncle/uncles oncle/oncles m, cat/cats chat/chats m, dog/dogs chien/chiens m, bird/birds oiseau/oiseaux m,
horse/horses cheval/chevaux m, mouse/mice souris/souris f
"""
THINGS = """
house/houses maison/maisons f, book/books livre/livres m, door/doors porte/portes f, car/cars voiture/voitures f,
tree/trees arbre/arbres m, flower/flowers fleur/fleurs f, table/tables table/tables f, chair/chairs chaise/chaises f,
apple/apples pomme/pommes f, orange/oranges orange/oranges f, letter/letters lettre/lettres f, key/keys clé/clés f,
shirt/shirts chemise/chemises f, hat/hats chapeau/chapeaux m, boat/boats bateau/bateaux m, train/trains train/trains m,
window/windows fenêtre/fenêtres f, picture/pictures image/images f, song/songs chanson/chansons f,
story/stories histoire/histoires f, egg/eggs œuf/œufs m, cake/cakes gâteau/gâteaux m, knife/knives couteau/couteaux m,
glass/glasses verre/verres m, bottle/bottles bouteille/bouteilles f, street/streets rue/rues f,
bridge/bridges pont/ponts m, island/islands île/îles f, church/churches église/églises f, coat/coats manteau/manteaux m,
dress/dresses robe/robes f, shoe/shoes chaussure/chaussures f, bicycle/bicycles vélo/vélos m, box/boxes boîte/boîtes f,
bag/bags sac/sacs m, plate/plates assiette/assiettes f, lamp/lamps lampe/lampes f, clock/clocks horloge/horloges f,
mirror/mirrors miroir/miroirs m, ticket/tickets billet/billets m, newspaper/newspapers journal/journaux m,
computer/computers ordinateur/ordinateurs m, machine/machines machine/machines f, garden/gardens jardin/jardins m
"""
# english: masculine feminine, plurals masculine feminine, and what a masculine one says before a vowel
BEFORE = """
small petit petite petits petites petit, big grand grande grands grandes grand, beautiful beau belle beaux belles bel,
new nouveau nouvelle nouveaux nouvelles nouvel, old vieux vieille vieux vieilles vieil,
good bon bonne bons bonnes bon, bad mauvais mauvaise mauvais mauvaises mauvais,
pretty joli jolie jolis jolies joli
"""
AFTER = {
    "things": """
red rouge rouge rouges rouges, blue bleu bleue bleus bleues, green vert verte verts vertes,
white blanc blanche blancs blanches, black noir noire noirs noires, yellow jaune jaune jaunes jaunes,
grey gris grise gris grises, heavy lourd lourde lourds lourdes, light léger légère légers légères,
expensive cher chère chers chères, round rond ronde ronds rondes, strange étrange étrange étranges étranges,
dirty sale sale sales sales, clean propre propre propres propres,
interesting intéressant intéressante intéressants intéressantes, French français française français françaises
""",
    "people": """
famous célèbre célèbre célèbres célèbres, quiet calme calme calmes calmes, strong fort forte forts fortes,
happy heureux heureuse heureux heureuses, tired fatigué fatiguée fatigués fatiguées,
serious sérieux sérieuse sérieux sérieuses, intelligent intelligent intelligente intelligents intelligentes,
patient patient patiente patients patientes, curious curieux curieuse curieux curieuses
""",
}
# he/they, then je, il, nous, vous, ils
VERBS = """
sees/see vois voit voyons voyez voient, takes/take prends prend prenons prenez prennent,
reads/read lis lit lisons lisez lisent, sells/sell vends vend vendons vendez vendent,
opens/open ouvre ouvre ouvrons ouvrez ouvrent, knows/know connais connaît connaissons connaissez connaissent,
puts/put mets met mettons mettez mettent, describes/describe décris décrit décrivons décrivez décrivent,
chooses/choose choisis choisit choisissons choisissez choisissent,
finishes/finish finis finit finissons finissez finissent, paints/paint peins peint peignons peignez peignent,
follows/follow suis suit suivons suivez suivent
"""
REGULAR = """
likes/like aimer, looks for/look for chercher, finds/find trouver, carries/carry porter, shows/show montrer,
buys/buy acheter, gives/give donner, eats/eat manger, watches/watch regarder, closes/close fermer, breaks/break casser,
draws/draw dessiner, washes/wash laver, hides/hide cacher, keeps/keep garder, borrows/borrow emprunter,
forgets/forget oublier, uses/use utiliser, repairs/repair réparer, brings/bring apporter, pulls/pull tirer,
touches/touch toucher, counts/count compter, admires/admire admirer, studies/study étudier
"""
PLACES = (
    ("in the garden", "dans le jardin"), ("in the kitchen", "dans la cuisine"), ("at school", "à l'école"),
    ("near the river", "près de la rivière"), ("behind the house", "derrière la maison"), ("in Paris", "à Paris"),
    ("on the beach", "sur la plage"), ("at the market", "au marché"), ("under the bridge", "sous le pont"),
    ("in the forest", "dans la forêt"), ("at the station", "à la gare"), ("in the village", "dans le village"),
    ("in the mountains", "à la montagne"), ("in front of the church", "devant l'église"),
)  # fmt: skip
TIMES = (
    ("today", "aujourd'hui"), ("every day", "tous les jours"), ("in the morning", "le matin"), ("now", "maintenant"),
    ("on Mondays", "le lundi"), ("on Sundays", "le dimanche"), ("in summer", "en été"), ("in winter", "en hiver"),
    ("very often", "très souvent"), ("in the evening", "le soir"),
)  # fmt: skip
PRONOUNS = (
    ("I", "je", 0),
    ("he", "il", 1),
    ("she", "elle", 1),
    ("we", "nous", 2),
    ("you", "vous", 3),
    ("they", "ils", 4),
)
# english: French masculine, feminine, plural, and what a singular one says before a vowel (masculine, feminine)
DETERMINERS = {
    "the": ("le", "la", "les", "l'", "l'"),
    "a": ("un", "une", "des", "un", "une"),
    "my": ("mon", "ma", "mes", "mon", "mon"),
    "his": ("son", "sa", "ses", "son", "son"),
    "this": ("ce", "cette", "ces", "cet", "cette"),
    "our": ("notre", "notre", "nos", "notre", "notre"),
    "your": ("votre", "votre", "vos", "votre", "votre"),
}
MANY = {"a": "some", "this": "these"}  # in the plural


def translations(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """`count` sentences (English, French), no English one twice.

    >>> translations(2)[1]
    ('Your small friend knows our car on Sundays.', 'Votre petit ami connaît notre voiture le dimanche.')
    """
    draw = random.Random(f"phrases {seed}")
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        english, french = sentence(draw)
        pairs.setdefault(english, french)
    return list(pairs.items())


def sentence(draw: random.Random) -> tuple[str, str]:
    """Somebody does something to a thing, or does not, perhaps somewhere, perhaps at some time."""
    if draw.random() < 0.35:
        english, french, person = draw.choice(PRONOUNS)
    else:
        many = draw.random() < 0.3
        (english, french), person = noun_phrase(draw, "people", many=many), 4 if many else 1
    one, plural, forms = draw.choice(ACTIONS)
    does, fait = one if person == 1 else plural, forms[person]
    negated = draw.random() < 0.2
    if negated:
        does, fait = f"{'does' if person == 1 else 'do'} not {plural}", f"{joined('ne', fait)} pas"
    # "pas un" would have to be "pas de": a negated verb has no indefinite object
    thing, chose = noun_phrase(draw, "things", many=draw.random() < 0.3, indefinite=not negated)
    english, french = f"{english} {does} {thing}", f"{joined(french, fait)} {chose}"
    for more, share in ((PLACES, 0.4), (TIMES, 0.3)):
        if draw.random() < share:
            place, lieu = draw.choice(more)
            english, french = f"{english} {place}", f"{french} {lieu}"
    return tuple(side[0].upper() + side[1:] + "." for side in (english, french))  # type: ignore[return-value]


def noun_phrase(draw: random.Random, kind: str, *, many: bool, indefinite: bool = True) -> tuple[str, str]:
    """A determiner, a noun, and perhaps an adjective on either side of the French one."""
    noun = draw.choice(NOUNS[kind])
    english, french = [noun.englishes if many else noun.english], [noun.frenches if many else noun.french]
    form = 2 * many + noun.feminine  # masculine, feminine, masculine plural, feminine plural
    before = draw.random() < 0.35
    if draw.random() < 0.3:
        word, *forms = draw.choice(ADJECTIVES[kind])
        english, french = [word, *english], [*french, forms[form]]
    if before:
        word, *forms, first = draw.choice(ADJECTIVES["before"])
        english, french = [word, *english], [first if form == 0 and vowel(french[0]) else forms[form], *french]
    article = draw.choice([name for name in DETERMINERS if indefinite or name != "a"])
    masculine, feminine, plural, first_masculine, first_feminine = DETERMINERS[article]
    if many:
        the = "de" if article == "a" and before else plural
    elif vowel(french[0]):
        the = first_feminine if noun.feminine else first_masculine
    else:
        the = feminine if noun.feminine else masculine
    if many:
        article = MANY.get(article, article)
    elif article == "a" and english[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *english]), joined(the, " ".join(french))


def joined(word: str, other: str) -> str:
    """The two words; before a vowel je, ne and de lose theirs, and nothing comes after an apostrophe."""
    if word in ("je", "ne", "de") and vowel(other):
        word = word[:-1] + "'"
    return word + other if word.endswith("'") else f"{word} {other}"


def vowel(word: str) -> bool:
    """Whether a French word begins with the sound of a vowel; no h of this vocabulary is aspirated."""
    return word[0] in "aeiouœâàéèêîôh"


def regular(infinitive: str) -> list[str]:
    """je, il, nous, vous, ils: of a verb in -er.

    >>> regular("acheter"), regular("manger")[2]
    (['achète', 'achète', 'achetons', 'achetez', 'achètent'], 'mangeons')
    """
    stem = infinitive.removesuffix("er")
    strong = f"{stem[:-2]}è{stem[-1]}" if stem.endswith("et") else stem
    soft = f"{stem}e" if stem.endswith("g") else stem
    return [f"{strong}e", f"{strong}e", f"{soft}ons", f"{stem}ez", f"{strong}ent"]


def _rows(text: str) -> list[list[str]]:
    return [row.split() for row in text.split(",")]


def _nouns(text: str) -> list[Noun]:
    found = []
    for english, french, gender in _rows(text):
        (one, many), (un, plusieurs) = english.split("/"), french.split("/")
        found.append(Noun(one, many, un, plusieurs, gender == "f"))
    return found


def _verb(row: str) -> tuple[str, str, list[str]]:
    """he does, they do, and the French forms."""
    one, others = row.strip().split("/")
    plural, *forms = others.replace("look for", "look_for").split()
    return one, plural.replace("_", " "), forms if len(forms) > 1 else regular(forms[0])


NOUNS = {"people": _nouns(PEOPLE), "things": _nouns(THINGS)}
ADJECTIVES = {"before": _rows(BEFORE)} | {kind: _rows(text) for kind, text in AFTER.items()}
ACTIONS = [_verb(row) for text in (VERBS, REGULAR) for row in text.split(",")]
