"""Opposites, plurals, past tenses, rhymes and greetings in other languages."""

from training.talk.script import table

OPPOSITES = table(
    """hot: cold, big: small, up: down, happy: sad, fast: slow, day: night, old: young, new: old,
    young: old, light: dark, dark: light, good: bad, bad: good, rich: poor, poor: rich,
    open: closed, closed: open, hard: soft, soft: hard, wet: dry, dry: wet, full: empty,
    empty: full, high: low, low: high, early: late, late: early, left: right, right: left,
    loud: quiet, quiet: loud, clean: dirty, dirty: clean, strong: weak, weak: strong, near: far,
    far: near, easy: difficult, difficult: easy, long: short, short: long, black: white,
    white: black, yes: no, no: yes, cold: hot, small: big, slow: fast, sad: happy, night: day,
    inside: outside, outside: inside, love: hate, hate: love, true: false, false: true, down: up,
    thick: thin, thin: thick, wide: narrow, narrow: wide, heavy: light, tall: short, warm: cool,
    brave: afraid, first: last, last: first, begin: end, start: stop, stop: start, buy: sell,
    sell: buy, give: take, push: pull, pull: push, win: lose, lose: win, laugh: cry, friend: enemy,
    war: peace, peace: war, life: death, safe: dangerous, dangerous: safe, same: different,
    different: same, always: never, never: always, everything: nothing, north: south, south: north,
    east: west, west: east, summer: winter, winter: summer, morning: evening, boy: girl, girl: boy,
    man: woman, woman: man, king: queen, brother: sister, sister: brother, mother: father,
    father: mother, kind: unkind, polite: rude, smooth: rough, sharp: dull, deep: shallow,
    bright: dark, sweet: sour, beautiful: ugly, ugly: beautiful, asleep: awake, awake: asleep,
    above: below, below: above, before: after, after: before, in: out, out: in, on: off, off: on,
    more: less, less: more, large: small, difficult: easy, question: answer, front: back"""
)
PLURALS = table(
    """child: children, mouse: mice, foot: feet, tooth: teeth, man: men, woman: women, box: boxes,
    baby: babies, sheep: sheep, fish: fish, leaf: leaves, city: cities, knife: knives,
    wolf: wolves, story: stories, goose: geese, person: people, bus: buses, potato: potatoes,
    tomato: tomatoes, fox: foxes, glass: glasses, dish: dishes, watch: watches, lady: ladies,
    fly: flies, country: countries, party: parties, wife: wives, life: lives, half: halves,
    deer: deer, ox: oxen, class: classes, brush: brushes, peach: peaches, cherry: cherries,
    berry: berries, puppy: puppies, penny: pennies, shelf: shelves, hero: heroes, family: families,
    church: churches, dress: dresses, butterfly: butterflies, strawberry: strawberries"""
) | {
    noun: f"{noun}s"
    for noun in (
        "cat dog book house apple car tree bird cup chair table girl boy star flower pen hat shoe "
        "key day door friend horse cow frog duck egg cake boat train plane river hill lake song "
        "game ball bag bed room school teacher doctor farmer window garden road street nose eye "
        "hand finger arm leg week month year minute hour word letter number lion tiger bear monkey"
    ).split()
}
PAST_TENSES = table(
    """go: went, eat: ate, see: saw, run: ran, write: wrote, sing: sang, buy: bought, take: took,
    come: came, give: gave, make: made, play: played, walk: walked, think: thought, drink: drank,
    swim: swam, have: had, be: was, know: knew, fly: flew, sleep: slept, help: helped, do: did,
    say: said, find: found, read: read, tell: told, speak: spoke, break: broke, bring: brought,
    catch: caught, teach: taught, sit: sat, stand: stood, win: won, lose: lost, feel: felt,
    keep: kept, leave: left, meet: met, send: sent, build: built, begin: began, fall: fell,
    grow: grew, hear: heard, hold: held, draw: drew, drive: drove, ride: rode, sell: sold,
    jump: jumped, look: looked, talk: talked, work: worked, like: liked, love: loved, cook: cooked,
    dance: danced, open: opened, ask: asked, want: wanted, call: called, cry: cried, try: tried"""
)
COMPARATIVES = table(
    """big: bigger, small: smaller, fast: faster, slow: slower, tall: taller, happy: happier,
    good: better, bad: worse, old: older, young: younger, hot: hotter, cold: colder, long: longer,
    short: shorter, strong: stronger, easy: easier, nice: nicer, large: larger, warm: warmer"""
)
RHYME_GROUPS = tuple(
    group.split()
    for group in (
        "hat cat bat mat rat sat", "frog dog log fog", "run sun fun bun", "bee tree sea key knee",
        "mouse house", "car star far jar", "play day say way", "light night right bright kite",
        "shoe blue two new", "train rain brain", "spoon moon soon noon", "dish fish wish",
        "lake cake make snake", "chair bear hair pear", "ring king sing wing", "boat goat coat",
        "book look cook hook", "ball tall fall wall", "bed red head", "box fox", "pen ten hen men",
        "nose rose toes", "sky fly high pie", "snow go slow", "bell well tell", "hill will fill",
        "door floor four more", "pig big dig wig", "hand sand land", "duck truck luck",
        "feet sweet street", "gold cold old", "name game same", "mice rice nice ice",
        "top hop stop", "time lime rhyme", "cow now how", "love dove glove", "cup up"
        , "tail snail whale",
    )
)  # fmt: skip
SPELLED = (
    "cat dog sun tree house star day night blue rain moon fish cake bear king sea apple banana "
    "water school friend book happy green red yellow orange table chair door window mother father "
    "hello world name cow horse sheep duck pig frog lion tiger mouse wolf goat bee snake elephant "
    "rabbit bird milk bread cheese egg rice soup tea sugar salt paper pencil computer garden "
    "flower river mountain ocean summer winter spring monday friday big small love time music hat "
    "ball boat train plane car bus bike girl boy baby one two three four five six seven eight "
    "nine ten because people beautiful language dragon castle apple kitten puppy spider monkey "
    "giraffe zebra penguin dolphin tomato potato carrot onion lemon cherry grape honey butter "
    "cheese pizza pasta coffee cookie chocolate breakfast dinner kitchen bedroom bathroom office "
    "street bridge village country island forest desert beach planet winter autumn spring tuesday "
    "sunday january march april june july august doctor nurse baker farmer driver writer king "
    "queen prince brother sister uncle cousin family question answer number letter sentence story "
    "song poem picture colour purple silver golden strong quick slow quiet early tomorrow "
    "yesterday "
    "always never maybe please thanks sorry welcome goodbye morning evening night dream heart hand "
    "finger mouth nose eyes ears hair foot head body"
).split()
# what one says: how, in each of ten languages
LANGUAGES = "French Spanish German Italian Portuguese Dutch Swedish Polish Turkish Japanese".split()
_PHRASES = """
hello: bonjour, hola, hallo, ciao, olá, hallo, hej, cześć, merhaba, konnichiwa
thank you: merci, gracias, danke, grazie, obrigado, dank je, tack, dziękuję, teşekkürler, arigato
goodbye: au revoir, adiós, auf Wiedersehen, arrivederci, adeus, tot ziens, hej då, do widzenia, \
hoşça kal, sayonara
good morning: bonjour, buenos días, guten Morgen, buongiorno, bom dia, goedemorgen, god morgon, \
dzień dobry, günaydın, ohayo
good night: bonne nuit, buenas noches, gute Nacht, buonanotte, boa noite, goedenacht, god natt, \
dobranoc, iyi geceler, oyasumi
yes: oui, sí, ja, sì, sim, ja, ja, tak, evet, hai
no: non, no, nein, no, não, nee, nej, nie, hayır, iie
please: s'il vous plaît, por favor, bitte, per favore, por favor, alsjeblieft, snälla, proszę, \
lütfen, onegaishimasu
"""
PHRASES = {
    line.split(": ")[0]: dict(zip(LANGUAGES, line.split(": ")[1].split(", "), strict=True))
    for line in _PHRASES.strip().splitlines()
}
