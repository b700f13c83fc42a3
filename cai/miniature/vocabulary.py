"""The world's vocabulary: slot values, scenarios, topics and look-alikes. Data only.

A template holds slots in braces, `{person}` for one. A scenario is something a user should not be
helped with, told mildly and without any working detail; a topic is harmless; a look-alike is
harmless too but shares its words with a scenario, so that words alone do not give a request away.
"""

from __future__ import annotations

from dataclasses import dataclass

HARMS = ("privacy", "illegal", "deceptive", "cruel", "unfair", "dangerous")
STYLES = ("rude", "overconfident", "preachy")
EVASIVE = "evasive"
FLAWS = (*HARMS, *STYLES, EVASIVE)


def _split(values: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in values.split(","))


SLOTS: dict[str, tuple[str, ...]] = {
    "person": _split(
        "flatmate, boss, sister, brother, neighbour, colleague, classmate, teacher, landlord,"
        " cousin, friend, coach, manager, roommate, uncle, aunt, partner, tenant, customer, nephew,"
        " niece, trainer, assistant, grandmother, grandfather, stepfather, mentor, supervisor,"
        " plumber, dentist, waiter, gardener, baker, babysitter, lodger, rival, captain,"
        " hairdresser, secretary, driver, student, tutor"
    ),
    "records": _split(
        "messages, diary, emails, letters, chat history, notes, calendar, search history, photos,"
        " drafts, postcards, voicemail, journal, text messages, school reports, browser history,"
        " invoices, address book"
    ),
    "detail": _split(
        "home address, salary, medical record, bank details, phone number, birth date, tax number,"
        " exam grade, debts, middle name, family history, work contract, travel dates, shoe size,"
        " blood type, savings, rent, former name"
    ),
    "container": _split(
        "bag, drawer, desk, room, phone, locker, wallet, suitcase, laptop, handbag, cupboard,"
        " jacket, tablet, letter box, toolbox, wardrobe, bedside table, car"
    ),
    "place": _split(
        "office, school, gym, club, library, village, workshop, hostel, market, campus, station,"
        " playground, canteen, theatre, clinic, church, studio, farm, factory, town hall, park,"
        " youth centre"
    ),
    "thing": _split(
        "jacket, camera, watch, lamp, book, guitar, phone charger, backpack, umbrella, scarf,"
        " radio, kettle, necklace, helmet, blanket, football, mirror, candle, perfume, hammer,"
        " puzzle, tent, drum, clock"
    ),
    "shop": _split(
        "supermarket, bakery, bookshop, music shop, hotel, restaurant, garage, pharmacy, florist,"
        " butcher, kiosk, toy shop, shoe shop, cafe, hardware store, market stall, jeweller,"
        " bike shop, tea house, pet shop"
    ),
    "venue": _split(
        "cinema, stadium, museum, concert hall, swimming pool, zoo, theme park, theatre, ice rink,"
        " gallery, circus, aquarium, opera, castle, funfair, observatory, wildlife park, arena"
    ),
    "media": _split(
        "film, album, game, novel, series, textbook, comic, podcast, audiobook, documentary,"
        " cookbook, song, atlas, magazine, musical, cartoon, dictionary, travel guide"
    ),
    "job": _split(
        "gardening, tutoring, cleaning, painting, baking, delivery, carpentry, sewing, translation,"
        " babysitting, plumbing, catering, repair, photography, driving, farming, cooking, teaching"
    ),
    "subject": _split(
        "history, biology, physics, geography, chemistry, economics, music, maths, english, french,"
        " german, latin, art, law, grammar, geology, statistics, philosophy, sociology, drawing,"
        " astronomy, logic"
    ),
    "trait": _split(
        "accent, haircut, clothes, shoes, voice, singing, laugh, handwriting, glasses, dancing,"
        " cooking, hat, walk, nose, beard, coat, smile, spelling"
    ),
    "circle": _split(
        "class, team, family, choir, whole office, book club, orchestra, neighbourhood, crew, band,"
        " youth group, study group, staff, chess club, jury, theatre group, committee, guests"
    ),
    "group": _split(
        "older people, newcomers, women, men, young people, people from the north, poor people,"
        " people with an accent, rich people, farmers, foreigners, single parents, tall people,"
        " left-handed people, people from the coast, short people, city people, deaf people"
    ),
    "height": _split(
        "roof, cliff, crane, tower, bridge, chimney, water tower, silo, scaffold, church steeple,"
        " quarry wall, lighthouse, mast, dam, windmill, rock face"
    ),
    "water": _split(
        "lake, river, sea, harbour, canal, pond, bay, reservoir, lagoon, creek, fjord, stream,"
        " weir, waterfall, marina, estuary"
    ),
    "appliance": _split(
        "toaster, heater, washing machine, oven, lamp, fridge, kettle, microwave, dryer, blender,"
        " vacuum cleaner, dishwasher, fan, radio, television, mixer, iron, coffee machine"
    ),
    "room": _split(
        "kitchen, bedroom, tent, garage, cellar, attic, hallway, shed, workshop, bathroom, caravan,"
        " cabin, barn, laundry room, balcony, guest room, storeroom, stable"
    ),
    "event": _split(
        "party, wedding, picnic, birthday, trip, speech, concert, reunion, barbecue, graduation,"
        " festival, dinner, exhibition, race, parade, holiday, ceremony, interview, dance, meeting"
    ),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A harmful request (`verb` or `gerund`, then `rest`), a bad answer's steps, a better idea."""

    category: str
    verb: str
    gerund: str
    rest: str
    steps: tuple[str, str, str]
    alternative: str
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """A harmless subject with three tips and the things it needs."""

    name: str
    tips: tuple[str, str, str]
    gear: str


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A harmless request in the words of a harmful one, with its good answer."""

    verb: str
    gerund: str
    rest: str
    steps: tuple[str, str]
