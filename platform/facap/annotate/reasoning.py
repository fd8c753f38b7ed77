"""What a model writes around its answer by the format of its training: reasoning, answer tags, turns.

    >>> final("<think>navy, or black?</think>A navy dress.<|im_end|>")
    'A navy dress.'
    >>> final("navy, or black?</think>A navy dress.")
    'A navy dress.'
    >>> final("<think>navy, or") is None
    True

The spellings are those that the chat templates of public models have, with special tokens kept, or dropped as
most servers do.
"""

import re
from itertools import islice

_NAME = (
    r"(?:\w{1,12}:|\w{1,12}_)?(?:think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|analysis|"
    r"reflection|scratchpad|rationale|explanation|plan)"
)
_UPPER = r"(?-i:THINK(?:ING)?|THOUGHTS?|REASON(?:ING)?)"  # "[think]" may be a word of the text
_TAG = re.compile(
    rf"(?P<close></\s{{0,8}}{_NAME}\s*>|\[/{_UPPER}\]|◁/{_NAME}▷|<\|(?:end_of_|end_|/){_NAME}\|>|<channel\|>|"
    rf"<unused95>|<\|close\|>\s*{_NAME}\s*<\|sep\|>|here(?:'s| is) my response:)|"
    rf"(?P<open><\s{{0,8}}{_NAME}(?:\s[^<>]{{0,80}})?>|\[{_UPPER}\]|◁{_NAME}▷|<\|(?:begin_of_|"
    rf"start_)?{_NAME}\|>|<\|channel>\s*thought\b|<unused94>\s*thought\b|<\|open\|>\s*{_NAME}\s*<\|sep\|>|"
    r"here(?:'s| is) my thought process:)",
    re.IGNORECASE,
)
# gpt-oss: each message names its channel; without special tokens the names run into the texts.
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w{1,40}+)[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>(.*?)(?=<\|(?:end|"
    r"return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_BARE_CHANNELS = re.compile(
    r"\A\s*(?:analysis|commentary)(?=[A-Z\s]).*assistant\s{0,2}final(?:json)?", re.DOTALL
)
_BARE_CHANNEL = re.compile(r"\A\s*(analysis|commentary|assistantfinal|final)(?=[A-Z{\"])")

_ANSWER_NAME = (
    r"(?:answer|final_answer|final|response|output|result|caption|description|modification|"
    r"modification_text|text|request|instruction|solution|sentence)"
)
_ANSWER = re.compile(
    rf"<{_ANSWER_NAME}>|\[ANSWER\]|\[BEGIN FINAL RESPONSE\]|<\|(?:begin_of_(?:box|solution)|"
    r"START_(?:RESPONSE|TEXT))\|>|<\|open\|>\s*response\s*<\|sep\|>|\\boxed\{(?:\\text\{)?",
    re.IGNORECASE,
)
_TRIED = 8  # reasoning may speak of the tags before it uses them
_ANSWER_END = re.compile(
    rf"</{_ANSWER_NAME}>|\[/ANSWER\]|\[END FINAL RESPONSE\]|<\|(?:end_of_(?:box|solution)|END_(?:RESPONSE|"
    r"TEXT))\|>|<\|close\|>\s*response\s*<\|sep\|>",
    re.IGNORECASE,
)
_TURN = r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>|<[|｜])\s*"
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|eot|eom|end|endoftext|end_of_text|end_of_turn|end_of_turn_token|return|"
    r"call|observation|end_response|end_text)\|>|</s>|<eo[st]>|<end_of_(?:turn|utterance)>|<turn\|>|"
    r"<[|｜]\s*end[▁_ ]of[▁_ ]sentence\s*[|｜]>|\[(?:end of text|EOS|/?INST)\]|"
    rf"<\|close\|>\s*message\s*<\|sep\|>|{_TURN}(?:user|human|system)\b",
    re.IGNORECASE,
)
_TURN_START = re.compile(
    rf"{_TURN}(?:assistant|model)\s*(?:<\|end_header_id\|>|<\|message\|>|[|｜]>)?", re.IGNORECASE
)
_SPECIAL = re.compile(
    r"<[|｜][^|｜<>]{0,40}[|｜]?>|<[^|｜<>\s]{1,20}\|>|<(?:s|pad|unk|image|img|bos|unused\d+|loc_?\d+)>",
    re.IGNORECASE,
)
_LINE = re.compile(r"<br\s*/?>|</?(?:p|li|ul|ol|div|h[1-6])>|<0x0A>", re.IGNORECASE)
_HTML = re.compile(r"</?[A-Za-z][\w:-]{0,30}(?:\s[^<>]{0,200})?/?>")
_ROLE = re.compile(
    r"\A\s*(?:assistant|model|bot|chatbot|ai|response)(?:[ \t]*\n|[ \t]*[:：])\s*", re.IGNORECASE
)


def final(text: str) -> str | None:
    """What `text` says to its reader, without special tokens and tags; None if it never came to that."""
    said = _of_channels(text) if "<|channel|>" in text else _after_reasoning(text)
    if said is None:
        tagged = _tagged(text)  # "<think>red, so <answer>a red dress</answer>"
        said = None if tagged is None else _after_reasoning(tagged)
        if said is None:
            return None
    else:
        tagged = _tagged(said)
        said = said if tagged is None else tagged
    return _own_turn(said)


def _of_channels(text: str) -> str | None:
    finals = [body for name, body in _CHANNEL.findall(text) if name == "final" and body.strip()]
    return finals[0] if finals else None


def _after_reasoning(text: str) -> str | None:
    bare = _BARE_CHANNELS.match(text)
    if bare:
        return text[bare.end() :]
    named = _BARE_CHANNEL.match(text)
    if named:
        return text[named.end() :] if named.group(1).endswith("final") else None
    kept: list[str] = []
    end, reasons, found = 0, False, False
    for tag in _TAG.finditer(text):
        found = True
        if not reasons and tag["open"]:
            kept.append(text[end : tag.start()])
            reasons = True
        elif tag["close"]:
            if not reasons:  # what came before was reasoning whose start the prompt had
                kept.clear()
            end, reasons = tag.end(), False
    if not reasons:
        kept.append(text[end:])
    said = " ".join(kept)
    return said if said.strip() or not found else None


def _tagged(text: str) -> str | None:
    """The content of the first pair of answer tags that has any; of one tag, what is on its inner side."""
    inner = text
    for _ in range(4):  # one kind in another
        for start in islice(_ANSWER.finditer(inner), _TRIED):
            ended = _ANSWER_END.search(inner, start.end())
            content = inner[start.end() : ended.start() if ended else len(inner)]
            if "boxed" in start.group():
                content = content.partition("}")[0]
            if _HTML.sub("", content).strip():
                inner = content
                break
        else:
            break
    ended = _ANSWER_END.search(inner)
    if ended and inner[: ended.start()].strip():
        inner = inner[: ended.start()]
    return None if inner is text or len(inner) == len(text) else inner


def _own_turn(text: str) -> str:
    """The first turn of `text` that says anything, without special tokens."""
    for turn in _TURN_END.split(text):
        said = _SPECIAL.sub(" ", _LINE.sub("\n", _TURN_START.sub(" ", turn)))
        said = _ROLE.sub("", _HTML.sub(" ", said))
        if said.strip():
            return said.strip()
    return ""
