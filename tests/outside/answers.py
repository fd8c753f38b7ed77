"""Answers of public models, and the text or the reason that is right for each.

ANSWERS is a plain list, for whoever wants to count. The kinds are those of `status_and_text`.
"""

import contextlib
import io
import json
import runpy
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from facap.annotate import answer, parsing, structured, taxonomy
from facap.annotate.answer import Fault
from tests.outside.case import GIVEN, Case

NAVY, RED = "a navy cotton dress with long sleeves", "a red cotton dress with short sleeves"
CHANGE, CAPTION = "Make it red with short sleeves.", "A red cotton dress with short sleeves."
OK, REFUSED, OTHER = "ok", "refused", "other_language"
WORDS = taxonomy.load()
OBJECT = json.loads(structured.answer_of(RED, WORDS))
JSON = json.dumps(OBJECT)


class Answer(NamedTuple):
    """`text` is None where the answer is of no use."""

    kind: str  # caption, modification, attributes (JSON), question (of verification)
    name: str
    raw: str
    status: str
    text: str | None


def status_and_text(kind: str, raw: str) -> tuple[str, str | None]:
    """What the code makes of an answer of this kind."""
    if kind == "question":
        said = answer.read(raw, max_chars=800)
        return (said.status, None) if isinstance(said, Fault) else (OK, said)
    if kind == "caption":
        parsed = parsing.parse_caption(raw, words=WORDS, category="dress")
    elif kind == "modification":
        parsed = parsing.parse_modification(raw, NAVY, RED, words=WORDS)
    else:
        parsed = structured.parse(raw, words=WORDS, category="dress")
    return parsed.status, parsed.text


REASONING = {
    "think": "<think>It could be navy.</think>{}",
    "think, lines": "<think>\nIt could be navy.\n</think>\n\n{}",
    "empty think": "<think>\n\n</think>\n\n{}",
    "end without start": "It could be navy, or black.\n</think>\n\n{}",
    "two ends": "<think>I close with </think> later. Navy?</think>{}",
    "one in another": "<think>navy <think>black</think> or blue</think>{}",
    "thinking": "<thinking>It could be navy.</thinking>\n{}",
    "thought": "<thought>navy</thought>{}",
    "reasoning": "<reasoning>navy to black</reasoning>{}",
    "upper case": "<THINK>navy</THINK>{}",
    "seed": "<seed:think>navy</seed:think>{}",
    "Mistral": "[THINK]navy[/THINK]{}",
    "Kimi": "◁think▷navy◁/think▷{}",
    "Cohere": "<|START_THINKING|>navy<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "Gemma": "<|channel>thought\nnavy<channel|>{}<turn|>",
    "begin_of_thought": "<|begin_of_thought|>navy<|end_of_thought|>"
    "<|begin_of_solution|>{}<|end_of_solution|>",
    "harmony": "<|channel|>analysis<|message|>navy<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "harmony without tokens": "analysisThe user wants it in navy.assistantfinal{}",
    "Granite": "Here is my thought process: navy. Here is my response: {}",
    "steps": "Reasoning: it goes from navy to another colour.\nFinal answer: {}",
    "HTML escape": "&lt;think&gt;navy&lt;/think&gt;{}",
}
UNFINISHED = {
    "start without end": "<think>The dress is red, so",
    "Mistral": "[THINK]The dress is red, so",
    "Kimi": "◁think▷The dress is red",
    "harmony": "<|channel|>analysis<|message|>The dress is red, so I should",
    "harmony without tokens": "analysisThe dress is red, so I should",
    "nothing after it": "<think>The dress is red.</think>",
    "Gemma": "<|channel>thought\nThe dress is red",
}
WRAPPINGS = {
    "answer tag": "<answer>{}</answer>",
    "answer tag after talk of it": "I put it into <answer></answer> tags.<answer>{}</answer>",
    "answer tag without end": "<answer>\n{}",
    "box": "<answer><|begin_of_box|>{}<|end_of_box|></answer>",
    "boxed": "\\boxed{{{}}}",
    "im_end": "{}<|im_end|>",
    "eot_id": "{}<|eot_id|>",
    "end_of_turn": "{}<end_of_turn>",
    "eos": "{}</s>",
    "DeepSeek": "{}<｜end▁of▁sentence｜>",
    "utterance": "{}<end_of_utterance>",
    "llama.cpp": "{} [end of text]",
    "next turn in tokens": "{}<|im_end|>\n<|im_start|>user\nAnd now in blue?<|im_end|>\n"
    "<|im_start|>assistant\nBlue.",
    "Llama head": "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "INST": "[/INST] {} </s>[INST] And in blue? [/INST]",
    "role": "assistant\n\n{}",
    "role with a colon": "ASSISTANT: {}",
    "next turn": "{}\nUser: and now in blue?\nAssistant: Make it blue.",
    "next turn, Alpaca": "{}\n\n### Instruction:\nNow in blue.",
    "code fence": "```\n{}\n```",
    "code fence with a language": "```text\n{}\n```",
    "code fence in prose": "Here it is:\n```\n{}\n```\nLet me know if you need more!",
    "code fence whose start the prompt had": "{}\n```\n\nThe text above is short.",
    "bold": "**{}**",
    "italic": "*{}*",
    "code": "`{}`",
    "quotes": '"{}"',
    "curly quotes": "“{}”",
    "preface": "Here is the caption: {}",
    "preface on its line": "Here's the modification text you asked for:\n\n{}",
    "curly preface": "Here’s a concise description of the garment:\n\n{}",
    "sure": "Sure! {}",
    "sure, here is": "Sure, here is a short instruction for the change:\n\n{}",
    "certainly": 'Certainly! Here\'s the request:\n\n"{}"',
    "based on": "Based on the two captions, the request would be:\n\n{}",
    "label": "Caption: {}",
    "bold label": "**Modification:** {}",
    "bold label, colon outside": "**Modification text**: {}",
    "label on its line": "Modification:\n{}",
    "final answer": "The colour differs.\n\n**Final answer:** {}",
    "heading": "### Modification\n{}",
    "heading and rule": "# Caption\n---\n{}\n---",
    "bullet": "- {}",
    "one item": "1. {}",
    "note": "{}\n\nNote: I kept the cotton as both share it.",
    "note in brackets": "{}\n\n(Note: navy was left out.)",
    "bold note": "{}\n\n**Note:** navy was left out.",
    "note on the line": "{} Note: I kept the navy out.",
    "explanation": "{}\n\nExplanation: it was navy before.",
    "offer": "{}\n\nLet me know if you'd like it in navy!",
    "about itself": "{}\n\nThis caption leaves the navy belt out.",
    "word count": "{} (6 words)",
    "word count below": "{}\n\nWord count: 6",
    "options": "Option 1: {}\nOption 2: Go for navy.",
    "bold options": "**Option 1 (concise):** {}\n\n**Option 2 (long):** Go for navy.",
    "announced options": "Here are three options:\n\n1. {}\n2. Go for navy.\n3. Or black.",
    "literal line ends": "Here is the caption:\\n\\n{}\\n",
    "literal quotes": '\\"{}\\"',
    "zero width": "\u200b{}\ufeff",
    "line ends of Windows": "Caption:\r\n{}\r\n",
    "byte order mark": "\ufeff{}",
    "HTML": "<p>{}</p>",
    "JSON": '{{"text": "{}"}}',
    "JSON in a fence": '```json\n{{"modification": "{}"}}\n```',
    "JSON list": '["{}", "Go for navy."]',
}
REFUSALS = {
    "sorry": "I'm sorry, but I can't describe the person wearing the red dress.",
    "curly": "I’m sorry, I can’t help with the red dress.",
    "am sorry": "I am sorry, but I cannot compare the red dress and the navy one.",
    "sorry alone": "Sorry, I can't see the red dress.",
    "apologize": "I apologize, but I can not see the images of the red dress.",
    "apologies": "My apologies, the red dress is not something I can describe.",
    "as an AI": "As an AI, I cannot identify people, but the dress is red.",
    "language model": "As a large language model I do not see pictures of a red dress.",
    "just an assistant": "I'm just an AI assistant and a red dress is beyond me.",
    "unable": "I am unable to help with that request about the red dress.",
    "not able": "I'm not able to view the picture of the red dress.",
    "unfortunately": "Unfortunately, no image of the red dress was provided.",
    "no image": "I don't see an image attached. Please share the picture of the red dress.",
    "not attached": "It looks like the image of the red dress wasn't attached.",
    "upload": "Could you please upload the image of the red dress again?",
    "no access": "I don't have access to images, so I cannot say whether the dress is red.",
    "decline": "I must decline to describe this red dress.",
    "not comfortable": "I'm not comfortable describing the person in the red dress.",
    "guidelines": "Describing the red dress goes against my guidelines.",
    "bare": "Cannot assist with the red dress.",
    "no person": "The image does not contain any person in a red dress.",
    "no garment": "The image doesn't show a recognizable clothing item, only red.",
    "details": "Please provide more details about the red dress.",
    "rephrase": "Could you rephrase what you want of the red dress?",
    "after a preface": "Here is the caption:\n\nI'm sorry, but I can't describe people in a red dress.",
    "after thinking": "<think>a person</think>I can't help with identifying people in a red dress.",
    "Spanish": "Lo siento, no puedo ayudar con el vestido rojo.",
    "Spanish, short": "No puedo ayudar con eso.",
    "French": "Je suis désolé, je ne peux pas décrire cette robe.",
    "German": "Es tut mir leid, ich kann das rote Kleid nicht beschreiben.",
    "Chinese": "抱歉，我无法描述这条红色的裙子。",
}
INNOCENT = (
    "a dress that can't be missed, in red with short sleeves",
    "red with no sleeves at all",
    "a red dress with no picture on the front",
    "has no image and is red",
    "a sorry excuse of a belt, red dress",
    "a red shirt that says I'm with stupid",
    "a red dress you cannot wear without a belt",
    "a red crêpe de chine dress with broderie anglaise",
    "a red robe with a décolleté and a café au lait lining",
    "a red tee that says “日本” on the chest",
    "a red tee with a note: “no regrets”",
    "a red dress in size 10. 2 pockets",
    "a red and white R&B band tee",
    "a red dress (knee length)",
    "a red maxi dress: long, flowing and pleated",
    "I don't want sleeves, and I want it red",
    "it is unlike the navy one, red and not as tight",
    "an à la mode red dress",
    "la la land red tee",
    "there is no logo in the picture print, red tee",
    "the image on the red shirt is not visible from the back",
    "great, loose fit in red",
    "#1 dad print tee in red",
    "no me gusta print tee in red",
    "viva la vida print on a red tee",
    "<3 print on a red tee",
    "a red dress made for an assistant: sober and straight",
    "The image does not contain any logo, plain red",
    "Add more details to the neckline, please provide more pockets",
    "the picture does not show a belt, so keep it plain and red",
    "the photo does not display any print on the garment",
    "the image does not show a model number tag, red tee",
    "can you provide the garment in red with short sleeves",
    "could you attach text that says love on the front",
    "please supply more lace details on the collar",
    "please attach a photo print to the front",
    "please provide a rougher texture in red",
    "could you send a longer one with more pockets",
    "you can describe it as a red maxi dress with more flare",
)
FOREIGN = {
    "Chinese": "把颜色从海军蓝改成红色，袖子改为短袖",
    "Chinese and English": "Make it 红色 with short sleeves.",
    "Japanese": "赤いドレス、半袖にしてください red",
    "Korean": "빨간 드레스 red dress",
    "Russian": "Красное платье с короткими рукавами, red",
    "Arabic": "فستان أحمر بأكمام قصيرة red",
    "French": "Même robe en rouge avec des manches courtes.",
    "French, short": "Une robe rouge avec des manches courtes, coton",
    "Spanish": "Cámbialo a rojo con mangas cortas, cotton",
    "Spanish caption": "Un vestido rojo de algodón con mangas cortas.",
    "German": "Mach es rot mit kurzen Ärmeln, cotton dress",
    "German caption": "Ein rotes Kleid aus Baumwolle mit kurzen Ärmeln.",
    "Italian": "Un vestito rosso con le maniche corte, denim.",
    "Portuguese": "Um vestido vermelho com mangas curtas, denim.",
    "Dutch": "Een rode jurk met korte mouwen, denim.",
    "Polish": "Czerwona sukienka z krótkimi rękawami, denim.",
    "Turkish": "Kısa kollu kırmızı bir elbise, denim.",
    "Swedish": "En röd klänning med korta ärmar och denim.",
    "Indonesian": "Gaun merah dengan lengan pendek dan denim.",
    "Vietnamese": "Váy đỏ tay ngắn với denim.",
}
OBJECTS = {
    "plain": JSON,
    "thinking": f"<think>navy</think>{JSON}",
    "end without start": f"I should write JSON.</think>\n{JSON}",
    "harmony": f"<|channel|>final <|constrain|>json<|message|>{JSON}<|return|>",
    "fence": f"```json\n{JSON}\n```",
    "fence without language": f"```\n{JSON}\n```",
    "prose before": f"Here is the JSON:\n{JSON}",
    "prose with braces": f"I use {{name: value}} pairs.\n{JSON}",
    "prose after": f"{JSON}\n\nThis JSON describes the garment {{as asked}}.",
    "trailing comma": JSON[:-1] + ",}",
    "trailing comma in a list": JSON.replace("[]", '["pockets",]'),
    "capitals": json.dumps(
        {k: v.upper() if isinstance(v, str) and k != "caption" else v for k, v in OBJECT.items()}
    ),
    "capital keys": json.dumps({key.title(): value for key, value in OBJECT.items()}),
    "left out": json.dumps({key: value for key, value in OBJECT.items() if value}),
    "none for null": json.dumps({key: value or "none" for key, value in OBJECT.items() if value != []}),
    "line end in a string": JSON.replace("cotton dress", "cotton\ndress"),
    "token after": JSON + "<|im_end|>",
    "mark": "\ufeff" + JSON,
    "in another object": json.dumps({"garment": OBJECT}),
    "in a list": json.dumps([OBJECT]),
    "HTML escape in a string": JSON.replace("cotton dress", "cotton&nbsp;dress"),
}
BAD_OBJECTS = {
    "doubled key": (JSON[:-1] + ', "caption": "a navy dress"}', "unparsable"),
    "doubled key, other case": (JSON[:-1] + ', "Colour": "navy"}', "unparsable"),
    "cut": (JSON[:-20], "unparsable"),
    "no JSON": (RED, "unparsable"),
    "refusal": ("I'm sorry, but I can't describe the person.", REFUSED),
    "refusal in the caption": (json.dumps(OBJECT | {"caption": REFUSALS["sorry"]}), REFUSED),
    "Chinese caption": (json.dumps(OBJECT | {"caption": "一件红色 dress"}), OTHER),
    "unknown value": (json.dumps(OBJECT | {"colour": "reddish"}), "unparsable"),
}

ANSWERS = [
    *(Answer(kind, f"{name} (reasoning)", raw.format(text), OK, text)
      for kind, text in (("modification", CHANGE), ("caption", CAPTION), ("question", "short sleeves"))
      for name, raw in REASONING.items()),
    *(Answer(kind, f"{name} (unfinished)", raw, "empty", None)
      for kind in ("modification", "caption", "question", "attributes") for name, raw in UNFINISHED.items()),
    *(Answer(kind, name, raw.format(text), OK, text)
      for kind, text in (("modification", CHANGE), ("caption", CAPTION)) for name, raw in WRAPPINGS.items()),
    *(Answer(kind, f"{name} (refusal)", raw, REFUSED, None)
      for kind in ("modification", "caption", "question", "attributes") for name, raw in REFUSALS.items()),
    *(Answer("question", raw, raw, OK, raw) for raw in INNOCENT),
    *(Answer(kind, f"{name} (language)", raw, OTHER, None)
      for kind in ("modification", "caption") for name, raw in FOREIGN.items()),
    *(Answer("attributes", name, raw, OK, RED) for name, raw in OBJECTS.items()),
    *(Answer("attributes", name, raw, status, None) for name, (raw, status) in BAD_OBJECTS.items()),
    Answer("modification", "parts as a list", "1. Make it red\n2. with short sleeves", OK, CHANGE[:-1]),
    Answer("modification", "HTML escape", "Make it red &amp; short.", OK, "Make it red & short."),
    Answer("modification", "mojibake", "Make it red â€“ and short.", OK, "Make it red – and short."),
    Answer("modification", "JSON of several", '{"a": "Make it red.", "b": "Go navy."}', "unparsable", None),
    Answer("caption", "JSON, doubled key", '{"text": "a red top", "text": "a navy top"}', "unparsable", None),
    Answer("caption", "a list", "- **Colour:** red\n- **Type:** dress", OK, "Colour: red, Type: dress"),
]  # fmt: skip

# Of shared/cases/answers: what comes out of it, where it is another thing than CHANGE, CAPTION or RED.
_GIVEN_OTHERS: dict[str, tuple[str, str | None]] = {
    "mods numbered": (OK, CHANGE[:-1]),
    "mods options": (OK, "Make it red."),
    "mods html_ent": (OK, "Make it red & with short sleeves."),
    "mods mojibake": (OK, "Make it red – with short sleeves."),
    **{f"mods refuse_{name}": (REFUSED, None) for name in ("unable", "sorry2", "apolog", "curly", "unfort")},
    **{f"mods {name}": (OTHER, None) for name in ("chinese", "chinese_mixed", "french")},
    **{f"caps {name}": (REFUSED, None) for name in ("refusal_colour", "refusal_as_ai", "no_image")},
    "caps chinese": (OTHER, None),
    "caps image_shows": (OK, "The image shows a red cotton dress with short sleeves."),
    "caps md_list": (OK, "Colour: red, Sleeves: short, Type: dress"),
    "structs nan_dup": ("unparsable", None),
}
_GIVEN_KINDS = {
    "mods": ("modification", CHANGE),
    "caps": ("caption", CAPTION),
    "structs": ("attributes", RED),
}


@cache
def _given() -> dict[str, str]:
    """The answers of shared/cases/answers by their table's name and their own; none without the folder."""
    script = GIVEN / "answers" / "try_texts.py"
    if not script.exists():
        return {}
    with contextlib.redirect_stdout(io.StringIO()):
        tables = runpy.run_path(str(script))
    return {f"{table} {name}": raw for table in _GIVEN_KINDS for name, raw in tables[table].items()}


def _seen(folder: Path, one: Answer) -> Any:
    return status_and_text(one.kind, one.raw)


def _given_answers() -> list[Answer]:
    found = []
    for name, raw in _given().items():
        kind, text = _GIVEN_KINDS[name.split()[0]]
        status, expected = _GIVEN_OTHERS.get(name, (OK, text))
        found.append(Answer(kind, f"given {name}", raw, status, expected))
    return found


GIVEN_ANSWERS = _given_answers()
CASES = [
    Case("answers", f"{one.kind}, {one.name}", (one.status, one.text), partial(_seen, one=one), given)
    for answers, given in ((ANSWERS, ""), (GIVEN_ANSWERS, "answers"))
    for one in answers
]
