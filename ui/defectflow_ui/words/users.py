"""Words of the page Users."""

from __future__ import annotations

from defectflow_ui.language import say
from defectflow_ui.words import common

tab = "Users"
title = "Who may sign in"
nobody = "Nobody has to sign in"
nobody_do = (
    "Whoever sits at this machine may do everything, and answers are signed 'local'. Add a user, and from then on "
    "everybody signs in. The first one has to be an engineer."
)
columns = ("user", "role", "since", "")
change = "Change"
change_tip = "Put this user into the form, to change the role or the password, or to remove the user."
name = "User"
name_info = "Add somebody, or change who is there already."
role = "Role"
roles = {
    "viewer": "viewer: sees everything, changes nothing",
    "operator": "operator: inspects parts and answers reviews, too",
    "engineer": "engineer: trains, calibrates, activates and manages users, too",
}
password = "Password"
password_info = "At least 10 characters. Left empty, the password of a user who is there stays as it is."
save = "Save"
remove = "Remove"
remove_ask = "Remove this user? What the user did stays in the history. The user can be added again."
engineers_only = "For engineers"
engineers_only_do = "Who may sign in is decided by engineers."
needs_password = "a new user needs a password"
first_engineer = "the first user has to be an engineer: nobody else could add the others"
last_engineer = (
    "no engineer would be left, and nobody could manage users or models; make somebody else an engineer first"
)
nobody_chosen = "type the name of the user first, or press Change beside it"


def added(name: str, role: str) -> str:
    return say("{name} may sign in as {role}.", name=name, role=common.role_name(role))


def first_added(name: str) -> str:
    return say(
        "{name} may sign in, and from now on everybody has to: reload the page, and sign in as {name}.",
        name=name,
    )


def changed(name: str, role: str, password: bool) -> str:
    told = common.role_name(role)
    if password:
        return say("{name} is {role}, with a new password.", name=name, role=told)
    return say("{name} is {role}.", name=name, role=told)


def removed(name: str) -> str:
    return say("{name} may not sign in any more.", name=name)
