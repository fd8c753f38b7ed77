"""Whether a text declines to answer, in whatever words.

    >>> bool(refusal("I'm sorry, but I can't describe the person wearing the red dress."))
    True
    >>> bool(refusal("a dress that can't be missed, with no sleeves"))
    False

A refusal speaks of its writer ("I am unable to"), of what the writer is ("as an AI"), or of a picture that
did not come. A shopper speaks of the writer as well ("I don't want sleeves"), so what is not done counts too.
"""

import re

_PICTURE = r"(?:images?|pictures?|photos?|photographs?|attachments?|captions?|files?)"
_CANNOT = (
    r"(?:can ?not|can't|cant|could ?not|couldn't|won't|will not|may not|am not allowed to|"
    r"am not permitted to|do not|don't|did not|didn't|am not able to|was not able to|am unable to|"
    r"was unable to|wasn't able to|'m not able to|'m unable to|'m not allowed to|'m not permitted to|"
    r"must decline(?: to)?|have to decline(?: to)?|need to decline(?: to)?|prefer not to|"
    r"would rather not)"
)
_ANSWER = (
    r"(?:help|assist|see|view|open|load|access|identify|recogni[sz]e|describe|compare|provide|process|"
    r"comply|fulfil|fulfill|generate|create|answer|determine|analy[sz]e|write|produce|complete|discuss|"
    r"engage|support|offer|give|tell|do (?:that|this)|make (?:that|this) (?:comparison|request)|verify|"
    r"continue|respond|participate|perform|comment|interpret|share|proceed|fully|actually|directly|"
    r"accurately|reliably|visually)"
)
_SHOWN = (  # what a picture has to show; "does not show any logo" is of a garment that is there
    r"(?:persons?|people|humans?|individuals?|m[ae]n|wom[ae]n|faces?|"
    r"models?(?! (?:number|name)\b)|garments?|cloth(?:es|ing)|apparel|"
    rf"outfits?|dress(?:es)?|items?|products?|objects?|content|{_PICTURE})"
)
_LACK = (
    rf"(?:have (?:access|the ability|enough|any|an?|the) ?(?:\w+ )?(?:to|{_PICTURE}|information|context|"
    r"details?))"
)
_SENTENCE = r"(?:^|[.!?:;,\n\"(]|\b(?:but|and|so|as|that|because|however|since|which|then))\s*"
_REFUSAL = re.compile(
    "|".join(
        (
            r"^(?:\w+[,.!] )?(?:i'?m|i am)(?: (?:very|so|really|truly|terribly|deeply))? (?:sorry|afraid)\b",
            r"^(?:\w+[,.!] )?(?:my |sincere )*(?:sorry|apologies|apologi[sz]e)\b",
            r"\bi (?:\w+ )?apologi[sz]e\b",
            r"\b(?:as|i am|i'm) (?:just |only |merely )?an? (?:ai\b|artificial|(?:large |text[- ]based |"
            r"visual )?(?:language|vision|ai) model|llm\b|virtual assistant|ai assistant|text-based|"
            r"chatbot)",
            rf"{_SENTENCE}i ?{_CANNOT} (?:\w+ )?{_ANSWER}\b",
            rf"{_SENTENCE}i (?:do not|don't|can ?not|can't) (?:\w+ )?(?:{_LACK}|see (?:an?|any|the|your|"
            rf"both) (?:\w+ )?{_PICTURE})\b",
            r"\bi (?:must|have to|need to|will have to|am going to|respectfully) (?:\w+ )?decline\b",
            r"\bi(?:'m| am) (?:not comfortable|uncomfortable|not designed|not programmed|not supposed|"
            r"not going to|not (?:able|allowed|permitted) to|unable to)\b",
            r"^(?:unfortunately|regrettably|sadly)\b.*\b(?:no|not|\w+n't|cannot|can't|unable|without|"
            r"lacks?|missing|impossible)\b",
            rf"^(?:i )?(?:cannot|can't|can not|unable to|not able to) (?:\w+ )?{_ANSWER}\b",
            r"\bunable to (?:comply|assist|help|fulfil|fulfill|process (?:this|that|the|your)|(?:view|"
            r"see|access|open|load|identify|provide|generate|describe|determine|compare|analy[sz]e))\b",
            rf"\bno (?:valid |actual |visible )?{_PICTURE}\b.{{0,60}}\b(?:provided|attached|uploaded|"
            r"shared|supplied|received|included (?:in|with)|sent|given)\b",
            rf"\b{_PICTURE}\b.{{0,40}}(?:\bnot|n't|\bnever|failed to|cannot|could not|"
            r"did not)\b.{0,30}\b(?:provided|attached|uploaded|shared|supplied|received|sent|"
            r"load(?:ed)?|come through|displayed?|decoded|processed|opened|viewed|accessed|accessible|"
            r"come through)\b",
            r"\b(?:please|could you|can you|would you|you (?:can|could|may)|"
            r"you need to)\b.{0,20}\b(?:share|provide|upload|attach|re-?upload|send|resend|supply|"
            rf"paste|clarify|specify|rephrase|try again)\b(?:.{{0,60}}(?:{_PICTURE}\b(?! prints?\b)|"
            r"description|details?\b(?! (?:on|at|in|to|along|around)\b)|information|"
            r"(?:con)?texts?\b(?! (?:that|saying|on)\b)|again|request|garments?\b(?! in\b))|[.!?]*$)",
            r"\b(?:please|could you|can you)\b.{0,20}\b(?:clarify|rephrase|try again)\b",
            rf"^(?:no|missing) {_PICTURE}[.!]*$",
            r"\b(?:against|violates?|violating|due to|per|under|because of) (?:my|our|the|openai's|its|"
            r"safety|content) ?(?:\w+ ){0,2}(?:guidelines|polic(?:y|ies)|programming|restrictions|"
            r"rules)\b",
            r"\b(?:this|that|your|the) (?:request|question|prompt|content|task) (?:is (?:not|against|"
            r"inappropriate)|cannot|can't|violates|goes against|has been|was (?:blocked|filtered|"
            r"declined))\b",
            r"\b(?:inappropriate|harmful|explicit|sexual) (?:content|request|material)\b",
            r"\b(?:it (?:seems|looks|appears)|there (?:seems|appears)) (?:like |that |as if |"
            r"to be )*(?:there (?:is|was) )?(?:no |an? (?:issue|error|problem)|you(?:'ve| have)? (?:not|"
            rf"haven't|didn't|forgot)|the {_PICTURE}\b.{{0,40}}(?:\bnot\b|n't\b|\bmissing))",
            r"\bi (?:won't|will not|would not|wouldn't) be able to\b",
            r"\b(?:not feel|don't feel|do not feel) comfortable\b|\bi must refuse\b|\btext-only model\b",
            rf"^(?:the |your )?(?:\w+ )?{_PICTURE} (?:you (?:\w+ ){{1,2}})?(?:is|was|are|were|seems|"
            r"appears|looks) (?:to be )?(?:not visible|blank|empty|corrupted?|broken|missing|"
            r"unavailable)\b",
            r"^i (?:only|just) (?:process|handle|work with) text\b|^i (?:would )?need (?:more|both|the|"
            rf"an?) (?:\w+ )?(?:{_PICTURE}|information|context|details|descriptions?)\b",
            rf"\bnot possible (?:for me )?to (?:\w+ )?{_ANSWER}\b",
            r"\bi (?:have no way to|am having|have) (?:\w+ )?(?:trouble|difficult(?:y|ies)|(?:see|view|"
            r"access))\b|\bi'm having (?:\w+ )?(?:trouble|difficult(?:y|ies))\b",
            r"^(?:i'd|i would|i'll|i will) be (?:happy|glad) to (?:help|assist|describe)\b",
            rf"^(?:the |this |your )?(?:provided |given |attached )?{_PICTURE} (?:does not|doesn't|do not|"
            r"don't) (?:\w+ )?(?:contain|show|depict|include|display|feature) (?:an?|any) "
            rf"(?:(?!(?:at|for|in|of|on|to|with)\b)[\w-]+,? ){{0,3}}{_SHOWN}\b",
            rf"^there (?:is|are) no (?:\w+ ){{1,3}}in (?:the|this|your) (?:\w+ )?{_PICTURE}(?:[.,!;]|$)",
            r"^request (?:is |was )?(?:refused|denied|declined|blocked)\b|^error\b.{0,60}\b(?:image|"
            r"process|request|load)",
            r"\byou (?:have not|haven't|did not|didn't|have yet to) (?:\w+ )?(?:provided?|included?|"
            r"attach(?:ed)?|upload(?:ed)?|shared?|sent|send|supplied|supply)\b",
            # the same in the languages that models fall into
            r"^(?:lo siento|no puedo|perd[oó]n|disculp[ea]|lamentablemente|je suis d[ée]sol|d[ée]sol[ée]|"
            r"je ne peux|malheureusement|je ne suis pas en mesure|es tut mir leid|tut mir leid|"
            r"ich kann\b.*\b(?:nicht|keine)\b|leider|entschuldig|mi dispiace|non posso|purtroppo|"
            r"desculpe|sinto muito|n[aã]o posso|infelizmente|het spijt me|helaas|beklager|przepraszam|"
            r"niestety|maaf|üzgünüm|xin lỗi)",
            r"抱歉|对不起|對不起|我无法|我無法|不能提供|"
            r"申し訳|できません|죄송|할 수 없|извините|к сожалению|я не могу|عذر|آسف|माफ़|"
            r"ขออภัย",
        )
    ),
    re.DOTALL,
)
LOOKED_AT = 600  # characters; nobody declines at the end of a long answer


def refusal(text: str) -> str | None:
    """The words by which `text` declines to answer; None if it does not."""
    plain = " ".join(text[:LOOKED_AT].lower().replace("’", "'").replace("‘", "'").replace("`", "'").split())
    found = _REFUSAL.search(plain.lstrip("\"'*([ "))
    return found.group().strip() if found else None
