"""In which encoding a text is written: by its first bytes, by being UTF-8, or by what its letters look like."""

import re

MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
)  # fmt: skip
LEAST = 0.8  # of the characters beyond ASCII must be everyday ones, or nothing is said
SIGNS = "’‘“”„‚‹›«»–—…•·€£¥¢§°®©™±²³½¼¾¡¿×÷´¨µ†ªº№\xa0\xad"
WITHIN_WORDS = "’‘·\xad–—"
# Everyday letters of languages in the alphabet of ASCII, and in others; more special encodings stand first.
LATIN = {
    "cp1252": "àáâãäåæçèéêëìíîïñòóôõöøùúûüßœÿ",
    "cp1254": "âçğıîöşüûİ",
    "cp1250": "áâăäąćčçďđéęëěíîľłńňóôőöřśšşťţúůűüýźžż",
    "cp1257": "āčēģīķļņšūžąęėįųõäöüćńóśźżł",
}
ALPHABETS = {
    "cp1255": "א-ת", "cp1253": "α-ωΑ-Ωάέήίόύώ", "cp1251": "а-яА-ЯёЁіїєґІЇЄҐўЎ", "koi8_r": "а-яА-ЯёЁ", "cp866": "а-яА-ЯёЁ",
    "cp1256": "ء-ي",
}  # fmt: skip
SCRIPTS = {"cp932": "ぁ-ヿ", "euc_jp": "ぁ-ヿ", "cp949": "가-힣"}
# Of Chinese, the first bytes of everyday characters.
CHINESE = {"gb18030": range(0xB0, 0xD8), "big5": range(0xA4, 0xC7)}
IDEOGRAPHS, WIDE_SIGNS = "[\u4e00-\u9fff]", "[\u3000-\u303f\uff01-\uff5e]"


def marked(head):
    """The encoding that the first bytes of a text name, or None."""
    return next((name for mark, name in MARKS if head.startswith(mark)), None) or _two_bytes(head)


def guess(data):
    """The likeliest encoding of a text that is not UTF-8; None when no usual one fits.

    Args:
        data: bytes, of which only the lines count that are not ASCII.

    Example:
        >>> guess("très bon, déçu".encode("latin-1")), guess("очень хороший фильм".encode("koi8-r"))
        ('cp1252', 'koi8_r')
    """
    sample = b"\n".join(line for line in data.splitlines() if not line.isascii())
    scores = {}
    for encoding in (*LATIN, *ALPHABETS, *SCRIPTS, *CHINESE):
        try:
            text = sample.decode(encoding)
        except UnicodeDecodeError:
            continue
        scores[encoding] = _score(text, encoding)
    best = max(scores, key=scores.get, default=None)
    return best if best is not None and scores[best] >= LEAST else None


def _two_bytes(head):
    """UTF-16 without a mark: every other byte of Western text is 0."""
    zeros = head[0::2].count(0), head[1::2].count(0)
    if len(head) < 4 or max(zeros) < 0.3 * (len(head) // 2) or min(zeros) > 0.02 * len(head):
        return None
    encoding = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    text = head[: len(head) // 2 * 2].decode(encoding, "ignore")
    return None if re.search(r"[\x00-\x08\x0e-\x1f]", text) else encoding


def _score(text, encoding):
    """The share of characters beyond ASCII that are everyday ones of the encoding, each where it may stand."""
    if encoding in LATIN:
        letters = LATIN[encoding]
        letters += letters.upper().replace("S", "")  # of "ß"
        runs = re.findall(r"[^\W\x00-\x7f]+", text)
        usual = sum(len(run) for run in runs if len(run) < 5 and set(run) <= set(letters))  # no word has five in a row
        if not re.search(r"[a-zA-Z][^\W\x00-\x7f]|[^\W\x00-\x7f][a-zA-Z]", text):
            usual *= 0.9  # as well a script of its own
    elif encoding in ALPHABETS:
        words = re.findall(f"[A-Za-z{ALPHABETS[encoding]}]+", text)
        words = [word for word in words if not re.search("[A-Za-z]", word)]
        usual = sum(len(word) - 0.5 * len(re.findall("(?<=.)[Α-ΩА-ЯЁ]", word)) for word in words)
    elif encoding in SCRIPTS:
        usual = len(re.findall(f"(?<![A-Za-z])[{SCRIPTS[encoding]}](?![A-Za-z])", text))
        if usual and encoding != "cp949":  # Japanese mixes
            usual += len(re.findall(IDEOGRAPHS, text))
    else:
        alone = re.findall(f"(?<![A-Za-z]){IDEOGRAPHS}(?![A-Za-z])", text)
        usual = sum(letter.encode(encoding)[0] in CHINESE[encoding] for letter in alone)
    return (usual + _signs(text) + len(re.findall(WIDE_SIGNS, text))) / max(len(re.findall(r"[^\x00-\x7f]", text)), 1)


def _signs(text):
    """How many signs do not stand in the midst of a word, unless they may."""
    free = f"(?<![^\\W\\d_])[{SIGNS}]|[{SIGNS}](?![^\\W\\d_])"
    return len(re.findall(free, text)) + len(re.findall(rf"(?<=[^\W\d_])[{WITHIN_WORDS}](?=[^\W\d_])", text))
