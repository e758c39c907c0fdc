"""People's way through the page, in Chromium."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy.stats import binom

from diffrig_emo.cli import main
from tests.workflows.user_study.conftest import data_of, key_of

PATIENCE = 60
"""Seconds; machines of CI are slow."""
KINDS = ("realism", "identity", "emotion")


class Visit:
    """What a participant sees and does."""

    def __init__(self, browser, page):
        self.browser, self.page = browser, page
        self.data, self.key = data_of(page), key_of(page)
        self.names = {uri: name for name, uri in self.data["pictures"].items()}

    def open(self, query=""):
        self.browser.get(f"{self.page.as_uri()}{query}")

    def js(self, code, *args):
        return self.browser.execute_script(code, *args)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    @property
    def section(self):
        return self.js("return [...document.querySelectorAll('main > section')].filter(s => !s.hidden).map(s => s.id)")

    def wait(self, section):
        """Until a section is seen and, of a question, its clock runs."""
        ready = "return shownAt !== null" if section == "question" else "return true"
        end = time.monotonic() + PATIENCE
        while self.section != [section] or not self.js(ready):
            assert time.monotonic() < end, f"waited for {section}, see {self.section}"
            time.sleep(0.02)

    def begin(self, participant):
        field = self.find("#participant")
        field.clear()
        field.send_keys(participant)
        self.find("#begin").click()

    def go_on(self):
        """Past the page between two parts, to the next question; whether there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            (section,) = self.section
            if section == "end":
                return False
            if section == "part":
                self.find("#go").click()
                self.wait("question")
            if self.js("return shownAt !== null"):
                return True
            time.sleep(0.02)
        raise AssertionError(f"no question, but {self.section}")

    def seen(self):
        """The question that is shown, its parts of the page's data, and the pictures by side."""
        pictures = self.js(
            "return [...document.querySelectorAll('#question img')].filter(i => i.offsetParent).map(i => [i.id || "
            "i.parentElement.id, i.src])"
        )
        sides = {side: self.names[uri] for side, uri in pictures}
        shown = {name for side, name in sides.items() if side != "source-picture"}
        prompt = self.find("#prompt").text
        (question,) = [
            q
            for q in self.data["questions"]
            if set(q["pictures"]) == shown
            and q["source"] == sides.get("source-picture")
            and (q["request"] is not None) == prompt.startswith("To show")
        ]
        return question, sides

    def answer(self, choice, by="mouse"):
        """Choose "a", "b" or an emotion, by mouse, arrow or number, as someone who took the time to look."""
        time.sleep(0.22)
        if choice in "ab":
            question, sides = self.seen()
            side = "left" if sides["left"] == question["pictures"]["ab".index(choice)] else "right"
            arrows, numbers = {"left": "\ue012", "right": "\ue014"}, {"left": "1", "right": "2"}
            selector, key = f"#{side}", (arrows if by == "arrow" else numbers)[side]
        else:
            selector = f"[data-choice='{choice}']"
            key = self.find(f"{selector} kbd").text
        if by == "mouse":
            self.find(selector).click()
        else:
            self.browser.switch_to.active_element.send_keys(key)

    def download(self):
        self.find("#download").click()
        end = time.monotonic() + PATIENCE
        while not (files := list(self.browser.downloads.glob("*.json"))):
            assert time.monotonic() < end, "no download"
            time.sleep(0.05)
        return files


@pytest.fixture
def visit(browser, page):
    visit = Visit(browser, page)
    visit.open()
    visit.js("localStorage.clear(); sessionStorage.clear()")
    for file in browser.downloads.iterdir():
        file.unlink()
    for log in ("performance", "browser"):
        browser.get_log(log)
    visit.open()
    return visit


def test_answers_survive_a_reload_and_come_out_right(visit, tmp_path, capsys):
    """Prefers one system's realism, the other's likeness, and sees every emotion but one as intended."""
    first, second = sorted(visit.key["systems"])
    visit.begin("p 07/ä")
    asked, reloaded = [], False
    while visit.go_on():
        question, sides = visit.seen()
        truth = visit.key["questions"][question["id"]]
        if len(asked) == 7 and not reloaded:  # in the middle
            visit.browser.refresh()
            visit.go_on()
            assert visit.seen() == (question, sides)
            assert visit.find("#count").text == "7 of 15 answered"
            reloaded = True
        wanted = {"realism": first, "identity": second}
        choice = truth["answer"] or "ab"[truth["systems"].index(wanted[truth["kind"]])]
        if truth["face"] == "ben_anger" and truth["systems"] == [second]:
            choice = "none"
        visit.answer(choice, by=("mouse", "arrow", "number")[len(asked) % 3])
        asked.append(question)
    assert reloaded
    assert sorted(q["id"] for q in asked) == sorted(visit.key["questions"])
    assert len({q["kind"] for q in asked[:4]}) == 1, "part by part"
    assert visit.find("#progress").get_attribute("value") == "15"

    (file,) = visit.download()
    assert file.name == f"answers_p_07_ä_{visit.data['page']}.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert json.loads(visit.js("return document.getElementById('text').value")) == saved
    assert [answer["question"] for answer in saved["answers"]] == [q["id"] for q in asked]
    assert all(200 <= answer["ms"] < 60_000 for answer in saved["answers"])
    assert not [entry for entry in visit.browser.get_log("browser") if entry["level"] == "SEVERE"]

    key = visit.page.with_name("study_key.json")
    output = tmp_path / "results.json"
    main(["user-study-analyse", "--answers", str(file), "--key", str(key), "--output", str(output)])
    results = json.loads(output.read_text())
    (participant,) = results["participants"]
    assert (participant["participant"], participant["answers"], participant["checks_passed"]) == ("p 07/ä", 15, 3)
    assert results["realism"]["pairs"][0] == pytest.approx(
        {"system": first, "over": second, "successes": 3, "trials": 3, "rate": 1.0, "low": 0.4385, "high": 1.0},
        abs=1e-3,
    )
    assert results["identity"]["pairs"][0]["successes"] == 0
    lefts = [answer["left"] == answer["choice"] for answer in saved["answers"] if answer["left"]]
    real, alike = results["realism"]["left"], results["identity"]["left"]
    assert real["trials"] + alike["trials"] == len(lefts) - 2, "without the checks"
    assert results["emotion"][first]["accuracy"]["rate"] == 1
    confusion = results["emotion"][second]["confusion"]
    row = confusion["answers"][confusion["rows"].index("anger")]
    assert dict(zip(confusion["columns"], row, strict=True))["none"] == 1
    assert "p 07/ä" in capsys.readouterr().out


def test_it_loads_nothing_from_anywhere(visit):
    visit.begin("p01")
    visit.go_on()
    messages = [json.loads(entry["message"])["message"] for entry in visit.browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert visit.page.as_uri() in urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert {url for url in urls if url.startswith("file:")} == {visit.page.as_uri()}
    # And it could not if it tried.
    outcome = visit.browser.execute_async_script(
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));"
        "fetch('http://127.0.0.1:9/').then(() => done('loaded'), () => {})"
    )
    assert outcome == "connect-src"


def test_orders_and_sides_are_by_chance_and_the_same_again(visit):
    plans = visit.js(
        "const of = (i) => planFor('p' + i); return [...Array(400).keys()].map((i) => { const p = of(i);"
        "if (JSON.stringify(p) !== JSON.stringify(of(i))) throw new Error('differs');"
        "return [p.kinds, p.choices, p.questions.map((q) => q.question.id), p.questions.map((q) => q.left)]; })"
    )
    ids = sorted(q["id"] for q in visit.data["questions"])
    kind = {q["id"]: q["kind"] for q in visit.data["questions"]}
    assert all(sorted(plan[2]) == ids and plan[1][-1] == "none" for plan in plans)
    assert all([*dict.fromkeys(kind[q] for q in plan[2])] == plan[0] for plan in plans), "part by part"

    def plausible(count, total, chance):
        return 1e-6 < binom.cdf(count, total, chance) < 1 - 1e-6

    place = {(q, side): 0 for q in ids for side in "ab"}
    for plan in plans:
        for q, left in zip(plan[2], plan[3], strict=True):
            place[q, left] += 1
    assert all(plausible(place[q, "a"], 400, 0.5) for q in ids)
    for k in KINDS:
        own = [q for q in ids if kind[q] == k]
        firsts = [next(q for q in plan[2] if kind[q] == k) for plan in plans]
        assert all(plausible(firsts.count(q), 400, 1 / len(own)) for q in own)
        assert plausible([plan[0][0] for plan in plans].count(k), 400, 1 / 3)
    assert all(plausible([plan[1][0] for plan in plans].count(e), 400, 1 / 8) for e in visit.data["choices"][:-1])
    # Sides of neighbours in the plan do not depend on each other.
    lefts = np.array([[side == "a" for side in plan[3]] for plan in plans])
    assert plausible(int((lefts[:, 1:] == lefts[:, :-1]).sum()), lefts[:, 1:].size, 0.5)


def test_a_double_click_or_a_held_key_answers_once(visit):
    visit.begin("p02")
    visit.go_on()
    (kind,) = visit.js("return [plan.kinds[0]]")
    time.sleep(0.25)
    visit.js(
        "const button = document.querySelector(arguments[0]); button.click(); button.click();",
        "#left" if kind != "emotion" else "#choices button",
    )
    visit.go_on()
    visit.js(
        "const press = (key, how) => document.dispatchEvent(new KeyboardEvent('keydown', {key, ...how}));"
        "press('ArrowLeft', {repeat: true}); press('1', {repeat: true}); press('1', {ctrlKey: true})"
    )
    assert visit.js("return record.answers.length") == 1


def test_a_code_in_the_address_and_a_participant_after_another(visit):
    visit.open("?participant=anna%20b")
    assert visit.section == ["start"]
    assert visit.find("#participant").get_attribute("value") == "anna b"
    assert visit.find("#introduction").text == "Hello,\nand <thanks>."
    visit.find("#begin").click()
    assert visit.go_on()
    visit.browser.refresh()
    assert visit.section != ["start"]
    visit.browser.get("about:blank")
    visit.open("?participant=ben")
    assert visit.section == ["start"]
    visit.begin("  ")
    assert visit.section == ["start"], "no code, no study"


def test_without_storage_it_warns_and_works(visit):
    forbid = (
        "for (const s of ['localStorage', 'sessionStorage']) Object.defineProperty(window, s, {get() {throw Error()}})"
    )
    added = visit.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        visit.open("?participant=p03")
        assert "does not let the page keep answers" in visit.find("#storage").text
        visit.find("#begin").click()
        visit.go_on()
        choice = "none" if visit.js("return plan.kinds[0]") == "emotion" else "a"
        visit.answer(choice)
        assert visit.go_on()
        assert visit.js("return record.answers.length") == 1
    finally:
        visit.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark(visit, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    visit.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        colours = visit.js(
            "return ['.card', 'button.main', 'body'].map((s) => getComputedStyle(document.querySelector(s)))"
            ".map((c) => [c.color, c.backgroundColor])"
        )
        for text, paper in colours:
            assert contrast(text, paper) >= 4.5
        assert (luminance(colours[2][1]) < 0.2) == (scheme == "dark")
    finally:
        visit.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(colour):
    """Relative luminance of "rgb(...)" (WCAG 2)."""
    channels = np.array([float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("width", "height"), [(360, 640), (640, 360), (1280, 800)])
def test_every_question_fits_the_screen(visit, width, height):
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
    visit.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        visit.open("?participant=p04")
        visit.find("#begin").click()
        for kind in KINDS:
            visit.js(
                "const fits = ({question}) => question.kind === arguments[0];"
                "plan.questions.sort((p, q) => fits(q) - fits(p)); showQuestion(0)",
                kind,
            )
            visit.wait("question")
            boxes = visit.js(
                "return [...document.querySelectorAll('#question button, #question img')].filter((e) => e.offsetParent)"
                ".map((e) => e.getBoundingClientRect()).map((b) => [b.left, b.top, b.right, b.bottom])"
            )
            assert len(boxes) == {"realism": 4, "identity": 5, "emotion": 10}[kind]
            left, top, right, bottom = zip(*boxes, strict=True)
            assert min(left) >= 0
            assert max(right) <= width
            assert min(top) >= 0
            assert max(bottom) <= height, "nothing to scroll for"
            assert visit.js("return document.documentElement.scrollWidth") <= width
    finally:
        visit.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_has_a_name(visit):
    """For those who hear the page."""
    visit.begin("p05")
    visit.go_on()
    unnamed = visit.js(
        "const name = {IMG: (e) => e.alt, BUTTON: (e) => e.textContent};"
        "return [...document.querySelectorAll('img, input, progress, textarea, button')]"
        ".filter((e) => !(name[e.tagName] ?? ((e) => e.labels[0]?.textContent))(e)).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    assert visit.js("return document.activeElement.id") == "prompt"
