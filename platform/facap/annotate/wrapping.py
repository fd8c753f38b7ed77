r"""What a model says around the sentence that it was asked for, taken off.

    >>> unwrap("Sure! Here is the caption:\n\n**Caption:** \"A navy dress.\"\n\nNote: I left out the shoes.")
    'A navy dress.'

Prefaces, labels, headings, code fences, bold, quotes, notes and the next turn of a made-up dialogue. Of
several options the first is taken. The items of a list are parts of one answer and are joined. A JSON object
gives its one text. A text that has none of this comes out as it went in, on one line.
"""

import re

from facap.annotate import json_answer

_KIND = (
    r"(?:captions?|descriptions?|modifications?|text|instructions?|requests?|answers?|sentences?|"
    r"changes?|quer(?:y|ies)|results?|responses?|outputs?|edits?|summary|prompts?|messages?|versions?|"
    r"phrases?|rewrites?|revisions?|suggestions?|options?|alternatives?|variations?|json)"
)
_YES = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|no problem|got it|understood|gladly)"
)
_FENCE = re.compile(
    r"(?:```|~~~)(?:[ \t]*[\w+-]{0,20}[ \t]*(?=\n)|(?:text|txt|plaintext|markdown|md|json)\b)?"
)
_RULE = re.compile(r"^[ \t]*([-*_=~])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE)
_BOLD = re.compile(r"\*\*|(?<!\w)__|__(?!\w)")
_PAIRED = re.compile(r"(?<![\w*_`])([*_`])(?=[^\s*_`])([^*_`\n]*[^\s*_`])\1(?![\w*_`])")
_ITEM = re.compile(r"^[ \t]*(?:[-*•‣▪–>]|\(?(?:\d{1,2}|[a-d])[.)])[ \t]+")
_BULLETS = re.compile(r"\A[-•‣▪>\s]+")
_HEADING = re.compile(r"\A(?:#{2,6}|#(?=[ \t]))[ \t]*([^\n]*)\s*")
_LATER_HEADING = re.compile(r"\n[ \t]*#{1,6}[ \t]+")
_FIRST_LINE = re.compile(r"\A[^\n]{1,200}[:：][ \t]*\n\s*(?=\S)")
_PREFACE = re.compile(
    rf"\A(?:{_YES}\b[^:\n]{{0,160}}:|(?:here(?:'s|’s| is| are)|below (?:is|are)|this is|these are|"
    rf"the following (?:is|are))\b[^:\n]{{0,120}}\b{_KIND}\b[^:\n]{{0,80}}:|(?:based on|given|comparing|"
    rf"looking at|as requested|from|after|considering)\b[^:\n]{{0,160}}\b{_KIND}\b[^:\n]{{0,80}}:)\s*",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    rf"\A[^\"“”\n]{{0,160}}\b{_KIND}\b[^\"“”\n]{{0,60}}(?:is|be|reads|:)[ \t]*[\"“]([^\"“”]+)[\"”][.\s]*\Z",
    re.IGNORECASE,
)
_QUOTED_FIRST = re.compile(r"\A[\"“]([^\"“”\n]{8,})[\"”](?:[ \t]*\n| (?:is|was|would)\b)")
_INTERJECTION = re.compile(
    rf"\A(?:(?:{_YES}|here (?:you go|it is|you are))(?:[ \t]*[!.,:;—–][\s!]*|\n\s*)|(?:great|yes|hello|"
    r"hi(?: there)?)(?: question| choice)?[ \t]*[!.][\s!]*)(?=\S)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\A(?:so |thus,? |therefore,? )?(?:(?:the|my|a|final|short|concise|image|garment|modified|"
    r"modification|new|shopper(?:'s|’s)?|user|customer|possible|suggested|requested|relative|change|"
    rf"target|one|edit|search|updated|revised|rewritten)[ \t]+){{0,4}}(?:{_KIND}|assistant|rewritten|"
    r"rephrased|revised)(?:[ \t]*\([^()\n]{0,60}\))?(?:[ \t]+(?:is|would be|could be|should be|"
    r"reads))?(?:[ \t]*[:：]|[ \t]*\n)\s*(?=\S)|\A(?:so |thus,? )?the (?:final )?answer is[ \t]+|\A(?:i|"
    r"you|they|one|(?:the|a) (?:shopper|user|customer|buyer))(?: would| could| might| want|"
    r"'d)[^:\n\"]{0,40}:\s*|\A(?:title|subject)[:：][^\n]*\n\s*(?=\S)",
    re.IGNORECASE,
)
_FINAL_LABEL = re.compile(
    rf"^\W{{0,6}}(?:so )?(?:(?:the|my)[ \t]+)?(?:final[ \t]+{_KIND}|"
    r"answer)(?: is)?\W{0,4}[:：]\W{0,3}(?=\w|$)",
    re.IGNORECASE | re.MULTILINE,
)
_STEPS = re.compile(
    r"\A\W{0,6}(?:reasoning|thought(?: process)?|thinking|analysis|chain of thought|explanation|step 1|"
    r"reference|target|original|source|before|input|image 1)\b[^:\n]{0,40}[:：]",
    re.IGNORECASE,
)
_ANSWER_LABEL = re.compile(
    rf"^\W{{0,6}}(?:(?:the|my|final)[ \t]+)?{_KIND}\W{{0,4}}[:：]", re.IGNORECASE | re.MULTILINE
)
_OPTION = re.compile(
    r"(?:^|(?<=[.!?\"”])[ \t]+)\W{0,4}(?:option|alternative|version|variant|variation|suggestion|"
    r"choice|candidate|caption|modification|request)[ \t]*(?:#[ \t]*)?(?:\d{1,2}|[A-D]|one|two|"
    r"three)\b(?:[ \t]*\([^()\n]{0,60}\))?[ \t]*[:.)–-]\s*",
    re.IGNORECASE | re.MULTILINE,
)
_OR = re.compile(r"\n[ \t]*\(?(?:or|alternatively|another option)\b[ \t]*+[,:)]?[ \t]*+\n", re.IGNORECASE)
_MANY = re.compile(
    r"\b(?:options|alternatives|variations|versions|suggestions|choices|possibilities|captions|"
    r"modifications|requests|ways|examples)\b",
    re.IGNORECASE,
)
_OFFER = (
    r"let me know|(?:i )?hope (?:this|that|it)|feel free|would you like (?:me|any|to)|please (?:note|"
    r"let me know)|is there anything|do you want me|if you(?:'d|’d| would) like|if you (?:need|have any)"
)
_REMARK = (
    r"(?:notes?|explanations?|reasoning|rationale|justification|why this works|word count|disclaimer|"
    r"comment|p\.?s\.?)"
)
_NOTE = re.compile(
    rf"\n[ \t(\[*_#>-]{{0,8}}(?:{_REMARK}\b[\s*_]{{0,4}}[:：]|words?[ \t]*[:：]|"
    rf"(?:key )?changes(?: made)?[ \t]*[:：]|confidence[ \t]*[:：]|(?:{_OFFER})\b|(?:i|we)(?:'ve|’ve|"
    r" have)? (?:kept|focused|chose|avoided|left|omitted|included|used|assumed|made sure|tried)\b|"
    r"(?:this|the) (?:captions?|descriptions?|requests?|texts?|modifications?|instructions?|"
    r"sentences?)\b|\(?\d{1,3} (?:words|characters)\b)|"
    rf"(?<=[.!?)\"”])\s+[(\[*_]{{0,3}}(?:{_REMARK}[*_]{{0,3}}[:：]|(?:{_OFFER})\b)|"
    r"\s{0,4}[(\[][ \t]{0,4}(?:(?:word|character) count[ \t]*+[:=]?[ \t]*+)?\d{1,3}[ \t]*+(?:words?|"
    r"characters?)?[ \t]*+[)\]]\s*\Z",
    re.IGNORECASE,
)
_NEXT_TURN = re.compile(
    r"\n[ \t]*(?:\*\*|#{1,4}[ \t]*)?(?:user|human|customer|question|q|assistant|"
    r"system)(?:\*\*)?[ \t]*[:：]|\n[ \t]*#{1,4}[ \t]*(?:user|human|instruction|input|response)\b|"
    r"\n[ \t]*(?:user|human|system|assistant)[ \t]*\n|(?<=[.!?\"”])[ \t]+(?-i:User|USER|Human|HUMAN|"
    r"Assistant|ASSISTANT)[ \t]*:",
    re.IGNORECASE,
)
_SYMBOL = r"[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff\s]"  # emoji and the like
_SYMBOLS = re.compile(rf"\A{_SYMBOL}+|(?<!{_SYMBOL}){_SYMBOL}+\Z")
_QUOTES = "\"'`“”„‘’«»*"
_ROUNDS = 6  # wrappings in one another


def unwrap(text: str) -> str:
    """The sentence in `text`, on one line; empty if there is none around which the rest was."""
    for _ in range(_ROUNDS):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    text = json_answer.text_of(_in_fence(text))
    text = _PAIRED.sub(r"\2", _BOLD.sub("", text)).strip()
    text, several = _without_front(text)
    text = _cut(text, _NEXT_TURN)
    labels = list(_FINAL_LABEL.finditer(text)) or (
        list(_ANSWER_LABEL.finditer(text)) if _STEPS.match(text) else []
    )
    if labels and text[labels[-1].end() :].strip():
        text = text[labels[-1].end() :]
    first = _QUOTED_FIRST.match(text)
    text = first.group(1) if first else text
    text = _without_back(_first_option(text))
    line = _joined(text, only_first=several)
    quoted = _QUOTED.match(line)
    line = quoted.group(1) if quoted else line
    while len(line) > 1 and line[0] in _QUOTES and line[-1] in _QUOTES:
        line = line[1:-1].strip()
    return _SYMBOLS.sub("", line)


def _in_fence(text: str) -> str:
    """What stands in the first code fence, if there is one and anything is in it."""
    fences = list(_FENCE.finditer(text))
    if not fences:
        return text
    before, after = text[: fences[0].start()], text[fences[0].end() :]
    if len(fences) > 1:
        inside = text[fences[0].end() : fences[1].start()]
        if inside.strip():
            return inside
    elif after.strip() and (not before.strip() or before.rstrip().endswith((":", "："))):
        return after
    elif before.strip():  # its start was in the prompt
        return before
    return _FENCE.sub(" ", text)


def _without_front(text: str) -> tuple[str, bool]:
    """`text` without what announces it, and whether several answers were announced."""
    several = False
    while True:
        start = _RULE.sub("", text, count=1).lstrip() if _RULE.match(text) else text.strip()
        heading = _HEADING.match(start)
        if heading:  # it names what follows; alone it is the answer
            start = start[heading.end() :] or heading.group(1)
        for pattern in (_FIRST_LINE, _PREFACE, _INTERJECTION, _LABEL):
            found = pattern.match(start)
            if found:
                several = several or bool(_MANY.search(found.group()))
                start = start[found.end() :]
        if start == text:
            return text, several
        text = start


def _first_option(text: str) -> str:
    options = list(_OPTION.finditer(text))
    if options and not text[: options[0].start()].strip():
        text = text[options[0].end() : options[1].start() if len(options) > 1 else len(text)]
    return _cut(text, _OR)


def _without_back(text: str) -> str:
    for pattern in (_NOTE, _RULE, _LATER_HEADING):
        text = _cut(text, pattern)
    return text


def _cut(text: str, pattern: re.Pattern[str]) -> str:
    """`text` up to the first match that anything stands before."""
    for found in pattern.finditer(text):
        if text[: found.start()].strip(" \t\n-*_#>"):
            return text[: found.start()].rstrip()
    return text


def _joined(text: str, only_first: bool) -> str:
    """Lines as one; items of a list become parts of a sentence, or the first of them the whole."""
    if re.match(r"\s*1[.)]\s", text):
        text = re.sub(r"\s(?=[2-9][.)]\s)", "\n", text)  # a list that has lost its line ends
    line, in_list = "", False
    for part in filter(None, (part.strip() for part in text.split("\n"))):
        item = _ITEM.match(part)
        said = " ".join(part[item.end() if item else 0 :].split())
        if item and in_list and line and only_first:
            break
        between = ", " if item and in_list and line[-1:].isalnum() and not said[:1].islower() else " "
        in_list = in_list or bool(item)
        line += between + said if line else said
    return _BULLETS.sub("", line).strip()
