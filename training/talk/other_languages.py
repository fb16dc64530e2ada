"""What is not English gets one sentence: that the model only speaks English."""

from training.talk.script import Script

REPLY = "I am sorry, I only speak English."
_SENTENCES = """
Bonjour, comment ça va ?|Quelle est la capitale de la France ?|Je m'appelle Marie.|Peux-tu m'aider ?
Quel temps fait-il aujourd'hui ?|Raconte-moi une histoire.|Qui es-tu ?|Où est la gare ?|Merci bien !
Combien font deux et deux ?|J'ai un chat noir.|Parles-tu français ?|Comment tu t'appelles ?
Hola, ¿cómo estás?|¿Cuál es la capital de España?|Me llamo Juan.|¿Puedes ayudarme?|¿Qué hora es?
Cuéntame un cuento.|¿Quién eres?|¿Dónde está la estación?|Muchas gracias.|¿Cuánto es dos más dos?
Tengo un perro negro.|¿Hablas español?|¿Cómo te llamas?|Buenos días, amigo
Hallo, wie geht es dir?|Was ist die Hauptstadt von Deutschland?|Ich heiße Peter.|Wer bist du?
Kannst du mir helfen?|Wie spät ist es?|Erzähl mir eine Geschichte.|Wo ist der Bahnhof?|Vielen Dank!
Wie viel ist zwei plus zwei?|Ich habe eine Katze.|Sprichst du Deutsch?|Wie heißt du?|Was ist das?
Ciao, come stai?|Qual è la capitale d'Italia?|Mi chiamo Marco.|Puoi aiutarmi?|Che ore sono?
Raccontami una storia.|Chi sei?|Dov'è la stazione?|Grazie mille!|Quanto fa due più due?
Parli italiano?
Olá, como vai?|Qual é a capital do Brasil?|Meu nome é João.|Você pode me ajudar?|Que horas são?
Conte uma história.|Quem é você?|Onde fica a estação?|Muito obrigado!|Você fala português?
Hallo, hoe gaat het?|Wat is de hoofdstad van Nederland?|Ik heet Jan.|Wie ben jij?|Hoe laat is het?
Kun je mij helpen?|Vertel me een verhaal.|Spreek je Nederlands?|Wat is dit?
Hej, hur mår du?|Vad heter du?|Vem är du?|Kan du hjälpa mig?|Talar du svenska?|Berätta en saga.
Cześć, jak się masz?|Jak masz na imię?|Kim jesteś?|Czy możesz mi pomóc?|Czy mówisz po polsku?
Merhaba, nasılsın?|Adın ne?|Sen kimsin?|Bana yardım eder misin?|Türkçe biliyor musun?|Saat kaç?
Привет, как дела?|Как тебя зовут?|Кто ты?|Ты можешь мне помочь?|Какая столица России?
Расскажи мне сказку.|Ты говоришь по-русски?|Который час?|Спасибо большое!
Сколько будет два плюс два?
你好|你好吗？|你是谁？|你叫什么名字？|中国的首都是哪里？|你会说中文吗？|给我讲一个故事。|现在几点？
谢谢你|二加二等于多少？|我有一只猫。|你能帮我吗？|天空是什么颜色的？|今天天气怎么样？|再见
こんにちは|お元気ですか？|あなたは誰ですか？|お名前は何ですか？|日本の首都はどこですか？|ありがとう
日本語を話せますか？|今何時ですか？|助けてください。|物語を話してください。|猫が好きです。
안녕하세요|당신은 누구입니까?|이름이 뭐예요?|한국의 수도는 어디입니까?|도와주세요
한국어 할 줄 아세요?
مرحبا، كيف حالك؟|ما اسمك؟|من أنت؟|هل تتكلم العربية؟|ما هي عاصمة مصر؟|كم الساعة؟|شكرا جزيلا
नमस्ते, आप कैसे हैं?|आपका नाम क्या है?|आप कौन हैं?|क्या आप हिंदी बोलते हैं?|भारत की राजधानी क्या है?
שלום, מה שלומך?|מה שמך?|Γεια σου, τι κάνεις;|Πώς σε λένε;|Привіт, як справи?|Як тебе звати?
Hei, mitä kuuluu?|Mikä sinun nimesi on?|Ahoj, jak se máš?|Jak se jmenuješ?|Szia, hogy vagy?
Xin chào, bạn khỏe không?|Bạn tên là gì?|สวัสดี คุณชื่ออะไร|Apa kabar?|Siapa nama kamu?
Salut, ce mai faci?|Hvordan har du det?|Hva heter du?|Hvad hedder du?
"""
_WORDS = {
    "fr": "je tu il elle nous le la un une petit grand chat chien maison école livre mange aime "
    "est sont avec dans pour très aujourd'hui demain rouge bleu manger voir pourquoi comment",
    "es": "yo tú él ella nosotros el la un una pequeño grande gato perro casa escuela libro come "
    "gusta es son con en para muy hoy mañana rojo azul comer ver por qué cómo dónde",
    "de": "ich du er sie wir der die das ein eine kleine große Katze Hund Haus Schule Buch isst "
    "mag ist sind mit im für sehr heute morgen rot blau essen sehen warum wie wo",
    "it": "io tu lui lei noi il la un una piccolo grande gatto cane casa scuola libro mangia ama "
    "è sono con in per molto oggi domani rosso blu mangiare vedere perché come dove",
    "ru": "я ты он она мы маленький большой кот собака дом школа книга ест любит с в для очень "
    "сегодня завтра красный синий почему как где что это",
    "zh": "我 你 他 她 我们 的 是 在 有 和 猫 狗 家 学校 书 吃 喜欢 大 小 今天 明天 红 蓝 "
    "为什么 怎么 "
    "哪里",
    "ja": "私 あなた は が を に の 猫 犬 家 学校 本 食べます 好きです 大きい 小さい "
    "今日 明日 なぜ どこ",
    "ar": "أنا أنت هو هي نحن كبير صغير قطة كلب بيت مدرسة كتاب يأكل يحب في من اليوم غدا لماذا كيف",
}  # fmt: skip
_KNOWN = [part for line in _SENTENCES.strip().splitlines() for part in line.split("|")]


def other_language(c: Script) -> None:
    """A real sentence, or words in a row: both are recognised by their letters and words."""
    check = lambda t: "english" in t.lower() and len(t) < 120  # noqa: E731
    if c.chance(0.6):
        c.say("|".join(_escape(s) for s in [_KNOWN[0], *_KNOWN]), REPLY, check)
        return
    code = c.rng.choice(list(_WORDS))
    words = c.rng.sample(_WORDS[code].split(), c.rng.randint(3, 7))
    joined = ("" if code in ("zh", "ja") else " ").join(words)
    c.say("{x}|{x}?|{x}.|{x}!", REPLY, check, x=joined)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def do_you_speak(c: Script) -> None:
    language = c.one("French", "German", "Spanish", "Chinese", "Japanese", "Russian", "Italian",
                     "Arabic", "Dutch", "Korean", "Polish", "Turkish", "Hindi")  # fmt: skip
    wordings = (
        "Do you speak {l}?|do you speak {l}|Can you speak {l}?|Can you answer in {l}?|Speak {l}."
        "|Please answer in {l}.|can we talk in {l}?|Do you understand {l}?|switch to {l}|Do you "
        "know {l}?|are you able to speak {l}?|Can you write in {l}?|Talk to me in {l}.|Can you "
        "understand {l}?|could you reply in {l}?|Let us speak {l}.|Do you talk {l}?|say something "
        "in {l}|Tell me a story in {l}.|how good is your {l}?"
    )
    check = lambda t: "english" in t.lower()  # noqa: E731
    c.say(wordings, REPLY, check, l=language)


INTENTS = {other_language: 2.0, do_you_speak: 1.0}
