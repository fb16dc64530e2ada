"""Countries, planets, the calendar and simple science."""

from training.talk.script import table

CAPITALS = table(
    """France: Paris, Germany: Berlin, Italy: Rome, Spain: Madrid, Japan: Tokyo, China: Beijing,
    England: London, Russia: Moscow, Egypt: Cairo, Greece: Athens, Portugal: Lisbon,
    Poland: Warsaw, Austria: Vienna, Sweden: Stockholm, Norway: Oslo, Canada: Ottawa,
    India: New Delhi, Ireland: Dublin, Kenya: Nairobi, Peru: Lima, Cuba: Havana,
    Hungary: Budapest, Finland: Helsinki, Denmark: Copenhagen, Brazil: Brasilia,
    the United States: Washington, the USA: Washington, the United Kingdom: London,
    the UK: London, Australia: Canberra, New Zealand: Wellington, Mexico: Mexico City,
    Argentina: Buenos Aires, Chile: Santiago, Turkey: Ankara, Belgium: Brussels,
    the Netherlands: Amsterdam, Switzerland: Bern, Ukraine: Kyiv, South Korea: Seoul,
    North Korea: Pyongyang, Thailand: Bangkok, Vietnam: Hanoi, Indonesia: Jakarta,
    the Philippines: Manila, Iceland: Reykjavik, Scotland: Edinburgh, Wales: Cardiff,
    Croatia: Zagreb, Serbia: Belgrade, Romania: Bucharest, Bulgaria: Sofia, Iran: Tehran,
    Iraq: Baghdad, Israel: Jerusalem, Saudi Arabia: Riyadh, Pakistan: Islamabad, Nepal: Kathmandu,
    Morocco: Rabat, Nigeria: Abuja, Ethiopia: Addis Ababa, Colombia: Bogota, Venezuela: Caracas,
    Czechia: Prague, the Czech Republic: Prague, Slovakia: Bratislava, Slovenia: Ljubljana,
    Estonia: Tallinn, Latvia: Riga, Lithuania: Vilnius, Luxembourg: Luxembourg, Malta: Valletta,
    Mongolia: Ulaanbaatar, Singapore: Singapore, Jamaica: Kingston, Ghana: Accra"""
)
CONTINENTS = table(
    """France: Europe, Germany: Europe, Italy: Europe, Spain: Europe, Poland: Europe,
    Sweden: Europe, Norway: Europe, Greece: Europe, Portugal: Europe, Austria: Europe,
    Ireland: Europe, Finland: Europe, England: Europe, Hungary: Europe, Belgium: Europe,
    Japan: Asia, China: Asia, India: Asia, Thailand: Asia, Vietnam: Asia, South Korea: Asia,
    Nepal: Asia, Iran: Asia, Indonesia: Asia, Pakistan: Asia, Egypt: Africa, Kenya: Africa,
    Nigeria: Africa, Morocco: Africa, Ethiopia: Africa, Ghana: Africa, Brazil: South America,
    Peru: South America, Argentina: South America, Chile: South America, Colombia: South America,
    Canada: North America, Mexico: North America, the United States: North America,
    Cuba: North America, Australia: Australia"""
)
SPOKEN = table(
    """France: French, Germany: German, Italy: Italian, Spain: Spanish, Japan: Japanese,
    China: Chinese, England: English, Russia: Russian, Greece: Greek, Portugal: Portuguese,
    Poland: Polish, Austria: German, Sweden: Swedish, Norway: Norwegian, Brazil: Portuguese,
    Mexico: Spanish, Argentina: Spanish, the United States: English, Australia: English,
    Turkey: Turkish, Egypt: Arabic, South Korea: Korean, Hungary: Hungarian, Finland: Finnish,
    Denmark: Danish, the Netherlands: Dutch, Vietnam: Vietnamese, Thailand: Thai"""
)
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
).split()
MONTH_DAYS = dict(zip(MONTHS, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
UNITS = (
    ("days", "week", "seven", "7"), ("months", "year", "twelve", "12"),
    ("hours", "day", "twenty-four", "24"), ("minutes", "hour", "sixty", "60"),
    ("seconds", "minute", "sixty", "60"), ("weeks", "year", "fifty-two", "52"),
    ("days", "year", "365", "365"), ("seasons", "year", "four", "4"),
    ("years", "century", "one hundred", "100|hundred"), ("years", "decade", "ten", "10"),
    ("centimetres", "metre", "one hundred", "100|hundred"), ("metres", "kilometre",
     "one thousand", "1000|1,000|thousand"), ("grams", "kilogram", "one thousand",
     "1000|1,000|thousand"), ("cents", "dollar", "one hundred", "100|hundred"),
    ("letters", "alphabet", "twenty-six", "26"), ("players", "football team", "eleven", "11"),
    ("eggs", "dozen", "twelve", "12"), ("minutes", "half hour", "thirty", "30"),
)  # fmt: skip
