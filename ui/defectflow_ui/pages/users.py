"""Users: who may sign in, with which role; for engineers. Every change is a row of the store's log."""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from defectflow.errors import AccessError, StoreError
from defectflow.store import Role
from defectflow_ui.markup.elements import block, clicks, empty, notice
from defectflow_ui.markup.render import render
from defectflow_ui.pages.page import QUIET, Page, Updates, choices, wanting
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import users as words
from defectflow_ui.words.common import role_name


class UsersPage(Page):
    """A list of users on the left; on the right a form that adds one, changes one or removes one."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=340):
                self.listed = block(elem_id="users", events=clicks("user"))
            with gr.Column(scale=5, min_width=340, visible=False) as self.form:
                self.name = gr.Textbox(label=words.name, info=words.name_info, elem_id="users-name")
                self.role = gr.Dropdown(
                    choices(words.roles), value=Role.OPERATOR.value, label=words.role, elem_id="users-role"
                )
                self.password = gr.Textbox(
                    label=words.password, info=words.password_info, type="password", elem_id="users-password"
                )
                with gr.Row():
                    self.save = gr.Button(words.save, variant="primary", elem_id="users-save")
                    self.remove = gr.Button(words.remove, elem_id="users-remove")
                self.said = block(elem_id="users-said")

    def connect(self) -> None:
        typed = [self.name, self.role, self.password]
        shown = [self.listed, self.form, *typed, self.said]
        self.station.on_open(self.open_page, outputs=shown)
        self.listed.user(self.take, outputs=[*typed, self.said], **QUIET)
        self.save.click(self.keep, inputs=typed, outputs=shown, **QUIET)
        self.remove.click(self.let_go, inputs=self.name, outputs=shown, **QUIET)

    def _shown(self, said: Markup) -> Updates:
        users = self.station.store.users.all()
        listed = (
            render("users/list.html", words=words, users=users, role_name=role_name)
            if users
            else empty(words.nobody, words.nobody_do)
        )
        return {
            self.listed: listed,
            self.form: gr.Column(visible=True),
            self.name: gr.Textbox("", info=words.name_info),
            self.password: "",
            self.said: said,
        }

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {self.listed: empty(words.engineers_only, words.engineers_only_do)}
        return self._shown(Markup())

    @handler(Role.ENGINEER)
    def take(self, visitor: Visitor) -> Updates:
        """A user of the list, into the form."""
        user = self.station.store.users.get(str(visitor.event.get("user")))
        if user is None:
            raise StoreError(words.nobody_chosen)
        return {self.name: user.name, self.role: user.role.value, self.password: "", self.said: ""}

    @handler(Role.ENGINEER)
    def keep(self, visitor: Visitor, name: str, role: str, password: str) -> Updates:
        """Add a user, or change the role and, where one is typed, the password. Raises AccessError, StoreError."""
        if missing := wanting({self.name: name}):
            return missing
        users, name, wanted = self.station.store.users, name.strip(), Role(role)
        before = users.get(name)
        if before is None:
            if not password:
                raise StoreError(words.needs_password)
            first = not users.any()
            if first and wanted != Role.ENGINEER:
                raise AccessError(words.first_engineer)
            users.add(name, wanted, password, by=visitor.user)
            return self._shown(notice(words.first_added(name) if first else words.added(name, role)))
        if wanted != Role.ENGINEER:
            self._check_engineers_without(name)
        if password:
            users.set_password(name, password, by=visitor.user)
        if wanted != before.role:
            users.set_role(name, wanted, by=visitor.user)
        return self._shown(notice(words.changed(name, role, bool(password))))

    @handler(Role.ENGINEER)
    def let_go(self, visitor: Visitor, name: str) -> Updates:
        """Remove a user. Raises AccessError, StoreError."""
        if missing := wanting({self.name: name}):
            return missing
        self._check_engineers_without(name.strip())
        self.station.store.users.remove(name.strip(), by=visitor.user)
        return self._shown(notice(words.removed(name.strip())))

    def _check_engineers_without(self, name: str) -> None:
        """Raises AccessError if no engineer would be left but this user."""
        engineers = {user.name for user in self.station.store.users.all() if user.role == Role.ENGINEER}
        if engineers == {name}:
            raise AccessError(words.last_engineer)
