"""What the rest of DefectFlow says on pages, in English: promises, warnings, errors. Pages translate them."""

from __future__ import annotations

import re
import string
from functools import cache, lru_cache

from defectflow_ui.language import SOURCE, catalogue, is_text, number, spoken

sentences = (
    # promises
    "Calibrated on {parts} good parts.",
    "Calibrated on {parts} good pictures.",
    "On average at most {rate} of good parts are called defective or invalid.",
    "On average at most {rate} of good pictures are called defective or invalid.",
    "With {sure} confidence in this calibration it is at most {rate}.",
    "On average at most {rate} of good parts are called anything but ok.",
    "On average at most {rate} of good pictures are called anything but ok.",
    "The review rate was chosen after looking at scores: it is an estimate. Of {n} good parts of the calibration, {ok} "
    "are called ok.",
    "The review rate was chosen after looking at scores: it is an estimate. Of {n} good pictures of the calibration, "
    "{ok} are called ok.",
    "It covers good parts made and pictured like the calibration parts; it says nothing about defects that are missed.",
    "The estimate is for good parts made and pictured like the calibration parts; it says nothing about defects that "
    "are missed.",
    "A part's worst picture decides. The promise is exact for parts pictured as often as the calibration parts, and "
    "conservative for each single picture.",
    "Every picture was counted as a separate part; the guarantee fails if several pictures show the same part.",
    "These thresholds were chosen after looking at scores: they are an estimate, and no rate is promised. Among "
    "{parts} good parts of the calibration they reject {rejected} and call {ok} ok.",
    "These thresholds were chosen after looking at scores: they are an estimate, and no rate is promised. Among "
    "{parts} good pictures of the calibration they reject {rejected} and call {ok} ok.",
    "However they were chosen, with {sure} confidence in this calibration at most {rate} of good parts are called "
    "defective or invalid.",
    "However they were chosen, with {sure} confidence in this calibration at most {rate} of good pictures are called "
    "defective or invalid.",
    "1 part that was answered defective would be called ok.",
    "{lost} parts that were answered defective would be called ok.",
    "{missing} of {parts} sampled parts have no answer; were all of them good and more unusual than any other, the "
    "average would be at most {rate}.",
    "{name} is uncalibrated.",
    "Uncalibrated: {parts} calibration parts cannot support a false-reject rate of {rate} ({option}) on average. "
    "There are scores, but no verdicts.",
    "Uncalibrated: {parts} calibration parts cannot support a false-reject rate of {rate} ({option}) with {sure} "
    "confidence. There are scores, but no verdicts.",
    "Uncalibrated: {parts} calibration parts, of which the gate refuses {gated}, cannot support a false-reject rate "
    "of {rate} ({option}) on average. There are scores, but no verdicts.",
    "Uncalibrated: {parts} calibration parts, of which the gate refuses {gated}, cannot support a false-reject rate "
    "of {rate} ({option}) with {sure} confidence. There are scores, but no verdicts.",
    "The lowest rate that these parts support is {rate}: {command}",
    "Or add pictures of further good parts: {command}",
    "expected",
    "confident",
    "gross defect",
    "wrong picture",
    # warnings
    "learned from {parts} parts only: expect missed defects, whatever the threshold",
    "{first} and {second} are nearly the same picture, on two sides of the split; if they show one part, give "
    "--part-regex, or the guarantee does not hold",
    # drift
    "While nothing changes, this watch alarms at most once in {parts} good parts on average.",
    "No part has been inspected with this model yet.",
    "No sign of drift in {parts} parts; what is rejected or reviewed is no evidence.",
    "No alarm since {who} looked into it on {day} UTC ({reason}); before that, {alarms} alarm(s) in {parts} parts, "
    "the last at part {part} ({at} UTC).",
    "No alarm since the thresholds were set again; before that, {alarms} alarm(s) in {parts} parts, the last at part "
    "{part} ({at} UTC).",
    "Production has moved: {alarms} alarm(s) in {parts} parts, the last at part {part} ({at} UTC).",
    "an alarm that was looked into needs a reason: say what was found, or what was put right",
    # master parts
    "no master parts of {model} were ever judged; register some first, with --register",
    "the master parts were registered anew and not judged since",
    "the thresholds are others than at the check of {at} UTC",
    "the check of {at} UTC failed: {why}",
    "the check of {at} UTC is out of control: {why}",
    "the check of {at} UTC is older than {hours} hours",
    "the check of {at} UTC found all {parts} master parts as expected",
    "its score {score} is outside the limits {low} to {high}",
    "its last {run} scores are all above the centre {centre}",
    "its last {run} scores are all below the centre {centre}",
    "{model}: no master parts are registered for this model; register them first: defectflow golden BUNDLE PICTURES "
    "--register --store STORE",
    "{file}: shows {part}, which is no master part; they are called {names}. Name the pictures like them, or give a "
    "--part-regex",
    "{file}: and {other} would be one master part, {name}, good and defective at once; rename one, or give a "
    "--part-regex",
    "{part}: this very picture was judged already, on {day} UTC; picture the master parts anew, since a check is "
    "about camera and light as well (defectflow verify checks the software)",
    # stages of long work
    "check pictures",
    "align",
    "adapt",
    "embed",
    "compare",
    "learn level {level}",
    "export",
    "calibrate",
    "evaluate",
    "masters",
    "your pictures",
    "golden on {backend}",
    "the exported file matches the model",
    # the data check
    "A fit would fail: {reason}",
    "Fix this first.",
    "Make sure of it, or the model learns defects as good.",
    "All {pictures} pictures can be read.",
    "{bad} of {pictures} pictures cannot be used, the first is {file} ({reason}).",
    "Save them again or remove them; a fit leaves them out.",
    "{pictures} pictures show {parts} parts, {most} of each.",
    "{pictures} pictures show {parts} parts, {fewest} to {most} of each.",
    "If so, give --part-regex {expression}: {parts} parts.",
    "Every picture counts as a part, but {pictures} of them look like several pictures of one part: {first} and "
    "{second} by their names, and {alike} are nearest to such a sibling. If they are counted as separate parts, the "
    "guarantee fails.",
    "Each of the {pictures} pictures counts as a separate part; nothing suggests otherwise.",
    "Where several pictures show one part, give --part-regex.",
    "No picture appears twice.",
    "{count} pictures repeat another's pixels, and are left out, the first {second} beside {first}.",
    "{count} nearly repeat a picture of another part, the first {second} beside {first}.",
    "{count} pictures repeat another's pixels, and are left out, and {alike} nearly repeat a picture of another part,"
    " the first {second} beside {first}.",
    "Keep one of each pair; if they show one part, give --part-regex.",
    "No picture could be read.",
    "All pictures have {width} x {height} pixels, {bits} bits.",
    "The pictures have {sizes} sizes or depths: {count} of {pictures} pictures differ from {width} x {height} pixels,"
    " {bits} bits, the first {file} ({its} bits).",
    "Their shapes differ too, so the model would see parts deformed differently.",
    "Take all pictures with one camera setting, as on the line; or leave these out.",
    "One model pixel is {width} x {height} camera pixels.",
    "One model pixel is {width} x {height} camera pixels: defects below about {least} x {size} px will be missed.",
    "Consider the recipe large, which looks at tiles; or raise image.size, or cut with image.rectangle.",
    "Parts lie {apart} of the picture's side apart; a fit shifts and turns each a little, so that all lie alike.",
    "Parts lie turned any way; a fit turns each, so that all lie alike.",
    "All parts lie alike.",
    "Parts do not lie alike, or differ too much to be laid on each other; a fit looks at them as they lie.",
    "In no position like the others: {count} of {parts}, most of all {file}.",
    "Where parts are alike, place them alike for the camera.",
    "Too few parts to tell which pictures do not belong.",
    "No picture stands out; the most unusual is {file}.",
    "1 picture looks unlike the other parts, the first {file}.",
    "{count} pictures look unlike the other parts, the first {file}.",
    "Check the first few nevertheless.",
    "Are they really good?",
    "Take a picture out only if it is wrong: good parts that merely look unusual are what the promise is about, and "
    "without them it would not hold.",
    "The order of the parts' names tells nothing about their look.",
    "The look of the parts changes along their names.",
    "A model that has not seen a fifth of them in a row would reject {share} of that fifth on average, where {rate} is "
    "promised.",
    "From {first} to {last} it would be {share}.",
    "If names follow time, take good parts from more days, shifts and batches.",
    "The promise holds for production that looks like these pictures.",
    "At most {rate} of good parts rejected, on average: there are enough parts.",
    "At most {rate} of good parts rejected, with {sure} confidence: there are enough parts.",
    "At most {rate} of good parts rejected, on average, needs {needed} good parts, there are {parts}; they support "
    "{lowest}.",
    "At most {rate} of good parts rejected, with {sure} confidence, needs {needed} good parts, there are {parts}; "
    "they support {lowest}.",
    "Add parts, or accept {rate} ({settings}). Otherwise the model will be uncalibrated; calibrate can finish it "
    "later.",
    "Only for {setting}: add parts, or accept {rate} ({settings}).",
    # answers and thresholds
    "the calibration that the bundle had when it was first used",
    "{parts} good parts cannot support a false-reject rate of {rate} ({option}) on average; add {more} more, or accept "
    "{accepted} ({accepted_option}).",
    "{parts} good parts cannot support a false-reject rate of {rate} ({option}) with {sure} confidence; add {more} "
    "more, or accept {accepted} ({accepted_option}).",
    "{gated} of {parts} calibration parts do not look like the training parts (invalid), more than a false-reject rate "
    "of {rate} ({option}) on average allows; remove pictures that do not show the part, fit again with parts like "
    "these, or accept {accepted} ({accepted_option}).",
    "{gated} of {parts} calibration parts do not look like the training parts (invalid), more than a false-reject rate "
    "of {rate} ({option}) with {sure} confidence allows; remove pictures that do not show the part, fit again with "
    "parts like these, or accept {accepted} ({accepted_option}).",
    "{missing} of {parts} sampled parts have no answer ({waiting} waiting, {skipped} skipped, {unreadable} unreadable, "
    "{uncounted} answered good but uncountable): {share}; at most {limit} is allowed. The missing ones may be the "
    "unusual ones: answer them first, inspect unreadable pictures again under the same name, or count only parts first "
    "seen since a later day.",
    "no sampled part adds evidence: of {parts} that were randomly sampled, {good} are answered good, and none of these "
    "can be counted; inspect and review more parts",
    "a calibration needs a name and a reason, so that it can be found and understood later",
    "calibration {name} of {model} exists already; choose another name",
    "{bundle}: was calibrated since this preview was made; make a new preview first",
    "the comment is empty; write something, or leave it",
    "the kind has {length} characters; at most {most} are kept: shorten it",
    "the comment has {length} characters; at most {most} are kept: shorten it",
    "review {number}: is taken back already",
    "part {part}: you have judged it in this round already",
    "there are no scores to set a threshold between; calibrate with good parts first",
    "a {rate_name} of {rate} cannot be promised; give one above 0 and below 1, like 0.05",
    "false-reject rate",
    "review rate",
    "a rejected good part",
    "a missed defect",
    "a review",
    "a review rate of {review} is below the false-reject rate of {rate}; raise it",
    "the cost of {what} is {cost}; give a number from 0 on",
    # signing in
    "user name or password is wrong",
    "{limit} wrong passwords in a row; wait {minutes} minutes, or have the password set anew",
    # bundles
    "{path}: no bundle here (it has no card.json); if it was copied, copy the whole folder again",
    "{file}: is damaged or was altered, so nothing in it can be relied on; copy the bundle again",
    "{file}: is missing; copy the bundle again",
    "{file}: is damaged or was altered (SHA-256 {found}..., the card says {said}...); copy the bundle again",
    # pictures
    "{file}: no such file",
    "{file}: is empty (0 bytes)",
    "{file}: damaged or cut short ({why})",
    "{file}: damaged or cut short (the end of the PNG file is missing)",
    "{file}: damaged, cut short or of an unknown variant ({why}); save it again as grey or RGB",
    "{file}: is cut short (the JPEG's picture data end before the picture does); copy it again",
    "{file}: is cut short (a progressive JPEG without its last scans); copy it again",
    "{file}: is a {kind} picture, which is not read; save it as one of {read}",
    "{file}: is not a PNG, JPEG, TIFF, WebP or BMP picture",
    "{file}: is a 16-bit picture but the model was fitted on 8-bit pictures, so no value is known to be white; let "
    "the camera save 8 bits, or fit a model on 16-bit pictures",
    "{file}: {width} x {height} pixels leave fewer than {least} on a side to look at; take a larger picture",
    "{file}: has changed since it was inspected; inspect it again",
    # what the station has logged
    "no scale any more",
    "a pixel shows {mm} mm",
    "its parts are told by the expression {expression} from now on (page Inspect)",
    "rolled back to {version} on the page Review",
    "Check pictures: {source}",
    "Train the model {name}",
    "Verify the model {name}",
    "uploaded pictures",
    "(the whole data folder)",
    "the pictures of {model}, and the answers given since",
    # the disk
    "make room",
    "see that files can be written",
)
"""As they are written there, with whatever they quote in braces."""


BETWEEN = re.compile(r"(\n|(?<=[.?]) (?=[A-Z]))")
"""Between sentences and lines of what is said."""
DEEPEST = 8
"""So often something said is looked for inside another; what lies deeper stays as it is."""
LONGEST = 1000
"""Characters that are compared with the sentences at once: a search for several braces takes their number's power."""


def heard(text: str) -> str:
    """What DefectFlow has said or logged, in the language of this call; as it is where nobody translated it."""
    return text if spoken() == SOURCE else _heard(spoken(), str(text), 0)


@lru_cache(maxsize=4096)
def _heard(code: str, text: str, deep: int) -> str:
    known = catalogue(code)
    for said in (text, text[:1].lower() + text[1:], text.removesuffix(".")):  # as it is, or made a sentence of
        if said and (whole := known.gettext(said)) != said:
            return _like(text, whole)
    if deep == DEEPEST:
        return text
    for pattern, sentence in _patterns() if len(text) <= LONGEST else ():
        if found := pattern.fullmatch(text):
            parts = {name: _part(code, part, deep + 1) for name, part in found.groupdict().items()}
            return _like(text, known.gettext(sentence).format(**parts))
    one_by_one = BETWEEN.split(text)  # what is said, and between two of these what separates them
    one_by_one[::2] = [_heard(code, one, deep + 1) for one in one_by_one[::2]] if len(one_by_one) > 1 else one_by_one
    return "".join(one_by_one)


def _part(code: str, said: str, deep: int) -> str:
    return _heard(code, said, deep) if is_text(said) else number(said, code)


def _like(text: str, said: str) -> str:
    """What is said instead of a text begins and ends as the text does."""
    said = said[:1].upper() + said[1:] if text[:1].isupper() else said
    return f"{said}." if text.endswith(".") and not said.endswith(".") else said


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The longest first: it says the most."""
    return [(pattern_of(one), one) for one in sorted(sentences, key=len, reverse=True) if "{" in one]


def pattern_of(sentence: str) -> re.Pattern[str]:
    """What a sentence looks like once its braces are filled; its first letter may have become a capital."""
    told = "".join(
        re.escape(said) + (f"(?P<{name}>.+?)" if name else "") for said, name, *_ in string.Formatter().parse(sentence)
    )
    first = re.escape(sentence[0])
    if sentence[0].isalpha():
        told = f"[{sentence[0].upper()}{sentence[0].lower()}]" + told.removeprefix(first)
    return re.compile(told.removesuffix(r"\.") + r"\.?", re.DOTALL)
