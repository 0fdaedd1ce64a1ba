"""Names for runs that can be said aloud: an adjective and an animal.

The words are short, differ by ear and carry no judgement of the result: 4096 pairs a day.
"""

import random

_ADJECTIVES = """
    agile amber ample azure brave breezy bright brisk calm clear clever coastal cosy crisp
    curious dapper deft eager early fleet frank gentle gilded glad golden green hardy hazel
    humble jolly keen kind level light lively loyal lucid lunar mellow merry mild modest nimble
    noble patient placid proud quick quiet ready ripe rosy rural sandy serene silver sleek snowy
    solar steady sunny tidy vivid warm
"""
_ANIMALS = """
    adder alpaca badger beaver bison bobcat camel caribou cheetah cicada condor cormorant crane
    cricket dingo dolphin eagle egret falcon ferret finch gazelle gecko gibbon goose gull hare
    heron hornet ibex iguana impala jackal jaguar kestrel kiwi koala lark lemur leopard linnet
    lizard llama lynx magpie marmot marten mole newt ocelot osprey otter owl panther pelican
    puffin quail raven robin salmon stork swift tapir wombat
"""

ADJECTIVES = tuple(_ADJECTIVES.split())
ANIMALS = tuple(_ANIMALS.split())

_chance = random.SystemRandom()


def draw() -> str:
    """Draw two words, not influenced by any seed of the training.

    Returns:
        ``adjective-animal`` in lower-case letters.

    Examples:
        >>> adjective, animal = draw().split("-")
        >>> adjective in ADJECTIVES and animal in ANIMALS
        True
    """
    return f"{_chance.choice(ADJECTIVES)}-{_chance.choice(ANIMALS)}"
