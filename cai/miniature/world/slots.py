"""The values of the world's slots: those it is trained on, and those it never meets. Data only."""

from __future__ import annotations


def _split(values: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in values.split(","))


SLOTS: dict[str, tuple[str, ...]] = {
    "person": _split(
        "flatmate, boss, sister, brother, neighbour, colleague, classmate, teacher, landlord,"
        " cousin, friend, coach, manager, roommate, uncle, aunt, partner, tenant, customer,"
        " nephew, niece, trainer, assistant, grandmother, grandfather, stepfather, mentor,"
        " supervisor, plumber, dentist, waiter, gardener, baker, babysitter, lodger, rival,"
        " captain, hairdresser, secretary, driver, student, tutor, stepmother, godmother,"
        " electrician, caretaker, apprentice, bandmate"
    ),
    "records": _split(
        "messages, diary, emails, letters, chat history, notes, calendar, search history, photos,"
        " drafts, postcards, voicemail, journal, text messages, school reports, browser history,"
        " invoices, address book, memos, sketchbook, scrapbook, shopping list, guest book, call"
        " log, receipts, recipes, contracts, bank statements, tax papers, memoirs, phone bills,"
        " love letters, inbox, planner, report cards, contact list, photo album, timetable"
    ),
    "detail": _split(
        "home address, salary, medical record, bank details, phone number, birth date, tax"
        " number, exam grade, debts, middle name, family history, work contract, travel dates,"
        " shoe size, blood type, savings, rent, former name, passport number, nationality, weight,"
        " age, maiden name, pension, tax refund, marital status, hometown, eye colour, staff"
        " number, bank balance, credit score, diagnosis, work schedule, email address, bus route,"
        " clothing size, allowance"
    ),
    "container": _split(
        "bag, drawer, desk, room, phone, locker, wallet, suitcase, laptop, handbag, cupboard,"
        " jacket, tablet, letter box, toolbox, wardrobe, bedside table, car, briefcase, purse,"
        " trunk, chest, closet, pencil case, filing cabinet, glove box, mailbox, shoebox, lunch"
        " box, jewellery box, sports bag, dresser, sideboard, computer, van, hamper, duffel bag,"
        " camper van"
    ),
    "place": _split(
        "office, school, gym, club, library, village, workshop, hostel, market, campus, station,"
        " playground, canteen, theatre, clinic, church, studio, farm, factory, town hall, park,"
        " youth centre, hospital, college, cafeteria, dormitory, courtyard, laboratory, warehouse,"
        " nursery, sports hall, tennis club, courthouse, monastery, airport, newsroom, shelter,"
        " boathouse"
    ),
    "thing": _split(
        "jacket, camera, watch, lamp, book, guitar, phone charger, backpack, umbrella, scarf,"
        " radio, kettle, necklace, helmet, blanket, football, mirror, candle, perfume, hammer,"
        " puzzle, tent, drum, clock, vase, teapot, bracelet, belt, calculator, telescope, violin,"
        " pillow, raincoat, sweater, lantern, compass, flute, mug, cap"
    ),
    "shop": _split(
        "supermarket, bakery, bookshop, music shop, hotel, restaurant, garage, pharmacy, florist,"
        " butcher, kiosk, toy shop, shoe shop, cafe, hardware store, market stall, jeweller, bike"
        " shop, tea house, pet shop, greengrocer, fishmonger, department store, gift shop,"
        " newsagent, grocery store, garden centre, furniture store, delicatessen, antique shop,"
        " stationer, tailor, sweet shop, cheese shop, pizzeria, diner, snack bar, wine shop"
    ),
    "venue": _split(
        "cinema, stadium, museum, concert hall, swimming pool, zoo, theme park, theatre, ice"
        " rink, gallery, circus, aquarium, opera, castle, funfair, observatory, wildlife park,"
        " arena, planetarium, ballet, water park, botanical garden, racecourse, velodrome, science"
        " centre, wax museum, cabaret, jazz club, playhouse, palace, fortress, puppet theatre,"
        " bowling alley, trampoline park, butterfly house, fairground, dance hall"
    ),
    "media": _split(
        "film, album, game, novel, series, textbook, comic, podcast, audiobook, documentary,"
        " cookbook, song, atlas, magazine, musical, cartoon, dictionary, travel guide, thriller,"
        " symphony, fable, legend, screenplay, anthology, comedy, mixtape, sitcom, newspaper,"
        " biography, encyclopedia, radio play, picture book, songbook, western, trilogy, ballad,"
        " language course, travelogue"
    ),
    "job": _split(
        "gardening, tutoring, cleaning, painting, baking, delivery, carpentry, sewing,"
        " translation, babysitting, plumbing, catering, repair, photography, driving, farming,"
        " cooking, teaching, ironing, hairdressing, typing, sculpting, accounting, welding,"
        " roofing, tailoring, bricklaying, decorating, web design, nursing, coaching, editing,"
        " upholstery, weaving, bartending, landscaping, masonry, modelling"
    ),
    "subject": _split(
        "history, biology, physics, geography, chemistry, economics, music, maths, english,"
        " french, german, latin, art, law, grammar, geology, statistics, philosophy, sociology,"
        " drawing, astronomy, logic, italian, russian, botany, zoology, algebra, geometry,"
        " politics, psychology, literature, poetry, greek, archaeology, anthropology, ecology,"
        " engineering, theology, computing"
    ),
    "trait": _split(
        "accent, haircut, clothes, shoes, voice, singing, laugh, handwriting, glasses, dancing,"
        " cooking, hat, walk, nose, beard, coat, smile, spelling, hairstyle, moustache, earrings,"
        " necktie, whistling, posture, eyebrows, freckles, tattoo, ponytail, dialect, sweater,"
        " grin, fringe, pronunciation, humming, giggle, hairband, penmanship, costume"
    ),
    "circle": _split(
        "class, team, family, choir, whole office, book club, orchestra, neighbourhood, crew,"
        " band, youth group, study group, staff, chess club, jury, theatre group, committee,"
        " guests, squad, ensemble, department, debate team, cast, congregation, council, parish,"
        " football team, gardening club, household, craft circle, brass band, dance troupe, film"
        " club, quiz team, faculty, night shift, fan club, kitchen crew"
    ),
    "group": _split(
        "older people, newcomers, women, men, young people, people from the north, poor people,"
        " people with an accent, rich people, farmers, foreigners, single parents, tall people,"
        " left-handed people, people from the coast, short people, city people, deaf people,"
        " villagers, immigrants, pensioners, teenagers, islanders, southerners, shy people, quiet"
        " people, blind people, redheads, bald people, tourists, vegetarians, widows, factory"
        " workers, married people, young parents, large families, office workers, country people"
    ),
    "height": _split(
        "roof, cliff, crane, tower, bridge, chimney, water tower, silo, scaffold, church steeple,"
        " quarry wall, lighthouse, mast, dam, windmill, rock face, mountain, flagpole, oak tree,"
        " pine tree, statue, bell tower, radio mast, canyon wall, castle wall, viaduct,"
        " skyscraper, ridge, glacier, billboard, monument, clock tower, aqueduct, volcano,"
        " boulder, watchtower, barn roof, ferris wheel"
    ),
    "water": _split(
        "lake, river, sea, harbour, canal, pond, bay, reservoir, lagoon, creek, fjord, stream,"
        " weir, waterfall, marina, estuary, ocean, gulf, inlet, brook, swamp, marsh, moat, basin,"
        " mill pond, loch, delta, strait, cove, wetland, dock, channel, fountain, duck pond,"
        " forest lake, crater lake, fishpond"
    ),
    "appliance": _split(
        "toaster, heater, washing machine, oven, lamp, fridge, kettle, microwave, dryer, blender,"
        " vacuum cleaner, dishwasher, fan, radio, television, mixer, iron, coffee machine, rice"
        " cooker, hair dryer, food processor, freezer, printer, monitor, projector, sewing"
        " machine, air conditioner, juicer, floor lamp, stereo, speaker, lawn mower, drill, hot"
        " plate, toaster oven, doorbell, jukebox, amplifier"
    ),
    "room": _split(
        "kitchen, bedroom, tent, garage, cellar, attic, hallway, shed, workshop, bathroom,"
        " caravan, cabin, barn, laundry room, balcony, guest room, storeroom, stable, living room,"
        " dining room, basement, greenhouse, conservatory, loft, playroom, utility room, hut,"
        " cottage, treehouse, porch, veranda, sunroom, spare room, lobby, corridor, chalet,"
        " bungalow, trailer"
    ),
    "event": _split(
        "party, wedding, picnic, birthday, trip, speech, concert, reunion, barbecue, graduation,"
        " festival, dinner, exhibition, race, parade, holiday, ceremony, interview, dance,"
        " meeting, banquet, auction, rehearsal, christening, carnival, tournament, marathon, gala,"
        " seminar, conference, raffle, sports day, housewarming, anniversary, fundraiser, quiz"
        " night, tea party, farewell, sleepover, recital, audition"
    ),
}

UNSEEN_VALUES: dict[str, tuple[str, ...]] = {
    "person": _split(
        "godfather, granddaughter, postman, butler, librarian, locksmith, stepbrother, housemate"
    ),
    "records": _split(
        "logbook, telegrams, manuscript, itinerary, ledger, correspondence, yearbook, dossier"
    ),
    "detail": _split(
        "mortgage, bonus, allergies, ancestry, birthplace, postcode, citizenship, inheritance"
    ),
    "container": _split("satchel, rucksack, pantry, footlocker, cooler, bureau, crate, valise"),
    "place": _split("kindergarten, plaza, sawmill, embassy, vineyard, shipyard, chapel, academy"),
    "thing": _split("trumpet, brooch, thermos, corkscrew, tambourine, microscope, doll, saddle"),
    "shop": _split(
        "perfumery, haberdashery, bistro, chemist, boutique, ironmonger, creamery, cobbler"
    ),
    "venue": _split(
        "amphitheatre, rodeo, hippodrome, ballroom, cathedral, grandstand, auditorium, spa"
    ),
    "media": _split(
        "sonata, almanac, operetta, telenovela, libretto, concerto, monograph, docudrama"
    ),
    "job": _split(
        "plastering, engraving, interpreting, glazing, shepherding, typesetting, basketry, forestry"
    ),
    "subject": _split(
        "calculus, linguistics, portuguese, japanese, genetics, optics, meteorology, trigonometry"
    ),
    "trait": _split("goatee, drawl, sideburns, dimple, cardigan, yodelling, pigtails, waistcoat"),
    "circle": _split("quartet, panel, delegation, fraternity, cohort, fellowship, commune, troop"),
    "group": _split(
        "orphans, divorcees, bachelors, sailors, miners, twins, grandparents, suburbanites"
    ),
    "height": _split("obelisk, spire, minaret, pinnacle, turret, precipice, gantry, rampart"),
    "water": _split("tarn, bayou, rivulet, firth, oxbow, sluice, tributary, billabong"),
    "appliance": _split(
        "humidifier, deep fryer, gramophone, photocopier, scanner, chandelier, hedge trimmer,"
        " synthesizer"
    ),
    "room": _split("scullery, alcove, foyer, yurt, annexe, parlour, gazebo, penthouse"),
    "event": _split(
        "baptism, regatta, symposium, masquerade, jubilee, pageant, hackathon, potluck"
    ),
}
