"""Every string a user reads, one class per page. Plain words; a term that needs explaining gets a tooltip."""

from __future__ import annotations

from pathlib import Path

VERDICTS = {
    "ok": ("OK", "Looks like the good parts it was calibrated on."),
    "review": ("Review", "More unusual than most good parts: a person should look."),
    "defect": ("Defect", "More unusual than the threshold allows."),
    "invalid": ("Invalid", "Does not look like a picture of this part at all: lens cap, wrong product, wrong view."),
    "error": ("Unreadable", "This file could not be used as a picture."),
}
"""Decision -> its word on the badge, and its explanation."""


class Common:
    title = "DefectFlow"
    subtitle = "Inspection station"
    sign_out = "Sign out"
    theme_switch = "Dark or light"
    keys_button = "Keys"
    keys_title = "Keyboard"
    sign_in_again = "Please sign in again: the session has ended, or you may not use this station any more."
    wrong_host = "this station answers only under its own name; open it as http://127.0.0.1 with its port."
    wrong_origin = "requests from other web sites are not taken."
    no_such_route = "there is nothing here."
    request_too_large = "this request is larger than the station takes."
    no_bundle = "No active bundle"
    uncalibrated = "uncalibrated"
    nothing_running = ""
    stop = "Stop"

    @staticmethod
    def not_allowed(role: str, needed: str) -> str:
        return f"This needs the role '{needed}', and yours is '{role}'. Ask whoever manages users at your site."

    @staticmethod
    def signed_in(user: str, role: str) -> str:
        return "on this machine" if user == "local" else f"{user} ({role})"

    @staticmethod
    def promise(rate: float) -> str:
        return f"rejects at most {100 * rate:.3g}% of good parts on average"


class Start:
    """What the command says."""

    @staticmethod
    def listening(url: str) -> str:
        return f"The inspection station is at {url}  (Ctrl-C stops it)"

    @staticmethod
    def needs_users(host: str) -> str:
        return (
            f"--host {host} lets other machines in, and there are no users yet; add one first: "
            "defectflow users add NAME --role engineer, or stay with --host 127.0.0.1"
        )

    @staticmethod
    def no_folder(folder: Path) -> str:
        return f"{folder}: no such folder; give the folder that holds your bundles, or make it"

    @staticmethod
    def needs_extra(package: str) -> str:
        return f"the inspection station needs {package}: pip install 'defectflow[ui]'"

    plain_http = (
        "note: passwords and pictures travel unencrypted; give --tls-cert and --tls-key, or put a proxy with TLS in front"
    )


class SignIn:
    wrong = "Unknown name or wrong password."

    @staticmethod
    def wait(seconds: float) -> str:
        return f"Too many attempts. Try again in {max(1, round(seconds / 60))} min."

    @staticmethod
    def page() -> dict[str, str]:
        return {
            "title": Common.title,
            "subtitle": Common.subtitle,
            "name": "Name",
            "password": "Password",
            "enter": "Sign in",
            "hint": "Users are managed with `defectflow users` on the station's machine.",
        }


class Uploads:
    nameless = "picture"

    @staticmethod
    def file_too_large(name: str, limit_mib: int) -> str:
        return f"{name}: is over the limit of {limit_mib} MiB for one file; send it compressed or cut"

    @staticmethod
    def drop_too_large(name: str, limit_mib: int) -> str:
        return f"{name}: with it, this drop is over the limit of {limit_mib} MiB; send the rest separately"

    @staticmethod
    def too_many(name: str, limit: int) -> str:
        return f"{name}: a drop may hold {limit} pictures; send the rest separately"

    @staticmethod
    def too_many_pixels(name: str, width: int, height: int, limit: int) -> str:
        return f"{name}: {width} x {height} pixels are over the limit of {limit:,}; shrink or cut it"

    @staticmethod
    def zip_too_many(name: str, count: int, limit: int) -> str:
        return f"{name}: holds {count} files, over the limit of {limit}; send several smaller ZIPs"

    @staticmethod
    def zip_leaves(name: str, entry: str) -> str:
        return f"{name}: refused, because its entry {entry!r} would lie outside the ZIP's own folder"

    @staticmethod
    def zip_bomb(name: str, entry: str) -> str:
        return f"{name}: refused, because its entry {entry!r} would unpack to far more than pictures do"

    @staticmethod
    def bad_zip(name: str, reason: str) -> str:
        return f"{name}: is damaged, encrypted or of an unknown kind of ZIP ({reason})"

    @staticmethod
    def bad_zip_entry(name: str, reason: str) -> str:
        return f"{name}: cannot be unpacked ({reason})"


class Inspect:
    tab = "Inspect"
    drop = "Drop pictures, a folder or a ZIP here"
    choose = "Choose pictures"
    camera = "Camera"
    shoot = "Take a picture (space)"
    limits = "PNG, JPEG, BMP, TIFF or WebP. They are deleted from the station when this tab is closed."
    viewer_may_not = "Your role may look, but not inspect. Ask for the role operator."
    nothing_yet = "No pictures yet"
    nothing_yet_do = "Drop some above: each gets a verdict, the most unusual first."
    nothing_shown = "No picture here"
    nothing_shown_do = "None of the pictures has this verdict. Press All to see the others."
    nothing_chosen = "Choose a picture"
    nothing_chosen_do = "Click one on the left, or press the arrow keys."
    all = "All"
    flips = "Would change"
    order = "Sort by"
    orders = (("most unusual first", "worst"), ("least unusual first", "best"), ("as dropped", "arrival"), ("name", "name"))
    stop = "Stop"
    clear = "Clear"
    export_csv = "Table (CSV)"
    export_zip = "Pictures with markings (ZIP)"
    download = "Download"
    what_if = "What if the threshold were here?"
    what_if_info = "Judges all pictures above again, at once. Nothing is saved: the active threshold stays as it is."
    what_if_reset = "Back to the real threshold"
    original = "original"
    marked = "heat and outlines"
    zoom = "Zoom with the wheel or two fingers; drag to move."
    fit = "Fit"
    score = "Score"
    score_tip = "How unlike the good parts this picture is. Higher is worse; it has no unit."
    threshold = "Threshold"
    threshold_tip = "A picture above it is called defective. Calibration set it so that few good parts lie above."
    review_threshold = "Review from"
    review_tip = "Between this and the threshold lies the grey band: a person should look."
    region = "Marked places"
    region_tip = "Where the picture is more unusual than good parts get. Peak: the largest value inside."
    region_head = ("", "at (px)", "size (px)", "area (px)", "peak")
    dashed = "No place passes the limit for places by itself; the most unusual ones are shown, dashed."
    no_region = "No marked places."
    beside = "The same place on the most similar good part"
    here = "this part"
    good_part = "good part {part}"
    strip = "Good parts of the calibration (dots), thresholds (lines), this part (triangle)"
    ordinary = "An ordinary picture: at least half of the good parts look this unusual."
    keys = (
        ("← →", "previous, next picture"),
        ("+ −", "zoom"),
        ("0", "whole picture"),
        ("a", "show all pictures"),
        ("space", "take a picture, while the camera is on"),
        ("Shift D", "dark or light"),
        ("?", "show or hide this"),
    )

    @staticmethod
    def p_value(p: float, good_parts: int, finest: bool) -> str:
        """The p-value in words. `finest`: no calibration part looks this unusual."""
        if finest:
            return f"Fewer than 1 good part in {good_parts} looks this unusual (none of the {good_parts} calibration parts does)."
        if p >= 0.5:
            return Inspect.ordinary
        return f"About 1 good part in {round(1 / p)} looks this unusual."

    @staticmethod
    def judging(done: int, expected: int) -> str:
        return f"Judging: {done} of {max(done, expected)}" if expected > 1 else f"Judging: {done}"

    @staticmethod
    def done(pictures: int, parts: int) -> str:
        same = f"{pictures} pictures" if pictures != 1 else "1 picture"
        return f"{same} of {parts} parts judged" if parts != pictures else f"{same} judged"

    @staticmethod
    def stopped(pictures: int) -> str:
        return f"Stopped after {pictures} pictures; their verdicts are kept"

    @staticmethod
    def drawing(done: int, total: int) -> str:
        return f"Drawing picture {done} of {total}"

    @staticmethod
    def flipped(count: int, rate: float, threshold: float) -> str:
        changes = f"{count} pictures would change" if count != 1 else "1 picture would change"
        return (
            f"At {threshold:.3f}: {changes}. About {100 * rate:.2g}% of good parts would be rejected "
            "(an estimate from the calibration parts, no guarantee)."
        )

    @staticmethod
    def flip(before: str, after: str) -> str:
        return f"{VERDICTS[before][0]} → {VERDICTS[after][0]}"


class Train:
    tab = "Train"


class Calibrate:
    tab = "Calibrate"


class Review:
    tab = "Review"


class History:
    tab = "History"


class Models:
    tab = "Models"
    list_head = ("bundle", "made", "promise", "state")
    active = "active"
    ready = "ready"
    uncalibrated = "uncalibrated: scores, but no verdicts"
    unusable = "cannot be used"
    nothing = "No bundles yet"
    nothing_chosen = "Choose a bundle"
    nothing_chosen_do = "Click one in the list to see what it is and what it promises."
    activate = "Activate"
    verify = "Verify"
    verify_tip = "Compares every file with the card, and golden pictures with their recorded scores, on this machine."
    download = "Download the ONNX file"
    compare = "Compare with"
    compare_nothing = "(nothing)"
    guarantee = "What it promises"
    certificate = "Certificate"
    warnings = "What may weaken the promise"
    rows = (
        ("made", "made"),
        ("bundle_id", "bundle"),
        ("calibration_id", "calibration"),
        ("parts", "good parts: train / tune / calibration"),
        ("threshold", "threshold"),
        ("review", "review from"),
        ("rate", "good parts rejected on average, at most"),
        ("confident", "with 95% confidence, at most"),
        ("size", "looks at (px)"),
        ("backbone", "backbone"),
        ("flow", "density"),
        ("versions", "made with"),
    )

    @staticmethod
    def activated(name: str) -> str:
        return f"{name} is active: from now on it judges."

    @staticmethod
    def verified(files: int, pictures: int, difference: float) -> str:
        return (
            f"Intact: {files} files and {pictures} golden pictures agree with the record; the largest difference of a "
            f"score is {difference:.1e} of the good scores' spread."
        )

    @staticmethod
    def not_verified(flips: int, difference: float) -> str:
        return (
            f"Do not use this bundle on this machine: {flips} verdicts differ from the record, and scores by up to "
            f"{difference:.1e} of the good scores' spread."
        )

    verifying = "Verifying"
    none_active = "No bundle is active; choose one on the page Models and press Activate."

    @staticmethod
    def gone(name: str) -> str:
        return f"{name}: there is no such bundle in the station's folder any more; reload the page"

    @staticmethod
    def empty(folder: Path) -> str:
        return f"{folder} holds no bundles yet; fit one on the page Train, or with: defectflow fit GOOD --out {folder}/NAME"
