"""The page Users: engineers add, change and remove who may sign in; never themselves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from desk import Desk
from playwright.sync_api import expect
from running import PASSWORD, Watch, listening

from defectflow.store import Role


@pytest.fixture
def desk(bundles: Callable[[], Path]) -> Iterator[Desk]:
    made = Desk(bundles())
    yield made
    made.station.close()


def test_users_are_added_changed_and_removed(desk: Desk) -> None:
    users, wrong = desk.station.store.users, "a long password"
    assert "Nobody has to sign in" in desk.call("page-users", "select")["users"]
    for values, why in (
        (("anna", "operator", wrong), "the first user has to be an engineer"),
        (("anna", "engineer", ""), "needs a password"),
        (("anna", "engineer", "short"), "too short"),
    ):
        with pytest.raises(gr.Error, match=why):
            desk.call("users-save", "click", *values)
    missing = desk.call("users-save", "click", " ", "engineer", wrong)
    assert "users-name" in missing and not users.any()
    assert "everybody has to" in desk.call("users-save", "click", "anna", "engineer", wrong)["users-said"]
    desk.session.user, desk.session.key = "anna", users.all()[0].key
    assert "bert may sign in as viewer" in desk.call("users-save", "click", "bert", "viewer", wrong)["users-said"]
    shown = desk.call("users", "user", said={"user": "bert"})
    assert (shown["users-name"], shown["users-role"]) == ("bert", "viewer")
    changed = desk.call("users-save", "click", "bert", "operator", "")
    assert "bert is operator." in changed["users-said"]
    assert users.authenticate("bert", wrong).role == Role.OPERATOR, "the password stays"
    desk.call("users-save", "click", "bert", "operator", "another password")
    assert users.authenticate("bert", "another password").name == "bert"
    for button, values in (("users-save", ("anna", "viewer", "")), ("users-remove", ("anna",))):
        with pytest.raises(gr.Error, match="no engineer would be left"):
            desk.call(button, "click", *values)
    assert "may not sign in" in desk.call("users-remove", "click", "bert")["users-said"]
    assert [user.name for user in users.all()] == ["anna"]
    assert desk.station.store.verify().passed


def test_engineers_only(watch: Watch, bundles: Callable[[], Path]) -> None:
    """In the browser: an operator sees no form; an engineer adds somebody, who signs in."""
    with listening(bundles(), (("olga", Role.OPERATOR), ("emil", Role.ENGINEER))) as running:
        for user in ("olga", "emil"):
            watched = watch(running)
            page = watched.page
            page.goto("/")
            page.locator("[name=name]").fill(user)
            page.locator("[name=password]").fill(PASSWORD)
            page.locator("[type=submit], button").first.click()
            page.wait_for_selector("#station-header .station-bar")
            page.get_by_role("tab", name="Users").click()
            if user == "olga":
                expect(page.locator("#users")).to_contain_text("For engineers")
                expect(page.locator("#users-save")).not_to_be_visible()
        page.locator("#users-name").locator("input, textarea").fill("nils")
        page.locator("#users-password input").fill("a long password")
        page.locator("#users-save").click()
        expect(page.locator("#users-said")).to_contain_text("nils may sign in as operator")
        expect(page.locator("#users")).to_contain_text("nils")
        assert running.station.store.users.authenticate("nils", "a long password").role == Role.OPERATOR
        assert not watched.complaints
