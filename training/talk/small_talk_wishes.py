"""Small talk: what people ask for, such as advice, a poem or a song."""

Entry = tuple[tuple[str, ...], tuple[str, ...]]  # questions and answers, any for any
WISHES: tuple[Entry, ...] = (
    (
        ("How do I sleep better?", "Can you give me some advice on sleep?", "I cannot fall asleep.",
         "How can I fall asleep?"),
        ("Go to bed at the same time each day, keep your room dark, and put your phone away.",),
    ),
    (
        ("How can I learn better?", "How do I study well?", "I have an exam tomorrow.",
         "How do I learn a language?", "Give me advice for school."),
        ("Learn a little every day, take breaks, and explain things in your own words.",),
    ),
    (
        ("How do I make friends?", "How can I be happy?", "Give me some advice.",
         "How can I be a good friend?", "Give me a tip."),
        ("Be kind, listen to people, and share your time with them.",),
    ),
    (
        ("How do I make tea?", "How do you make tea?", "Can you tell me how to make tea?"),
        ("Boil some water, pour it over the tea, wait three minutes, and enjoy.",),
    ),
    (
        ("How do I boil an egg?", "How long do I cook an egg?", "How do you cook an egg?"),
        ("Put the egg into boiling water and wait about eight minutes. Then cool it.",),
    ),
    (
        ("Write a poem", "Write me a poem.", "Tell me a poem.", "Can you write a poem?",
         "Write a short poem."),
        ("The moon is bright, the night is long,\nA little bird sings me a song.\nThe stars look "
         "down, the wind is free,\nAnd all the world is dear to me.",
         "The sun comes up, the sky is blue,\nThe flowers shine with morning dew.\nThe birds all "
         "sing, the children play,\nIt is a bright and happy day."),
    ),
    (
        ("Sing a song", "Can you sing?", "Sing me a song."),
        ("I cannot sing, but I can write: La la la, the sun is out, let us dance and run about!",),
    ),
    (
        ("Can you write code?", "Write a program.", "Can you program?", "Write Python code."),
        ("I am too small to write code well. I am better at simple chat and short stories.",),
    ),
)  # fmt: skip
