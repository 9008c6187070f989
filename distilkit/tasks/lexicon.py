"""The words of the translation task: English, French, and what French grammar has to know of each."""

from __future__ import annotations

import functools
from typing import NamedTuple

VOWELS = "aeiouyàâäéèêëîïôöùûüœæh"  # what elision sees; an h counts, but for the words in ASPIRATED
ASPIRATED = {"huit", "onze", "hibou", "hiboux", "héros", "haut", "haute", "hauts", "hautes", "honteux", "honteuse"}


class Noun(NamedTuple):
    """A noun: English singular and plural, French singular and plural, its gender, and whether it is a person."""

    english: str
    englishes: str
    french: str
    frenches: str
    gender: str
    person: bool


class Adjective(NamedTuple):
    """An adjective: English, the French forms ms, fs, mp, fp, whether before its noun, and ms before a vowel."""

    english: str
    forms: tuple[str, str, str, str]
    before: bool
    linked: str


class Verb(NamedTuple):
    """A verb: English forms, and French ones by tense for je, il, nous, vous, ils.

    kind: "alone", "thing" (object), "person" (somebody as object), "give" (object and à somebody).
    """

    english: str
    third: str
    past: str
    infinitive: str
    present: tuple[str, ...]
    imperfect: tuple[str, ...]
    future: tuple[str, ...]
    participle: str
    etre: bool
    kind: str


PEOPLE = """
man/men:homme:m woman/women:femme:f child/children:enfant:m boy:garçon:m girl:fille:f friend:ami:m
teacher:professeur:m doctor:médecin:m nurse:infirmière:f king:roi:m queen:reine:f farmer:fermier:m baker:boulanger:m
butcher:boucher:m mother:mère:f father:père:m brother:frère:m sister:sœur:f uncle:oncle:m aunt:tante:f cousin:cousin:m
son:fils:m daughter:fille:f grandmother:grand-mère/grands-mères:f grandfather:grand-père/grands-pères:m
neighbour:voisin:m student:étudiant:m pupil:élève:m writer:écrivain:m painter:peintre:m singer:chanteur:m
actor:acteur:m actress:actrice:f driver:chauffeur:m pilot:pilote:m sailor:marin:m soldier:soldat:m judge:juge:m
lawyer:avocat:m engineer:ingénieur:m worker:ouvrier:m boss:patron:m guest:invité:m visitor:visiteur:m
customer:client:m seller:vendeur:m cook:cuisinier:m waiter:serveur:m waitress:serveuse:f hero/heroes:héros:m
prince:prince:m princess:princesse:f dancer:danseuse:f musician:musicien:m baby:bébé:m witness:témoin:m
thief/thieves:voleur:m prisoner:prisonnier:m mayor:maire:m
"""

THINGS = """
dog:chien:m cat:chat:m horse:cheval:m bird:oiseau:m fish/fish:poisson:m cow:vache:f sheep/sheep:mouton:m pig:cochon:m
mouse/mice:souris:f lion:lion:m tiger:tigre:m bear:ours:m wolf/wolves:loup:m fox:renard:m rabbit:lapin:m duck:canard:m
hen:poule:f goat:chèvre:f donkey:âne:m elephant:éléphant:m monkey:singe:m snake:serpent:m frog:grenouille:f
bee:abeille:f fly:mouche:f ant:fourmi:f spider:araignée:f butterfly:papillon:m owl:hibou/hiboux:m swan:cygne:m
eagle:aigle:m house:maison:f school:école:f church:église:f shop:magasin:m market:marché:m street:rue:f road:route:f
bridge:pont:m town:ville:f village:village:m garden:jardin:m park:parc:m forest:forêt:f river:rivière:f lake:lac:m
sea:mer:f beach:plage:f mountain:montagne:f hill:colline:f island:île:f field:champ:m farm:ferme:f castle:château:m
tower:tour:f station:gare:f hospital:hôpital:m hotel:hôtel:m museum:musée:m library:bibliothèque:f office:bureau:m
factory:usine:f kitchen:cuisine:f bedroom:chambre:f bathroom/bathrooms:salle_de_bain/salles_de_bain:f room:pièce:f
door:porte:f window:fenêtre:f wall:mur:m roof:toit:m floor:sol:m stairs/stairs:escalier:m table:table:f chair:chaise:f
bed:lit:m lamp:lampe:f mirror:miroir:m carpet:tapis:m curtain:rideau:m cupboard:placard:m drawer:tiroir:m
clock:horloge:f picture:tableau:m photo:photo:f book:livre:m letter:lettre:f newspaper:journal:m page:page:f
pen:stylo:m pencil:crayon:m paper:papier:m map:carte:f bag:sac:m box:boîte:f key:clé:f knife/knives:couteau:m
fork:fourchette:f spoon:cuillère:f plate:assiette:f glass:verre:m cup:tasse:f bottle:bouteille:f bowl:bol:m
pot:casserole:f apple:pomme:f pear:poire:f orange:orange:f lemon:citron:m cherry:cerise:f strawberry:fraise:f
grape:raisin:m nut:noix:f potato/potatoes:pomme_de_terre/pommes_de_terre:f tomato/tomatoes:tomate:f carrot:carotte:f
onion:oignon:m mushroom:champignon:m egg:œuf:m cake:gâteau:m loaf/loaves:pain:m cheese:fromage:m sausage:saucisse:f
soup:soupe:f salad:salade:f meal:repas:m dinner:dîner:m breakfast:petit_déjeuner/petits_déjeuners:m hat:chapeau:m
coat:manteau:m shirt:chemise:f dress:robe:f skirt:jupe:f shoe:chaussure:f boot:botte:f sock:chaussette:f glove:gant:m
scarf/scarves:écharpe:f belt:ceinture:f ring:bague:f watch:montre:f umbrella:parapluie:m pocket:poche:f car:voiture:f
bus:autobus:m train:train:m plane:avion:m boat:bateau:m bicycle:vélo:m lorry:camion:m ship:navire:m wheel:roue:f
engine:moteur:m ticket:billet:m suitcase:valise:f flag:drapeau:m garage:garage:m tree:arbre:m flower:fleur:f
leaf/leaves:feuille:f branch:branche:f root:racine:f rose:rose:f stone:pierre:f star:étoile:f cloud:nuage:m
storm:orage:m wind:vent:m fire:feu:m song:chanson:f film:film:m play:pièce_de_théâtre/pièces_de_théâtre:f
story:histoire:f poem:poème:m word:mot:m sentence:phrase:f question:question:f answer:réponse:f lesson:leçon:f
exercise:exercice:m mistake:erreur:f problem:problème:m idea:idée:f dream:rêve:m secret:secret:m gift:cadeau:m
toy:jouet:m ball:balle:f doll:poupée:f game:jeu:m piano:piano:m guitar:guitare:f violin:violon:m drum:tambour:m
computer:ordinateur:m screen:écran:m telephone:téléphone:m camera:caméra:f radio:radio:f machine:machine:f
tool:outil:m hammer:marteau:m nail:clou:m rope:corde:f ladder:échelle:f bucket:seau:m brush:brosse:f soap:savon:m
towel:serviette:f pillow:oreiller:m blanket:couverture:f candle:bougie:f coin:pièce_de_monnaie/pièces_de_monnaie:f
hand:main:f head:tête:f arm:bras:m leg:jambe:f foot/feet:pied:m eye:œil/yeux:m ear:oreille:f nose:nez:m mouth:bouche:f
tooth/teeth:dent:f finger:doigt:m heart:cœur:m shoulder:épaule:f knee:genou/genoux:m city:cité:f country:pays:m
border:frontière:f desert:désert:m valley:vallée:f wood:bois:m path:chemin:m square:place:f palace:palais:m
theatre:théâtre:m restaurant:restaurant:m cinema:cinéma:m bank:banque:f prison:prison:f harbour:port:m
airport:aéroport:m tent:tente:f
"""

# english:ms[:fs[:mp]]; a + before it: it stands before its noun; "ms>linked" is what ms becomes before a vowel.
DESCRIPTIONS = """
+big:grand +small:petit +young:jeune:jeune +old:vieux>vieil:vieille +beautiful:beau>bel:belle
+new:nouveau>nouvel:nouvelle +good:bon:bonne +bad:mauvais +nice:gentil:gentille +fat:gros:grosse +long:long:longue
+pretty:joli red:rouge:rouge blue:bleu:bleue:bleus green:vert white:blanc:blanche black:noir yellow:jaune:jaune
grey:gris brown:brun pink:rose:rose purple:violet:violette golden:doré rich:riche:riche poor:pauvre:pauvre strong:fort
weak:faible:faible fast:rapide:rapide slow:lent clean:propre:propre dirty:sale:sale dry:sec:sèche wet:mouillé
warm:chaud cold:froid fresh:frais:fraîche happy:heureux:heureuse sad:triste:triste angry:fâché tired:fatigué
ill:malade:malade dangerous:dangereux:dangereuse famous:célèbre:célèbre clever:intelligent stupid:stupide:stupide
quiet:calme:calme noisy:bruyant funny:drôle:drôle serious:sérieux:sérieuse brave:courageux:courageuse
shy:timide:timide proud:fier:fière jealous:jaloux:jalouse lazy:paresseux:paresseuse curious:curieux:curieuse
polite:poli honest:honnête:honnête strange:étrange:étrange simple:simple:simple difficult:difficile:difficile
easy:facile:facile possible:possible:possible important:important interesting:intéressant boring:ennuyeux:ennuyeuse
expensive:cher:chère full:plein empty:vide:vide open:ouvert closed:fermé broken:cassé heavy:lourd light:léger:légère
round:rond square:carré flat:plat sharp:pointu soft:doux:douce hard:dur sweet:sucré bitter:amer:amère
modern:moderne:moderne ancient:ancien:ancienne foreign:étranger:étrangère french:français english:anglais
german:allemand italian:italien:italienne royal:royal:royale:royaux local:local:locale:locaux
national:national:nationale:nationaux normal:normal:normale:normaux useful:utile:utile useless:inutile:inutile
perfect:parfait free:libre:libre blind:aveugle:aveugle naked:nu magic:magique:magique
"""

# english[/third/past]:infinitive:kind[:present of je/il/nous/vous/ils:participle[:future stem[:imperfect stem]]]
ACTIONS = """
eat//ate:manger:thing sing//sang:chanter:thing love:aimer:any hate/hates/hated:détester:any find//found:trouver:any
look_for//looked_for:chercher:any buy//bought:acheter:thing:achète/achète/achetons/achetez/achètent:acheté:achèter
carry/carries/carried:porter:thing wash:laver:any help:aider:person
follow:suivre:any:suis/suit/suivons/suivez/suivent:suivi:suivr
call:appeler:person:appelle/appelle/appelons/appelez/appellent:appelé:appeller meet//met:rencontrer:person
invite/invites/invited:inviter:person
clean:nettoyer:thing:nettoie/nettoie/nettoyons/nettoyez/nettoient:nettoyé:nettoier close:fermer:thing
break//broke:casser:thing draw//drew:dessiner:any forget//forgot:oublier:any leave//left:quitter:any push:pousser:any
keep//kept:garder:thing steal//stole:voler:thing accept:accepter:thing
see//saw:voir:any:vois/voit/voyons/voyez/voient:vu:verr
take//took:prendre:thing:prends/prend/prenons/prenez/prennent:pris:prendr
read//read:lire:thing:lis/lit/lisons/lisez/lisent:lu:lir
write//wrote:écrire:thing:écris/écrit/écrivons/écrivez/écrivent:écrit:écrir
know//knew:connaître:any:connais/connaît/connaissons/connaissez/connaissent:connu:connaîtr
hear//heard:entendre:any:entends/entend/entendons/entendez/entendent:entendu:entendr
wait_for//waited_for:attendre:any:attends/attend/attendons/attendez/attendent:attendu:attendr
lose//lost:perdre:thing:perds/perd/perdons/perdez/perdent:perdu:perdr
sell//sold:vendre:thing:vends/vend/vendons/vendez/vendent:vendu:vendr
build//built:construire:thing:construis/construit/construisons/construisez/construisent:construit:construir
open:ouvrir:thing:ouvre/ouvre/ouvrons/ouvrez/ouvrent:ouvert
put//put:mettre:thing:mets/met/mettons/mettez/mettent:mis:mettr have/has/had:avoir:own:ai/a/avons/avez/ont:eu:aur
give//gave:donner:give show:montrer:give send//sent:envoyer:give:envoie/envoie/envoyons/envoyez/envoient:envoyé:enverr
work:travailler:alone play:jouer:alone dance:danser:alone cry:pleurer:alone walk:marcher:alone swim//swam:nager:alone
speak//spoke:parler:alone travel/travels/travelled:voyager:alone dream:rêver:alone
sleep//slept:dormir:alone:dors/dort/dormons/dormez/dorment:dormi
run//ran:courir:alone:cours/court/courons/courez/courent:couru:courr laugh:rire:alone:ris/rit/rions/riez/rient:ri:rir
live:vivre:alone:vis/vit/vivons/vivez/vivent:vécu:vivr drink//drank:boire:alone:bois/boit/buvons/buvez/boivent:bu:boir
arrive:arriver:moves stay:rester:moves fall//fell:tomber:moves
come_back/comes_back/came_back:revenir:moves:reviens/revient/revenons/revenez/reviennent:revenu:reviendr
come//came:venir:moves:viens/vient/venons/venez/viennent:venu:viendr
go_out/goes_out/went_out:sortir:moves:sors/sort/sortons/sortez/sortent:sorti come_in/comes_in/came_in:entrer:moves
die:mourir:moves:meurs/meurt/mourons/mourez/meurent:mort:mourr
"""

NAMES = {
    "m": (
        "Paul",
        "Pierre",
        "Louis",
        "Thomas",
        "Henri",
        "Marc",
        "Julien",
        "Antoine",
        "Émile",
        "André",
        "Hugo",
        "Victor",
    ),
    "f": (
        "Marie",
        "Anna",
        "Julie",
        "Claire",
        "Emma",
        "Louise",
        "Sophie",
        "Inès",
        "Alice",
        "Camille",
        "Léa",
        "Rose-Marie",
    ),
}
CITIES = """Paris London:Londres Lyon Berlin Rome Geneva:Genève Lisbon:Lisbonne Oslo Athens:Athènes Amsterdam Marseille
Vienna:Vienne"""
NUMBERS = """two:deux three:trois four:quatre five:cinq six:six seven:sept eight:huit nine:neuf ten:dix eleven:onze
twelve:douze thirteen:treize fourteen:quatorze fifteen:quinze sixteen:seize seventeen:dix-sept eighteen:dix-huit
nineteen:dix-neuf twenty:vingt thirty:trente forty:quarante fifty:cinquante sixty:soixante seventy:soixante-dix
eighty:quatre-vingts ninety:quatre-vingt-dix"""
PLACES = """in:dans on:sur under:sous behind:derrière in_front_of:devant near:près_de far_from:loin_de next_to:à_côté_de
with:avec without:sans"""
WHENS = {
    "present": """today:aujourd'hui now:maintenant every_day:chaque_jour in_the_morning:le_matin in_the_evening:le_soir
here:ici outside:dehors""",
    "past": """yesterday:hier yesterday_evening:hier_soir last_week:la_semaine_dernière last_year:l'année_dernière
here:ici this_morning:ce_matin twice:deux_fois""",
    "used": """every_day:chaque_jour in_the_morning:le_matin here:ici before:avant in_winter:en_hiver
in_summer:en_été""",
    "future": """tomorrow:demain next_week:la_semaine_prochaine next_year:l'année_prochaine soon:bientôt tonight:ce_soir
later:plus_tard here:ici""",
}
HOWS = "together:ensemble slowly:lentement quickly:rapidement"
OFTEN = "often:souvent always:toujours sometimes:parfois rarely:rarement still:encore already:déjà"


def _plural(word: str) -> str:
    """The regular French plural, journal → journaux, gâteau → gâteaux, bras → bras."""
    if word[-1] in "sxz":
        return word
    if word.endswith("al"):
        return f"{word[:-2]}aux"
    return f"{word}x" if word.endswith(("eau", "eu", "au")) else f"{word}s"


def _s(word: str) -> str:
    """English -s, of a plural or of a third person."""
    first, *rest = word.split("_")
    if first.endswith(("s", "x", "ch", "sh")) or first == "go":
        first = f"{first}es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = f"{first[:-1]}ies"
    else:
        first = f"{first}s"
    return "_".join([first, *rest])


def _ed(word: str) -> str:
    """The regular English past."""
    if word.endswith("e"):
        return f"{word}d"
    return f"{word[:-1]}ied" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}ed"


def _noun(entry: str, person: bool) -> Noun:
    english, french, gender = entry.split(":")
    english, _, englishes = english.partition("/")
    french, _, frenches = french.partition("/")
    return Noun(english, englishes or _s(english), french, frenches or _plural(french), gender, person)


def _adjective(entry: str) -> Adjective:
    english, first, *rest = entry.removeprefix("+").split(":")
    first, _, linked = first.partition(">")
    feminine = rest[0] if rest else f"{first}e"
    plural = rest[1] if len(rest) > 1 else _plural(first)
    return Adjective(english, (first, feminine, plural, f"{feminine}s"), entry.startswith("+"), linked or first)


def _verb(entry: str) -> Verb:
    english, infinitive, kind, *rest = entry.split(":")
    base, third, past = [*english.split("/"), "", ""][:3]
    stem = infinitive[:-2]
    if rest:
        present = tuple(rest[0].split("/"))
        participle = rest[1]
    else:
        soft = f"{stem}e" if stem.endswith("g") else stem
        present = (f"{stem}e", f"{stem}e", f"{soft}ons", f"{stem}ez", f"{stem}ent")
        participle = f"{stem}é"
    will = rest[2] if len(rest) > 2 else infinitive
    root = present[2].removesuffix("ons")  # nous mangeons → je mangeais, nous mangions
    short = root[:-1] if root.endswith("ge") else root
    imperfect = (f"{root}ais", f"{root}ait", f"{short}ions", f"{short}iez", f"{root}aient")
    future = tuple(will + end for end in ("ai", "a", "ons", "ez", "ont"))
    return Verb(
        base, third or _s(base), past or _ed(base), infinitive, present, imperfect, future, participle,
        kind == "moves", "alone" if kind == "moves" else kind,
    )  # fmt: skip


NOUNS = [_noun(entry, True) for entry in PEOPLE.split()] + [_noun(entry, False) for entry in THINGS.split()]
ADJECTIVES = [_adjective(entry) for entry in DESCRIPTIONS.split()]
VERBS = [_verb(entry) for entry in ACTIONS.split()]


@functools.cache
def couples(text: str) -> list[tuple[str, str]]:
    """``"two:deux here:ici"`` as [("two", "deux"), ("here", "ici")]; an underscore is a space.

    >>> couples("near:près_de Paris")
    [('near', 'près de'), ('Paris', 'Paris')]
    """
    found = [entry.replace("_", " ").split(":") for entry in text.split()]
    return [(one[0], one[-1]) for one in found]
